"""Who may read and who may change, from this machine and from others; without a token nothing can be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.agent import Agent
from yolo_assets_tests.edge.plant import TOKEN, Plant

MakeClient = Callable[..., TestClient]
READS = ("/v1/status", "/v1/models", "/v1/audit", "/metrics", "/v1/cameras/cam1/latest?wait=0")
CHANGES = ("/rollback", "/v1/rollback", "/v1/unpin", "/v1/models/reload", "/v1/gaps/reset")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def client(plant: Plant) -> Iterator[MakeClient]:
    """Clients of an agent that is not started: access does not depend on what it does."""
    agents: list[Agent] = []

    def make(host: str = "127.0.0.1", **options: object) -> TestClient:
        camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
        agents.append(Agent(plant.config([camera], **options)))
        return TestClient(agents[-1]._app, client=(host, 50000), raise_server_exceptions=False)

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
            assert answer.status_code == 401 and answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert here.post(path, headers=BEARER).status_code in (200, 202, 409), path
        assert here.get(path).status_code in (404, 405), path  # nothing is changed by following a link
    assert here.post("/rollback", headers=BEARER).json()["detail"].startswith("there is no previous model")


def test_other_machines_need_the_token_for_everything_but_being_alive(client: MakeClient) -> None:
    there = client("10.1.2.3")
    for path in READS:
        assert there.get(path).status_code == 401, path
        assert there.get(path, headers=BEARER).status_code in (200, 204), path
    assert there.get("/healthz").status_code == 200 and there.get("/").status_code == 200


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


def test_answers_forbid_embedding_foreign_content_and_say_why_they_fail(client: MakeClient) -> None:
    here = client()
    page = here.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    problem = here.get("/v1/cameras/nobody/latest").json()
    assert problem["status"] == 404 and "cam1" in problem["detail"]
    assert here.get("/nothing").headers["content-type"] == "application/problem+json"
    paths = here.get("/openapi.json").json()["paths"]
    assert {"/rollback", "/v1/status", "/readyz"} <= set(paths)
    assert here.get("/docs").status_code == 404  # it would load from a CDN
