"""Who may read and who may change, from this machine and from others; what is refused before any route sees it."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http import server as server_module
from yolo_assets.edge.http.server import ApiServer
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant

MakeClient = Callable[..., TestClient]
READS = ("/v1/status", "/v1/models", "/v1/audit", "/metrics", "/v1/cameras/cam1/latest?wait=0")
CHANGES = ("/rollback", "/v1/rollback", "/v1/pin", "/v1/unpin", "/v1/models/reload", "/v1/gaps/reset")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROBLEM = "application/problem+json"


@pytest.fixture
def client(plant: Plant) -> Iterator[MakeClient]:
    """Clients of an agent that is not started: access does not depend on what it does."""
    agents: list[Agent] = []

    def make(host: str = "127.0.0.1", url: str = "http://127.0.0.1:8080", **options: object) -> TestClient:
        camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
        agents.append(Agent(plant.config([camera], **options)))
        return TestClient(agents[-1].app, url, client=(host, 50000), raise_server_exceptions=False)

    yield make
    for agent in agents:
        agent.stop()


def test_this_machine_reads_freely_and_changes_with_the_token(client: MakeClient) -> None:
    here = client()
    for path in READS:
        assert here.get(path).status_code in (200, 204), path
    for path in CHANGES:
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = here.post(path, headers=headers)
            assert answer.status_code == 401 and answer.headers["content-type"] == PROBLEM
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert here.post(path, headers=BEARER).status_code in (200, 202, 409), path
        assert here.get(path).status_code in (404, 405), path  # nothing is changed by following a link
        assert here.post(f"{path}?token={TOKEN}").status_code == 401  # a query stands in logs and histories
        here.cookies.set("token", TOKEN)
        assert here.post(path).status_code == 401  # a browser sends cookies whoever asks it to
    assert here.post("/rollback", headers=BEARER).json()["detail"].startswith("there is no previous model")
    assert here.post("/v1/pin", headers=BEARER).json()["detail"].startswith("no model serves yet")


def test_other_machines_need_the_token_for_everything_but_being_alive(client: MakeClient) -> None:
    there = client("10.1.2.3")
    for path in READS:
        assert there.get(path).status_code == 401, path
        assert there.get(path, headers=BEARER).status_code in (200, 204), path
    assert there.get("/healthz").status_code == 200 and there.get("/").status_code == 200
    closed, opened = there.get("/readyz"), there.get("/readyz", headers=BEARER)
    assert closed.status_code == opened.status_code == 503
    assert "reasons" not in closed.json() and opened.json()["reasons"] == ["no model serves yet"]


def test_without_a_token_nothing_can_be_changed(client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_ASSETS_TOKEN", raising=False)
    here = client(token=None)
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        assert here.post("/rollback", headers=headers).status_code == 403
    assert here.get("/v1/status").status_code == 200


def test_an_open_address_without_a_token_is_refused(client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_ASSETS_TOKEN", raising=False)
    with pytest.raises(BadInputError, match="set token_file first"):
        client(token=None, listen={"host": "0.0.0.0", "port": 0})


def test_a_port_in_use_is_one_line(client: MakeClient, plant: Plant) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInputError, match="another port"):
            client(listen={"port": taken.getsockname()[1]})


def test_connections_that_say_nothing_use_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_MOST_CONNECTIONS", 8)
    monkeypatch.setattr(server_module, "_FIRST_REQUEST_S", 0.5)
    server = ApiServer(Listen(port=0))
    app = FastAPI()
    app.get("/healthz")(lambda: "ok")
    server.start(app)
    address = ("127.0.0.1", int(server.url.rstrip("/").rsplit(":", 1)[1]))
    silent = [socket.create_connection(address, 5) for _ in range(30)]
    try:
        ended = 0
        for one in silent:
            one.settimeout(10)
            try:
                ended += one.recv(1) == b""
            except ConnectionResetError:
                ended += 1
        assert ended == 30
        assert urllib.request.urlopen(f"{server.url}healthz", timeout=10).read() == b'"ok"'
    finally:
        for one in silent:
            one.close()
        server.stop()


def test_answers_forbid_embedding_foreign_content_and_say_why_they_fail(client: MakeClient) -> None:
    here = client()
    page = here.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["cache-control"] == "no-store"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    problem = here.get("/v1/cameras/nobody/latest").json()
    assert problem["status"] == 404 and "cam1" in problem["detail"]
    for path in ("/nothing", "/page/../agent.py", "/page/%2e%2e%2fagent.py", "/page/nothing.js", "/page/index.html"):
        missing = here.get(path)
        assert missing.status_code == 404 and missing.headers["content-type"] == PROBLEM, path
        assert "content-security-policy" in missing.headers
    assert here.get("/docs").status_code == 404  # it would load from a CDN


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("192.168.7.9", 200),
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("box1.plant.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:8080", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_a_foreign_host_name_that_resolves_to_the_agent_is_refused(client: MakeClient, host: str, status: int) -> None:
    """DNS rebinding: a foreign page asks under its own name, which leads to this machine by now."""
    here = client(listen={"port": 0, "hosts": ["box1.plant.example"]})
    answer = here.get("/v1/status", headers={"Host": host})
    assert answer.status_code == status, answer.text
    if status == 421:
        assert "listen.hosts" in answer.json()["detail"] and answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:8080"}, 200),
        ({"Origin": "http://127.0.0.1:9090"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_another_sites_page_changes_nothing_even_with_the_token(
    client: MakeClient, headers: dict[str, str], status: int
) -> None:
    assert client().post("/v1/gaps/reset", headers=BEARER | headers).status_code == status


def test_a_body_that_is_too_large_is_refused_whatever_it_says_of_itself(client: MakeClient) -> None:
    here = client(listen={"port": 0, "max_body_bytes": 2048})

    def pieces(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b" " * 1000

    told = here.post("/v1/models/reload", headers=BEARER, content=b" " * 3000)
    untold = here.post("/v1/models/reload", headers=BEARER, content=pieces(3))
    assert told.status_code == untold.status_code == 413
    assert told.headers["content-type"] == untold.headers["content-type"] == PROBLEM
    assert "2048 bytes" in told.json()["detail"]
    for length in ("-1", "1e3", "+5", ""):
        odd = here.post("/v1/gaps/reset", headers={**BEARER, "Content-Length": length})
        assert odd.status_code == 413, length
    small = here.post("/v1/models/reload", headers=BEARER, json={"version": "1"})
    assert small.status_code == 202


def test_the_description_is_complete(client: MakeClient) -> None:
    """Each route: a tag, a summary, a sentence, its errors as problem documents; the token where it is needed."""
    document = client().get("/openapi.json").json()
    assert document["openapi"].startswith("3.1") and document["info"]["description"]
    tags = {tag["name"] for tag in document["tags"]}
    assert {"/rollback", "/v1/rollback", "/v1/pin", "/v1/unpin", "/v1/status", "/readyz", "/metrics"} <= set(
        document["paths"]
    )
    ids: list[str] = []
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            ids.append(route["operationId"])
            assert route["tags"] and set(route["tags"]) <= tags, path
            assert route["summary"] and route["description"], path
            for status, answer in route["responses"].items():
                assert answer["description"], (path, status)
                if int(status) >= 400 and path not in ("/healthz",):
                    assert set(answer["content"]) == {PROBLEM}, (path, status)
            if path not in ("/healthz", "/readyz"):
                assert route["security"] == [{"token": []}] and "401" in route["responses"], path
            if method == "post":
                assert "403" in route["responses"], path
    assert len(set(ids)) == len(ids)


def test_a_bug_is_a_problem_document_too(client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    here = client()
    monkeypatch.setattr("yolo_assets.edge.audit.log.AuditLog.recent", lambda self: 1 / 0)
    answer = here.get("/v1/audit")
    assert answer.status_code == 500 and answer.headers["content-type"] == PROBLEM
    assert "ZeroDivision" not in answer.text and "content-security-policy" in answer.headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself, by the system's openssl."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=box1"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls(plant: Plant, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    config = plant.config_file([camera], listen={"port": 0, "tls_cert": str(cert), "tls_key": str(key)})
    agent = AgentProcess(config)
    try:
        assert agent.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(agent.url + "healthz", timeout=10, context=trusting) as answer:
            assert json.load(answer) == {"status": "alive"}
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(agent.url + "healthz", timeout=10)
    finally:
        assert agent.stop() == 0


def test_a_certificate_that_does_not_fit_is_one_line(client: MakeClient, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with pytest.raises(BadInputError, match="give both or none"):
        client(listen={"tls_cert": str(cert)})
    with pytest.raises(BadInputError, match="cannot use the certificate"):
        ApiServer(Listen(port=0, tls_cert=cert, tls_key=cert))
    with pytest.raises(BadInputError, match="No such file"):
        ApiServer(Listen(port=0, tls_cert=cert, tls_key=key.with_name("nothing.pem")))


def test_uvicorn_still_has_what_the_bounded_protocol_overrides() -> None:
    """The server subclasses a private class of uvicorn: an upgrade that changes it must fail here, not in a plant."""
    protocol = server_module._BoundedProtocol
    (base,) = protocol.__bases__
    assert (base.__module__, base.__name__) == ("uvicorn.protocols.http.h11_impl", "H11Protocol")
    assert list(inspect.signature(base.connection_made).parameters) == ["self", "transport"]
    state = ServerState()
    config = uvicorn.Config(lambda *_: None, http=protocol, limit_concurrency=3)
    config.load()
    loop = asyncio.new_event_loop()
    try:
        made = protocol(config=config, server_state=state, app_state={}, _loop=loop)
        transport = asyncio.Transport({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        made.connection_made(transport)
        assert made.connections == {made} == state.connections, "what bounds the number of connections"
        assert made.cycle is None and made.transport is transport and made.loop is loop, "what ends silent ones"
    finally:
        loop.close()
