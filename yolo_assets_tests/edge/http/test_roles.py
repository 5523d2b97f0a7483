"""Named people and roles: every role against every route of the agent, changes without a restart, certificates."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from yolo_assets.cli.main import main
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.access import NEEDS, RoleGuard
from yolo_assets.edge.http.people import ROLES, PeopleBook, add_person, read_people, withdraw_person
from yolo_assets.edge.http.server import ApiServer
from yolo_assets_tests.edge.plant import TOKEN, Plant

REFUSED = (401, 403)


@pytest.fixture
def agent(plant: Plant) -> Iterator[Agent]:
    """An agent that is not started, with a person of each role and the old token."""
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    made = Agent(plant.config([camera]))
    yield made
    made.stop()


def tokens(file: Path) -> dict[str, str]:
    return {role: str(add_person(file, f"who may {role}", role)) for role in ROLES}


def bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def routes(agent: Agent) -> list[str]:
    """Every route of the application, from its own list."""
    contexts = iter_route_contexts(agent.app.routes)
    return [f"{method} {one.path}" for one in contexts for method in (one.methods or {"GET"}) - {"HEAD"}]


@pytest.mark.parametrize("role", [None, *ROLES, "token_file"])
def test_every_role_against_every_route_of_the_agent(agent: Agent, role: Any) -> None:
    assert sorted(routes(agent)) == sorted(NEEDS), "a route without a role, or a role without a route"
    token = TOKEN if role == "token_file" else tokens(agent.config.people).get(role)
    rank = len(ROLES) if role == "token_file" else ROLES.index(role) if role else -1
    there = TestClient(agent.app, "http://127.0.0.1:8080", client=("10.1.2.3", 50000), raise_server_exceptions=False)
    for route, needed in NEEDS.items():
        method, _, path = route.partition(" ")
        body = {"json": {"batch_id": "B7"}} if method == "PUT" else {}
        answer = there.request(method, path.format(camera_id="none", name="page.js"), headers=bearer(token), **body)
        enough = needed is None or rank >= ROLES.index(needed)
        assert (answer.status_code not in REFUSED) == enough, f"{role} at {route}: {answer.status_code} {answer.text}"
        if not enough:
            assert answer.status_code == (401 if role is None else 403), route
    if token:
        who = there.get("/v1/whoami", headers=bearer(token)).json()
        assert set(who["may"]) == {
            route for route, needed in NEEDS.items() if not needed or rank >= ROLES.index(needed)
        }


def test_a_route_that_nobody_thought_of_needs_an_administrator(agent: Agent) -> None:
    admitted = [Depends(RoleGuard(agent.people).admit)]
    agent.app.add_api_route("/v1/new", lambda: {}, dependencies=admitted)
    there, known = TestClient(agent.app, "http://127.0.0.1:8080"), tokens(agent.config.people)
    assert [there.get("/v1/new", headers=bearer(known[role])).status_code for role in ROLES] == [403, 403, 200]


def test_people_change_without_a_restart_and_the_audit_names_them(agent: Agent) -> None:
    here, file = TestClient(agent.app, "http://127.0.0.1:8080", client=("127.0.0.1", 1)), agent.config.people
    lot = "/v1/cameras/cam1/batch"
    token = add_person(file, "A. Berg", "operate")
    assert here.get("/v1/whoami").json()["name"] is None, "this machine sees without a token"
    assert here.get("/v1/whoami", headers=bearer("wrong" * 5)).status_code == 401
    assert here.get("/v1/whoami", headers=bearer(token)).json()["name"] == "A. Berg"
    assert here.put(lot, json={"batch_id": "B7"}, headers=bearer(token)).status_code == 200
    refusal = here.post("/v1/rollback", headers=bearer(token))
    assert refusal.status_code == 403 and "A. Berg has the role operate" in refusal.json()["detail"]
    file.write_text("{", encoding="utf-8")  # a file that was damaged changes nothing
    assert here.put(lot, json={"batch_id": "B8"}, headers=bearer(token)).status_code == 200
    file.unlink()
    add_person(file, "A. Berg", "operate")
    withdraw_person(file, "A. Berg")
    assert here.put(lot, json={"batch_id": "B9"}, headers=bearer(token)).status_code == 401
    lines = [(line.kind, line.who, line.target, line.reason.split(";")[0]) for line in agent.audit.recent()]
    assert ("lot", "A. Berg at 127.0.0.1", "B7", "batch in front of cam1") in lines
    assert ("people", "the file of people", "A. Berg", "may operate, known by a token") in lines
    assert ("people", "the file of people", "A. Berg", "may do nothing any more") in lines


def test_who_was_added_while_the_agent_was_off_is_in_the_audit(plant: Plant) -> None:
    config = plant.config([{"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}])
    Agent(config).stop()
    add_person(config.people, "C. Li", "administer")
    again = Agent(config)
    again.stop()
    assert [line.target for line in again.audit.recent() if line.kind == "people"] == ["C. Li"]


def test_the_commands_make_list_and_withdraw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "people.json"

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["yolo-assets", "edge", "token", *argv, "--file", str(file)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out.strip(), printed.err

    code, token, _ = run("add", "A. Berg", "--role", "operate")
    assert code == 0 and token not in file.read_text() and len(token) >= 43
    identity = PeopleBook(file, None).find(token, None)
    assert identity is not None and (identity.name, identity.role) == ("A. Berg", "operate")
    assert "there already" in run("add", "A. Berg", "--role", "see")[2]
    assert run("add", "line 3", "--role", "see", "--certificate", "panel-3")[0] == 0
    assert run("withdraw", "A. Berg")[0] == 0 and PeopleBook(file, None).find(token, None) is None
    assert "was withdrawn" in run("add", "A. Berg", "--role", "see")[2], "a name is never somebody else's"
    assert "there is no B. Cole" in run("withdraw", "B. Cole")[2]
    listed = json.loads(run("ls", "--json")[1])
    assert [(one["name"], one["withdrawn_at"] is None) for one in listed] == [("A. Berg", False), ("line 3", True)]
    assert "token_sha256" not in listed[0]
    with pytest.raises(BadInputError, match="cannot be the name"):
        add_person(file, "token holder", "see")
    assert len(read_people(file).people) == 2


def openssl(folder: Path, *argv: str) -> None:
    subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, name: str, authority: str | None = None) -> None:
    """``<name>.pem`` and ``<name>.key``, signed by itself or by an authority."""
    signed_by = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key") if authority else ()
    alternative = ("-addext", "subjectAltName=IP:127.0.0.1")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
    openssl(
        folder, *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *alternative, *signed_by
    )


def test_a_client_certificate_is_a_person(agent: Agent, tmp_path: Path) -> None:
    for name, authority in (("plant-ca", None), ("other-ca", None), ("server", "plant-ca"), ("panel-3", "plant-ca")):
        certificate(tmp_path, name, authority)
    certificate(tmp_path, "panel-9", "plant-ca")
    (tmp_path / "forged").mkdir()
    for file in ("other-ca.pem", "other-ca.key"):
        (tmp_path / "forged" / file).write_bytes((tmp_path / file).read_bytes())
    certificate(tmp_path / "forged", "panel-3", "other-ca")
    add_person(agent.config.people, "panel of line 3", "operate", certificate="panel-3")
    tls: dict[str, Any] = {"tls_cert": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    server = ApiServer(Listen(port=0, tls_client_ca=tmp_path / "plant-ca.pem", **tls))
    server.start(agent.app)

    def ask(shown: str | None, method: str = "GET", path: str = "v1/whoami") -> httpx.Response:
        context = ssl.create_default_context(cafile=tmp_path / "plant-ca.pem")
        if shown is not None:
            context.load_cert_chain(tmp_path / f"{shown}.pem", tmp_path / f"{shown}.key")
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.request(method, server.url + path)

    try:
        assert ask("panel-3").json()["name"] == "panel of line 3"
        assert ask("panel-9").json()["name"] is None, "an authority's certificate of nobody who was added"
        assert ask(None).json()["name"] is None, "without a certificate a token still does"
        assert ask("panel-3", "POST", "v1/gaps/reset").status_code == 200
        assert ask("panel-3", "POST", "v1/rollback").status_code == 403
        with pytest.raises((httpx.HTTPError, OSError)):
            ask("forged/panel-3")
        withdraw_person(agent.config.people, "panel of line 3")
        assert ask("panel-3", "POST", "v1/gaps/reset").status_code == 401
    finally:
        server.stop()
    with pytest.raises(BadInputError, match="cannot use tls_client_ca"):
        ApiServer(Listen(port=0, tls_client_ca=tmp_path / "nowhere.pem", **tls))
