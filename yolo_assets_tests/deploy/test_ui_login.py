"""Logins in front of Dagster's UI: real nginx with the shipped file, in front of stand-ins and of the real thing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.services import free_port
from yolo_assets_tests.support import nginx
from yolo_assets_tests.support.plant_services import PlantServices

USERS = {"reader": "a long word", "operator": "another: word"}
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(nginx.program() is None, reason="no nginx here; run .ci/install-test-services.sh")


class StandIn(BaseHTTPRequestHandler):
    """Says which UI was reached, and whether the password came along."""

    def do_GET(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        body = json.dumps([self.server.server_port, self.headers["Authorization"]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            http.client.HTTPSConnection("localhost", port, timeout=2, context=unverified()).connect()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not answer")


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture(scope="module")
def short_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("n")


@pytest.fixture(scope="module")
def proxy(short_folder: Path) -> Iterator[tuple[int, int, int]]:
    """Ports of nginx, and of stand-ins for the readers' and the operators' UI."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), StandIn) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    port, (readers, operators) = free_port(0), (server.server_port for server in servers)
    configuration = nginx.write_configuration(
        short_folder / "n", port=port, readers=readers, operators=operators, users=USERS
    )
    with nginx.running(configuration):
        wait_for_port(port)
        yield port, readers, operators
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(port: int, user: str | None, path: str = "/", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    """One request; ``user`` as ``name:password``."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=unverified())
    if user is not None:
        headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def test_only_who_has_a_password_gets_in_and_each_to_their_ui(proxy: tuple[int, int, int]) -> None:
    port, readers, operators = proxy
    for user in (None, "reader:", "reader:another: word", "nobody:a long word", "operator:a long word"):
        assert ask(port, user).status == 401, user
    for name, reached in (("reader", readers), ("operator", operators)):
        answer = ask(port, f"{name}:{USERS[name]}", "/runs")
        assert answer.status == 200 and json.loads(answer.read()) == [reached, None], "the password stays here"
        assert answer.headers["Strict-Transport-Security"] and answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_page_of_others_can_use_a_stored_password(proxy: tuple[int, int, int]) -> None:
    port, _, operators = proxy
    user, own = f"operator:{USERS['operator']}", f"https://localhost:{port}"
    for origin in ("https://evil.example", "null", f"{own}.evil.example", f"http://localhost:{port}"):
        assert ask(port, user, "/graphql", "POST", Origin=origin).status == 403, origin
        assert ask(port, user, "/graphql", "GET", Origin=origin, Upgrade="websocket").status == 403, origin
    assert ask(port, user, "/graphql?query=mutation%7Bx%7D", "GET").status == 405, "as a picture or a link would ask"
    for method, upgrade in (("POST", ""), ("GET", "websocket")):
        answer = ask(port, user, "/graphql", method, Origin=own, Upgrade=upgrade)
        assert answer.status == 200 and json.loads(answer.read())[0] == operators
    assert ask(port, user, "/assets/detections", "GET", Sec_Fetch_Site="cross-site").status == 200, "a link in a mail"


LAUNCH = """async () => {
  const repository = {repositoryLocationName: "yolo_assets", repositoryName: "__repository__"};
  const params = {selector: {...repository, jobName: "retention"}};
  const query = `mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename } }`;
  const answer = await fetch("/graphql", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({query, variables: {params}})});
  return (await answer.json()).data.launchRun.__typename;
}"""


@pytest.mark.soak
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_reader_looks_and_an_operator_materializes_in_a_browser(tmp_path: Path, short_folder: Path) -> None:
    from playwright.sync_api import Browser, Error, Page, sync_playwright

    home = tmp_path / "var"
    environment = {"DAGSTER_HOME": str(prepare_dagster_home(home)), "YOLO_ASSETS_HOME": str(home)}
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        PlantServices(home, environment, ("code", "ui", "ui-readers")) as services,
        sync_playwright() as play,
    ):
        port = free_port(0)
        configuration = nginx.write_configuration(
            short_folder / "real",
            port=port,
            readers=services.port("3001"),
            operators=services.port("3000"),
            users=USERS,
        )
        browser: Browser = play.chromium.launch(executable_path=CHROMIUM, args=arguments)

        def page_of(user: str | None) -> Page:
            login: Any = {"username": user, "password": USERS[user]} if user is not None else None
            return browser.new_context(ignore_https_errors=True, http_credentials=login).new_page()

        with nginx.running(configuration):
            wait_for_port(port)
            start = f"https://localhost:{port}/assets/deployed_model"
            with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
                page_of(None).goto(start)

            reader = page_of("reader")
            reader.goto(start, wait_until="networkidle")
            button = reader.get_by_role("button", name="Materialize", exact=False).first
            button.wait_for(timeout=60_000)
            assert button.is_disabled(), "the read-only UI offers nothing to press"
            assert reader.evaluate(LAUNCH) == "UnauthorizedError"
            with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
                assert instance.get_runs_count() == 0

                operator = page_of("operator")
                frames: list[Any] = []
                operator.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
                operator.goto(start, wait_until="networkidle")
                button = operator.get_by_role("button", name="Materialize", exact=False).first
                button.wait_for(timeout=60_000)
                assert button.is_enabled()
                assert operator.evaluate(LAUNCH) == "LaunchRunSuccess"
                (run,) = instance.get_runs()
                assert run.job_name == "retention"
                operator.goto(f"https://localhost:{port}/runs/{run.run_id}", wait_until="networkidle")
                deadline = time.monotonic() + 60
                while not any("PipelineRunLogs" in str(frame) for frame in frames) and time.monotonic() < deadline:
                    operator.wait_for_timeout(500)
                assert any("PipelineRunLogs" in str(frame) for frame in frames), "the run's log comes by a web socket"
        browser.close()
