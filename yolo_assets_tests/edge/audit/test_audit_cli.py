"""``yolo-assets edge audit verify`` as a person calls it, on the log and the store of an agent that ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_assets.cli.main import main
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import device_audit_prefix, fleet_key
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant, until
from yolo_assets_tests.support.signed import content, with_content

LONG = "lineA_station07_camera_left_upper_corner"


def verify(*arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "yolo_assets.cli.main", "edge", "audit", "verify", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_life_of_an_audit_log(plant: Plant) -> None:
    """Releases, a rollback, pins and a restart; then the log is edited, then the copy."""
    for version in "12":
        plant.register(version)
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": LONG, "path": str(plant.photos("photos", 2))}
    config = plant.config_file([camera | {"loop": True, "pace": "realtime", "fps": 10}])
    state = plant.root / "edge" / "box1"
    agent = AgentProcess(config)
    try:
        agent.wait_for(lambda status: status["model"]["version"] == "line/1")
        plant.promote("2", forced=True, unjudged=True)
        serving = agent.wait_for(lambda status: status["model"]["version"] == "line/2")["model"]
        assert (serving["forced"], serving["unjudged"]) == (True, True)
        assert [state["word"] for state in serving["states"]] == ["serving", "forced", "not judged"]
        shown = subprocess.run(
            [sys.executable, "-m", "yolo_assets.cli.main", "edge", "status", "--url", agent.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=os.environ | {"COLUMNS": "70"},
        )
        assert LONG in shown.stdout, "the name of a camera is never cut short"
        for path in ("/v1/pin", "/v1/unpin", "/rollback"):
            assert agent.request(path, "POST", token=TOKEN)[0] == 200
    finally:
        assert agent.stop() == 0
    beat = until(lambda: plant.store.head(fleet_key("box1")) and plant.store.get(fleet_key("box1")))
    signed_head = Heartbeat.from_json(beat).audit
    assert signed_head is not None
    head = content(signed_head.to_json())
    assert head["sequence"] == head["shipped"] == 6

    where = ("--state", str(state), "--store", plant.store_folder.as_uri(), "--device", "box1")
    assert verify(*where)[0] == 0
    key = ("--key", str(state / "audit" / "device.key.pub"))
    own = [note for log in json.loads(verify(*where, "--json")[1])["logs"] for note in log["notes"]]
    assert sum("which lies with the log itself" in note for note in own) == 2
    code, out, _ = verify(*where, *key, "--json")
    document = json.loads(out)
    assert not any("lies with the log" in note for log in document["logs"] for note in log["notes"])
    assert code == 0 and document["ok"] and [log["lines"] for log in document["logs"]] == [6, 6]

    (log,) = (state / "audit").glob("*/*.ndjson")
    lines = log.read_bytes().splitlines(keepends=True)
    kinds = [content(line.rstrip())["kind"] for line in lines]
    assert kinds == ["begin", "model", "model", "pin", "unpin", "model"]
    flags = [{"forced", "unjudged"} & set(content(line.rstrip())) for line in lines]
    assert flags == [set(), set(), {"forced", "unjudged"}, set(), set(), set()]
    assert all(content(line.rstrip())["who"].startswith("token holder") for line in lines[3:])
    log.write_bytes(b"".join(lines[:3] + lines[4:]))
    code, out, err = verify("--state", str(state))
    assert code == 1 and "line 4 is missing before line 5" in err and "DIFFERS" in out
    assert len(err.splitlines()) == 1
    log.write_bytes(b"".join(lines[:5]))
    assert "cut off at the end" in verify("--state", str(state))[2]

    (copy, *_) = plant.store.list(device_audit_prefix("box1"))
    first, *rest = plant.store.get(copy.key).splitlines(keepends=True)
    changed = with_content(first, content(first.rstrip()) | {"device_id": "box2"})
    plant.store.put(copy.key, b"".join([changed + b"\n", *rest]))
    assert verify("--store", plant.store_folder.as_uri(), "--device", "box1")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "give what to check"),
        (("--store", "store"), 2, "--store needs --device"),
        (("--state", "nothing"), 1, "there is no audit log in"),
        (("--store", "/nowhere/store", "--device", "box1"), 2, "there is no store at"),
        (("--store", ".", "--device", "a/b"), 2, "not a device id"),
        (("--store", ".", "--device", "box1", "--key", "none.pub"), 1, "not a readable public key"),
        (("--store", ".", "--device", "box1"), 1, "holds no audit log of box1"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["yolo-assets", "edge", "audit", "verify", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (code, "") and says in err and len(err.splitlines()) == 1
