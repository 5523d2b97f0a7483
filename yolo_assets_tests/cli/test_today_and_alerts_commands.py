"""``yolo-assets today`` and ``yolo-assets alerts``: the plant now, and a receiver that is tried."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from yolo_assets.alerts.problem import Problem
from yolo_assets.alerts.state import AlertState, Message, Standing, Trouble
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import refused
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.listeners import Web, web

Command = Callable[..., CompletedProcess[str]]
PLANT = """
cameras: [cam1, cam2]
alerts: {receivers: {office: {url_variable: OFFICE}, night: {url_variable: NIGHT}}}
"""


@pytest.fixture
def server() -> Iterator[Web]:
    with web() as kept:
        yield kept


@pytest.fixture
def command(call: Command, tmp_path: Path, server: Web) -> Command:
    (tmp_path / "plant.yaml").write_text(PLANT)
    env = {"OFFICE": f"json://127.0.0.1:{server.port}/office", "NIGHT": "json://127.0.0.1:9/night"}
    return lambda *words: call(*words, home=tmp_path, cwd=tmp_path, env=env)


def test_today_leaves_no_trace_of_stores_that_are_not_there(command: Command, tmp_path: Path) -> None:
    document = json.loads(command("today", "--json").stdout)
    assert {row["status"] for row in document["cameras"]} == {"unknown"}
    assert any(
        "the archive cannot be read" in line and "does not exist; mount it" in line for line in document["notices"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plant.yaml"]


def test_today_as_json_as_text_and_as_a_page(command: Command, tmp_path: Path) -> None:
    for name in ("archive", "store"):
        open_store((tmp_path / name).as_uri())
    write_hour(tmp_path / "spool", "cam2", Hour.of(utc_now()), frames=3)
    done = command("today", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [(row["camera_id"], row["status"], row["frames"]) for row in document["cameras"]] == [
        ("cam1", "absent", 0),
        ("cam2", "good", 3),
    ]
    assert "no Dagster instance" in document["notices"][0]
    text = command("today", "--lang", "zh")
    assert [line.split("\t")[:2] for line in text.stdout.splitlines()] == [["缺席", "cam1"], ["正常", "cam2"]]
    done = command("today", "--html", tmp_path / "wall.html")
    assert (done.returncode, done.stdout) == (0, "") and "cam1" in (tmp_path / "wall.html").read_text()
    assert (tmp_path / "wall.html").stat().st_mode & 0o777 == 0o644
    refused(command("today", "--lang", "de"), "--lang de is not known; use en or zh", code=2)


def test_a_receiver_is_tried_now_and_once(command: Command, server: Web) -> None:
    done = command("alerts", "test", "--receiver", "office")
    assert (done.returncode, done.stdout) == (0, "office: sent\n"), done.stderr
    ((path, document),) = server.requests
    assert path.startswith("/office") and document["title"] == "Test message"
    done = command("alerts", "test", "--json")
    assert done.returncode == 1 and "night did not take the message" in done.stderr
    assert {row["receiver"]: row["error"] is None for row in json.loads(done.stdout)} == {
        "office": True,
        "night": False,
    }
    refused(command("alerts", "test", "--receiver", "nobody"), "there is no receiver nobody; there are: night, office")


def test_alerts_ls_shows_what_stands_and_who_takes_no_message(command: Command, tmp_path: Path) -> None:
    assert (command("alerts", "ls").returncode, command("alerts", "ls").stderr) == (0, "nothing is wrong\n")
    at = datetime(2026, 3, 2, 6, tzinfo=UTC)
    problem = Problem(cause="camera_absent", about="cam1", sentence="cam1: No frame since 03:00.")
    message = Message(number=1, receiver="night", news="new", title="t", body="b", made_at=at)
    AlertState(
        standing={problem.key: Standing(problem=problem, first_at=at, last_at=at, told_at=at)},
        outbox=(message,),
        trouble={"night": Trouble(failures=3, next_at=at, error="no route", lost=2)},
    ).save(tmp_path)
    done = command("alerts", "ls")
    assert done.stdout == "2026-03-02 06:00  told 2026-03-02 06:00  cam1: No frame since 03:00.\n"
    first, last = done.stderr.splitlines()
    assert done.returncode == 1 and first == "night: 2 messages were given up"
    assert "night took no message, attempt 3: no route; 1 wait for it" in last
    document = json.loads(command("alerts", "ls", "--json").stdout)
    assert document["receivers"] == ["night", "office"] and len(document["outbox"]) == 1


def test_without_receivers_it_says_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").unlink()
    assert "plant.yaml names no receiver" in command("alerts", "ls").stderr
    refused(command("alerts", "test"), "plant.yaml names no receiver; add one under alerts: receivers:")
