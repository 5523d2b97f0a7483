"""Every command explains itself with an example that parses, and answers ``--json`` with one JSON document."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer

from yolo_assets.cli.main import app
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.conftest import Call
from yolo_assets_tests.learning.label_inbox import zipped
from yolo_assets_tests.models.release_support import promoter_of
from yolo_assets_tests.support.tiny_model import tiny_bundle_files

ROOT: Any = typer.main.get_command(app)
JPEG = b"\xff\xd8\xff\xe0" + bytes(2000) + b"\xff\xd9"


def walk(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every group and command with its words."""
    yield path, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from walk(command.get_command(None, name), (*path, name))


COMMANDS = dict(walk())
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "list_commands")}


def example_of(command: Any) -> list[str]:
    """The words of the example, the program's name left out; what stands in brackets behind it is a remark."""
    text = f"{command.help or ''}\n\n{command.epilog or ''}"
    (found,) = re.findall(r"Example: yolo-assets (.+?)(?:\n\n|\Z)", text, re.DOTALL)
    return shlex.split(re.sub(r"\s\s\(.*", "", found, flags=re.DOTALL))


def test_there_are_the_commands_that_are_promised() -> None:
    promised = "archive run|archive verify|archive cat|restore|catalog rebuild|catalog query|simulate|edge run|demo|up"
    assert {tuple(command.split()) for command in promised.split("|")} <= set(LEAVES)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_exits_0_and_shows_an_example(path: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    done = call(*path, "--help", home=tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example: yolo-assets" in " ".join(done.stdout.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_parses(path: tuple[str, ...]) -> None:
    """Parsed as the command would, every option and argument checked, and not run."""
    words = example_of(COMMANDS[path])
    if words[-1] == "--help":
        assert words[: len(path)] == list(path) and tuple(words[:-1]) in COMMANDS
        return
    assert words[: len(path)] == list(path), "the example is of another command"
    LEAVES[path].make_context(" ".join(path), words[len(path) :])


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_option_that_does_not_exist_is_exit_2(path: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    done = call(*path, "--no-such-option", home=tmp_path, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("error: ") and "--no-such-option" in line and "--help" in line


JSON_ELSEWHERE = {
    ("alerts", "test"),
    ("backfill",),
    ("demo",),
    ("edge", "check"),
    ("edge", "run"),
    ("edge", "try"),
    ("events", "listen"),
    ("edge", "status"),
    ("edge", "audit", "verify"),
    ("archive", "hold"),
    ("keys", "enroll"),
    ("keys", "rotate"),
    ("keys", "revoke"),
    ("models", "build"),
    ("datasets", "golden", "add"),
    ("models", "average"),
    ("models", "approve"),
    ("models", "rollout", "pause"),
    ("models", "rollout", "resume"),
    ("models", "rollout", "abort"),
    *(("labels", name) for name in ("ls", "history", "conflicts", "withdraw", "suspects")),
    ("training", "status"),
    ("training", "search"),
    ("training", "trials"),
    ("models", "why"),
    ("models", "compare"),
    *(("health", name) for name in ("ack", "relearn", "retire")),
}
"""Shown by their own tests: they need cameras, a line, a receiver, a Dagster instance, a bucket with lock, training,
a rollout under way, an image of the test split, an evaluation, or a camera that was judged."""

JSON: dict[tuple[str, ...], tuple[str, ...]] = {
    ("models", "keygen"): (),
    ("simulate",): ("--out", "simulated", "--cameras", "1", "--fps", "0.001"),
    ("storage", "init"): ("--apply",),
    ("storage", "doctor"): (),
    ("archive", "run"): ("--grace", "0"),
    ("archive", "ls"): (),
    ("archive", "show"): ("yolo_cam1_20260102_03", "--members"),
    ("archive", "verify"): ("--verify", "full"),
    ("restore",): (
        *("--camera", "cam1", "--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z"),
        *("--out", "back"),
    ),
    ("evidence", "make"): (
        *("--camera", "cam1", "--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z"),
        *("--out", "evidence"),
    ),
    ("evidence", "verify"): ("evidence", "--key", "keys/archiver.pub"),
    ("tables", "build"): ("--hour", "20260102_03"),
    ("tables", "quarantine"): (),
    ("catalog", "rebuild"): (),
    ("catalog", "query"): ("SELECT * FROM archives",),
    ("catalog", "find"): (
        *("--class", "crack", "--from", "2026-01-02T03:00:00Z"),
        *("--to", "2026-01-02T04:00:00Z"),
    ),
    ("catalog", "gaps"): (),
    ("catalog", "stats"): (),
    ("catalog", "costs"): (),
    ("archive", "checkpoint"): (),
    ("archive", "replicate"): ("--to", "copy"),
    ("archive", "witness"): ("witness", "--key", "keys/archiver.pub"),
    ("labels", "import"): ("labels.zip",),
    ("datasets", "build"): (),
    ("datasets", "ls"): (),
    ("datasets", "show"): ("current",),
    ("datasets", "diff"): ("current", "current"),
    ("datasets", "export"): ("current", "--format", "coco", "--out", "dataset"),
    ("datasets", "golden", "ls"): (),
    ("models", "list"): (),
    ("models", "show"): ("line/1",),
    ("models", "verify"): ("line/1",),
    ("models", "promote"): ("line/2", "--reason", "better", "--unjudged"),
    ("models", "rollback"): ("line", "--reason", "worse"),
    ("models", "history"): ("line",),
    ("models", "rollout", "status"): ("line",),
    ("models", "rollout", "look"): ("line",),
    ("models", "validation"): ("line/1", "--out", "validation", "--use", "welds of line A"),
    ("lineage",): ("line/1",),
    ("models", "export"): ("line/1", "--out", "exported"),
    ("models", "import"): ("exported/model.onnx", "--name", "line", "--version", "3", "--golden", "exported/golden"),
    ("health", "ls"): (),
    ("today",): (),
    ("alerts", "ls"): (),
    ("classes", "add"): ("dent",),
    ("classes", "describe"): ("dent", "--display", "de=Delle"),
    ("classes", "rename"): ("dent", "bump"),
    ("classes", "alias"): ("bump", "Bump"),
    ("classes", "retire"): ("bump",),
    ("classes", "merge"): ("bump", "crack"),
    ("classes", "ls"): (),
    ("keys", "ls"): (),
    ("edge", "token", "add"): ("A. Berg", "--role", "see", "--file", "people.json"),
    ("edge", "token", "ls"): ("--file", "people.json"),
    ("edge", "token", "withdraw"): ("A. Berg", "--file", "people.json"),
    ("audit",): (),
}


def own_pictures(count: int) -> bytes:
    """A YOLO zip with pictures of its own, each with one object."""
    files: dict[str, bytes | str] = {"classes.txt": "crack\n"}
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        files[f"images/{number}.png"] = cv2.imencode(".png", noise)[1].tobytes()
        files[f"labels/{number}.txt"] = "0 0.5 0.5 0.5 0.5\n"
    return zipped(files)


def test_json_is_one_document_on_standard_output(call: Call, tmp_path: Path) -> None:
    """All of them in the order of a plant's life; a command with ``--json`` that is missing here fails too."""
    offered = {path for path, command in LEAVES.items() if any("--json" in option.opts for option in command.params)}
    assert offered - JSON_ELSEWHERE == set(JSON)
    hour = tmp_path / "spool" / "cam1" / "20260102_03"
    hour.mkdir(parents=True)
    (hour / "20260102_030001_000.jpg").write_bytes(JPEG)
    (tmp_path / "labels.zip").write_bytes(own_pictures(8))
    answers: dict[tuple[str, ...], Any] = {}
    for path, arguments in JSON.items():
        done = call(*path, *arguments, "--json", home=tmp_path, cwd=tmp_path)
        assert done.returncode == 0, (path, done.stderr)
        assert done.stdout.count("\n") == 1, path
        answers[path] = json.loads(done.stdout)
        if path == ("models", "keygen"):  # what training leaves behind
            store = open_store((tmp_path / "store").as_uri())
            for version in "12":
                Registry(store).write_bundle(*tiny_bundle_files(name="line", version=version))
            signer = Signer.load(tmp_path / "keys" / "promotion")
            promoter = promoter_of(Registry(store, TrustedKeys.of(signer)), signer)
            promoter.promote(ReleaseRequest("line", "1", "stable", by="test", reason="first"))
    assert [file["images"] for file in answers["labels", "import"]] == [8]
    assert answers["datasets", "build"]["counts"]["train"] > 0
    assert [row["status"] for row in answers["archive", "run"]] == ["archived"]
    assert answers["archive", "ls"][0]["frame_count"] == answers["restore",]["files"] == 1
    assert [member["name"] for member in answers["archive", "show"]["members"]] == ["20260102_030001_000.jpg"]
    assert [row["camera_id"] for row in answers["catalog", "query"]] == ["cam1"]
    assert (answers["models", "promote"]["version"], answers["models", "rollback"]["version"]) == ("2", "1")
    assert [row["kind"] for row in answers["models", "history"]] == ["promote", "promote", "rollback"]
