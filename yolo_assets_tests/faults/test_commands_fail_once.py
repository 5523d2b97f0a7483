"""Every command over stores in which each operation fails once: all succeed, and nothing is done twice.

The commands come from the command line itself: a new one without a case here fails ``test_every_command_has_a_case``.
They run in this process, but for those that stay in the foreground until they are stopped.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from yolo_assets.cli.main import app, main
from yolo_assets.contracts.camera_states import CameraState, CameraStates, StandingFault
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import ArchiveName, fleet_key
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.learning.dataset import latest_dataset
from yolo_assets.local.services import DEVICE, SimulatedLine, free_port, write_agent_config
from yolo_assets.models.approvals import Approvals, proposal_of
from yolo_assets.models.registry import Registry
from yolo_assets.monitoring.states import health_notes, keep_camera_states
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.faults import Effect
from yolo_assets.storage.open import open_backend
from yolo_assets_tests.conftest import S3Bucket
from yolo_assets_tests.faults.conftest import MakeLoop
from yolo_assets_tests.faults.test_each_operation_fails_once import NIGHT, run_every_asset
from yolo_assets_tests.support.faulty_stores import FaultLog, FaultOrder, faulty_environment, faulty_stores
from yolo_assets_tests.support.plant_loop import PlantLoop
from yolo_assets_tests.support.tiny_model import tiny_bundle_files

IN_PROCESS = {
    *("simulate", "archive run", "archive ls", "archive show", "archive verify", "archive cat", "restore"),
    *("archive checkpoint", "archive witness", "archive replicate"),
    *("catalog rebuild", "catalog query", "catalog find", "catalog gaps", "catalog stats"),
    "catalog costs",
    *("models keygen", "models list", "models show", "models verify", "models promote", "models rollback"),
    *(
        "models history",
        "models export",
        "models import",
        "models why",
        "evidence make",
        "evidence verify",
        "models approve",
    ),
    *("models rollout status", "models rollout look", "models rollout pause", "models rollout resume"),
    *("models rollout abort", "models validation"),
    *("storage doctor", "storage policy", "edge init"),
    *("health ls", "health ack", "health relearn", "health retire"),
    *("tables build", "tables quarantine", "labels import", "datasets build"),
    *("datasets ls", "datasets show", "datasets diff", "datasets export", "datasets golden add", "datasets golden ls"),
    *("labels ls", "labels history", "labels conflicts", "labels withdraw", "labels suspects"),
    *("classes ls", "classes add", "classes describe", "classes rename", "classes alias", "classes retire"),
    *("classes merge", "alerts ls", "audit", "lineage", "backfill", "exporter", "platform init", "today"),
    *("training status", "training search", "training trials"),
    *("keys ls", "keys enroll", "keys rotate", "keys revoke"),
}
FOREGROUND = ("edge run", "edge check", "edge status", "edge audit verify", "edge try")
ON_S3 = ("archive hold", "storage init")
WHOLE_SYSTEM = ("up", "demo")
"""In tests of their own: ``local/test_up.py`` and ``faults/test_demo_fails_once.py``."""
OF_WEIGHTS = ("models build", "models average")
"""Many seconds of NNCF or torch: ``training/test_int8_builds.py``, ``training/test_averages.py``."""
EVALUATES = ("models compare",)
"""Two models on every test frame, in a child process: ``training/test_training_run.py``."""
NO_STORE = ("alerts test", "events listen", "pages", "edge token add", "edge token ls", "edge token withdraw")
"""They open none: what is announced is looked at by the functions of the sensors, pages open theirs when asked, and
people of a device stand in a file."""
NOTED = {
    *("restore", "archive cat", "evidence make", "models promote", "models rollback", "models export"),
    *("models rollout pause", "models rollout resume", "models rollout abort", "models approve"),
    *("keys enroll", "keys rotate", "keys revoke"),
    *("labels import", "labels withdraw", "models import", "datasets export", "datasets golden add", "classes change"),
}
"""What the audit trail must tell of them."""

BOTH = pytest.mark.parametrize("effect", ["before", "after"])


def commands() -> set[str]:
    """Every command with its groups' names before it."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        if hasattr(command, "list_commands"):
            for name in command.list_commands(None):
                yield from walk(command.get_command(None, name), (*path, name))
        else:
            yield " ".join(path)

    return set(walk(typer.main.get_command(app), ()))


def test_every_command_has_a_case() -> None:
    assert commands() == {*IN_PROCESS, *FOREGROUND, *ON_S3, *WHOLE_SYSTEM, *OF_WEIGHTS, *EVALUATES, *NO_STORE}


@dataclass
class Shell:
    """Runs commands in this process; anything but exit 0 fails the test."""

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    ran: set[str]

    def __call__(self, command: str, *options: object) -> str:
        self.patch.setattr(sys, "argv", ["yolo-assets", *command.split(), *map(str, options)])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self.capture.readouterr()
        assert ended.value.code == 0, f"{command} {options}: {printed.err}{printed.out[-1500:]}"
        self.ran.add(command)
        return printed.out


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capfd, set())


def labelled_images(loop: PlantLoop) -> set[str]:
    """The paths of all images that a label file speaks of."""
    files = (loop.home / "store" / "labels" / "accepted").iterdir()
    return {image["image_path"] for file in files for image in json.loads(file.read_text())["images"]}


def release(loop: PlantLoop) -> Registry:
    promoter = Signer.load_or_create(loop.home / "keys" / "promotion")
    return Registry(open_backend((loop.home / "store").as_uri()), TrustedKeys.of(promoter))


@BOTH
@pytest.mark.timeout(600)
def test_commands(make_loop: MakeLoop, shell: Shell, tmp_path: Path, effect: Effect) -> None:
    loop = make_loop(tmp_path / "home")
    run_every_asset(loop)
    registry, later = release(loop), NIGHT.next()
    registry.write_bundle(*tiny_bundle_files("line", "2"))
    (first,) = [f"line/{entry.version}" for entry in registry.list_bundles("line") if entry.version != "2"]
    camera = sorted(loop.frames.seen)[0].split("/")[0]
    name = ArchiveName(camera, NIGHT)
    span = ("--from", format_time(NIGHT.start), "--to", format_time(later.end))
    stored = open_backend((loop.home / "store").as_uri())
    dirty = StandingFault(kind="blurred", sentence=f"{camera} is blurred", since=NIGHT.start)
    sick = CameraState(camera_id=camera, last_hour=NIGHT.start, faults=(dirty,))
    keep_camera_states(stored, CameraStates(hour=NIGHT.start, cameras=(sick,)))
    with faulty_stores(FaultOrder(each_once=effect)) as log:
        shell(
            "simulate",
            "--out",
            loop.home / "spool",
            "--hours",
            1,
            "--cameras",
            2,
            "--fps",
            0.01,
            "--start",
            later.key,
            "--truth-records",
        )
        loop.frames.remember(loop.home / "spool")
        shell("archive run", "--grace", 0, "--json")
        assert camera in shell("archive ls")
        shell("archive show", name.stem, "--members")
        shell("archive verify", name.stem, "--verify", "full")
        shell("archive replicate", "--to", tmp_path / "second")
        shell("archive cat", "--camera", camera, "--at", format_time(NIGHT.end), "-o", tmp_path / "frame.jpg")
        shell("restore", "--camera", camera, *span, "--out", tmp_path / "out")
        assert json.loads(shell("catalog rebuild", "--json"))["archives"] == 4
        assert "4" in shell("catalog query", "SELECT count(*) FROM archives")
        shell("catalog find", "--class", "crack", *span)
        shell("catalog gaps")
        shell("catalog stats")
        assert [one["years"] for one in json.loads(shell("catalog costs", "--json"))["outlook"]] == [1, 5, 20]
        assert json.loads(shell("archive checkpoint", "--json"))["receipts"] == 4
        shell("archive witness", tmp_path / "witness")
        kept = next((tmp_path / "witness" / "cosigned").iterdir())
        assert json.loads(shell("archive verify", "--history", "--checkpoint", kept, "--json"))["ok"]
        assert json.loads(shell("tables build", "--hour", later.key, "--json"))["frames"] > 0
        assert json.loads(shell("tables quarantine", "--json")) == []
        answer = next((loop.home / "store" / "labels" / "inbox").iterdir())
        (imported,) = json.loads(shell("labels import", answer, "--json"))
        assert imported["boxes"] > 0 and imported["problems"] == []
        assert json.loads(shell("datasets build", "--json"))["counts"]["train"] > 0
        assert json.loads(shell("datasets ls", "--json"))
        shown = json.loads(shell("datasets show", "current", "--json"))
        assert json.loads(shell("datasets diff", shown["dataset"][:12], "current", "--json"))["added"] == []
        shell("datasets export", "current", "--format", "coco", "--out", loop.home / "exported-dataset")
        dataset = latest_dataset(open_backend((loop.home / "store").as_uri()))
        assert dataset is not None
        held = dataset.items("test")[0].image_path
        assert json.loads(shell("datasets golden add", held, "--by", "test", "--note", "critical", "--json"))["added"]
        assert len(json.loads(shell("datasets golden ls", "--json"))) == 1
        assert json.loads(shell("labels suspects", "--json"))["images"] > 0
        (file, *_) = json.loads(shell("labels ls", "--json"))
        assert file["counting"] > 0
        test_images = tmp_path / "test.txt"
        frames = labelled_images(loop)
        test_images.write_text("\n".join(frames))
        assert json.loads(shell("labels history", min(frames), "--json"))["labels"]
        assert json.loads(shell("labels conflicts", "--json")) == []
        answered = ("--change-test-labels", test_images, "--json")
        assert json.loads(shell("labels withdraw", file["sha256"], *answered))["withdrawn"]
        assert json.loads(shell("labels withdraw", file["sha256"], "--undo", *answered))["withdrawn"] is None
        shell("classes add", "dent")
        shell("classes describe", "dent", "--display", "de=Delle")
        shell("classes rename", "dent", "bump")
        shell("classes alias", "bump", "Bump")
        shell("classes add", "rust")
        shell("classes merge", "bump", "rust")
        shell("classes retire", "rust")
        assert [one["version"] for one in json.loads(shell("classes ls", "--json"))["history"]] == [7, 6, 5, 4, 3, 2, 1]
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setenv("YOLO_ASSETS_HOME", str(tmp_path / "new"))
            shell("models keygen")
        keys = [Signer.load_or_create(tmp_path / name).key_id for name in ("device-1", "device-2")]
        shell("keys enroll", "box1", "--key", tmp_path / "device-1.pub")
        shell("keys rotate", "box1", "--key", tmp_path / "device-2.pub")
        assert [one["key_id"] for one in json.loads(shell("keys revoke", "box1", "--json"))] == keys
        listed = {one["key_id"]: one["state"] for one in json.loads(shell("keys ls", "--json"))["devices"]}
        assert listed == dict.fromkeys(keys, "revoked")
        assert "line/2" in shell("models list")
        shell("models show", first)
        shell("models why", first)
        shell("models promote", "line/2", "--reason", "a better one", "--by", "A. Berg", "--force", "--unjudged")
        shell("models verify", "line/2")
        shell("models rollback", "line", "--reason", "it was not", "--by", "A. Berg")
        shell("models history", "line")
        assert json.loads(shell("lineage", first, "--json"))["made_from"][0]["images"]["train"] > 0
        roll_out_in_waves(loop, shell, tmp_path)
        shell("models validation", first, "--out", tmp_path / "validation", "--use", "cracks on welds")
        shell("models export", first, "--out", tmp_path / "bundle")
        (tmp_path / "tiny.onnx").write_bytes(tiny_bundle_files("line", "3")[1][ONNX])
        golden = ("--golden", tmp_path / "bundle" / "golden")
        shell("models import", tmp_path / "tiny.onnx", "--name", "line", "--version", "3", *golden)
        pack = tmp_path / "pack"
        shell("evidence make", "--camera", camera, *span, "--reason", "Audit 17", "--by", "A. Berg", "--out", pack)
        shell("evidence verify", pack, "--key", loop.home / "keys" / "archiver.pub")
        shell("storage doctor")
        shell("storage policy", "--out", tmp_path / "policies")
        shell("edge init", "--out", tmp_path / "edge.yaml")
        assert json.loads(shell("today", "--json"))["cameras"] == [], "these hours are of months ago"
        shell("alerts ls")
        assert camera in shell("health ls")
        said = ("--by", "A. Berg")
        assert json.loads(shell("health ack", camera, *said, "--kind", "blurred", "--json"))["kinds"] == ["blurred"]
        shell("health relearn", camera, *said, "--note", "another lamp")
        shell("health retire", camera, *said)
        assert [(note.action, note.by) for note in health_notes(stored)] == [
            (action, "A. Berg") for action in ("acknowledge", "relearn", "retire")
        ]
        told = json.loads(shell("audit", "--json"))
        assert told["ok"] and {act["what"] for act in told["acts"] if act["source"] == "centre"} >= NOTED
        shell("exporter", "--once")
        shell("backfill", "detections", "--from", NIGHT.key, "--to", later.key, "--dry-run")
        shell("platform init", "--out", tmp_path / "platform")
        assert "due" in json.loads(shell("training status", "--json"))
        recipe = tmp_path / "recipe.toml"  # the tiny model that serves has another stride than what is trained
        recipe.write_text("agents_start_anew = true\n")
        shell.patch.setenv("YOLO_ASSETS_RECIPE", str(recipe))
        assert json.loads(shell("training search", "spring", "--trials", 2, "--json"))["trials"] == 2
        (first_trial,) = json.loads(shell("training trials", "spring", "--json"))["trials"]
        assert first_trial["state"] == "waiting", "the plant's recipe"
    assert shell.ran == IN_PROCESS
    assert {"get", "list", "put_if_absent", "compare_and_swap"} <= {operation for operation, _ in log.faults()}
    assert loop.everything_comes_back() == []
    pointer = registry.channel("line", "stable").pointer()
    assert pointer is not None and (pointer.model_version, pointer.release) == (first, 5), "each move is one release"


def roll_out_in_waves(loop: PlantLoop, shell: Shell, tmp_path: Path) -> None:
    """One device of two gets line/2, and both go back; then a person approves a release."""
    plant, store = loop.home / "plant.yaml", open_backend((loop.home / "store").as_uri())
    plant.write_text("rollout: {waves: [0.5], settle_seconds: 0, pointer_hours: 24}\n")
    for device in ("edge-1", "edge-2"):
        facts = {"agent_version": "1", "engine": "onnxruntime", "model_version": None, "channel": "stable"}
        beat = Heartbeat(device_id=device, at=utc_now(), started_at=utc_now(), **facts)
        store.put(fleet_key(device), beat.to_json())
    why = ("--reason", "a better one", "--by", "A. Berg")
    shell("models promote", "line/2", *why, "--force", "--unjudged")
    assert json.loads(shell("models rollout status", "line", "--json"))["waves"][0] in (["edge-1"], ["edge-2"])
    shell("models rollout pause", "line", *why)
    shell("models rollout look", "line")
    shell("models rollout resume", "line", *why)
    assert json.loads(shell("models rollout abort", "line", "--json", *why))["state"] == "aborted"
    key = tmp_path / "anna"
    shell("models keygen", "--person", key)
    plant.write_text(f"people: {{needed: 1, keys: {{anna: {key}.pub}}}}\n")
    people, registry = load_plant(Settings(home=loop.home)).people, release(loop)
    assert people is not None
    manifest = registry.read_manifest("line", "2", signed=False)
    asked = proposal_of("line", "stable", "2", manifest_sha256=manifest.sha256, replaces=5, by="gate", reason="good")
    Approvals(store, people, registry.trusted).propose(asked, Signer.load(loop.home / "keys" / "promotion"))
    assert json.loads(shell("models approve", "line/2", "--key", key, "--json"))["complete"] is True
    plant.unlink()


@BOTH
@pytest.mark.timeout(300)
def test_an_agent(make_loop: MakeLoop, shell: Shell, tmp_path: Path, effect: Effect) -> None:
    loop = make_loop(tmp_path / "home")
    run_every_asset(loop)
    settings, port = Settings.from_env(), free_port(0)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    config = write_agent_config(settings, SimulatedLine(("lineA_cam01",), 1, start, 1.0, 2.0, None), port)
    order = FaultOrder(each_once=effect, log=str(tmp_path / "faults"))
    environment = faulty_environment(tmp_path / "hook", order)
    command = [sys.executable, "-m", "yolo_assets.cli.main", "edge", "run", "--config", str(config)]
    with (tmp_path / "edge.log").open("wb") as output:
        agent = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        url, model = f"http://127.0.0.1:{port}", release(loop).channel("line", "stable").pointer()
        assert model is not None

        def serves() -> bool:
            status = json.loads(shell("edge status", "--url", url, "--json"))
            return status["model"] is not None and status["model"]["version"] == model.model_version

        wait(lambda: agent.poll() is None and answers(url) and serves(), tmp_path / "edge.log")
        shell("edge check", "--config", config, "--seconds", 5)
        fingerprint = json.loads(shell("edge status", "--url", url, "--json"))["audit"]["fingerprint"]
        enrolled = json.loads(shell("keys enroll", DEVICE, "--agent", url, "--fingerprint", fingerprint, "--json"))
        assert (enrolled["fingerprint"], enrolled["new"]) == (fingerprint, True)
    finally:
        agent.send_signal(signal.SIGINT)
        code = agent.wait(60)
    assert code == 0, (tmp_path / "edge.log").read_text()[-2000:]
    shell("edge audit verify", "--store", settings.store_url, "--device", DEVICE)
    assert FaultLog(Path(order.log)).faults()


@BOTH
def test_a_model_on_trial(tmp_path: Path, effect: Effect) -> None:
    manifest, files = tiny_bundle_files()
    (tmp_path / "tiny.onnx").write_bytes(files[ONNX])
    (tmp_path / "line").mkdir()
    for frame in manifest.golden_frames:
        (tmp_path / "line" / Path(frame.file).name).write_bytes(files[frame.file])
    order = FaultOrder(each_once=effect, log=str(tmp_path / "faults"))
    environment = faulty_environment(tmp_path / "hook", order) | {"YOLO_ASSETS_HOME": str(tmp_path / "home")}
    argv = ["edge", "try", str(tmp_path / "tiny.onnx"), str(tmp_path / "line"), "--json"]
    log = tmp_path / "try.log"
    with log.open("wb") as errors:
        trial = subprocess.Popen(
            [sys.executable, "-m", "yolo_assets.cli.main", *argv],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert trial.stdout is not None
    try:
        url = json.loads(trial.stdout.readline())["url"].rstrip("/")
        wait(lambda: trial.poll() is None and b"tiny/" in read(f"{url}/v1/models"), log)
    finally:
        trial.send_signal(signal.SIGINT)
        code = trial.wait(60)
        trial.stdout.close()
    assert code == 0, log.read_text()[-2000:]
    assert FaultLog(Path(order.log)).faults()


def read(url: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def answers(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait(ready: Callable[[], bool], log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.3)


@pytest.mark.s3
@BOTH
def test_commands_of_a_locked_bucket(
    s3_locked_bucket: S3Bucket, make_loop: MakeLoop, shell: Shell, tmp_path: Path, effect: Effect
) -> None:
    loop = make_loop(tmp_path / "home")
    shell.patch.setenv("YOLO_ASSETS_ARCHIVE", s3_locked_bucket.url)
    loop.record_hour(NIGHT)
    with faulty_stores(FaultOrder(each_once=effect)):
        shell("storage init", "--archive", s3_locked_bucket.url, "--dry-run")
        shell("archive run", "--grace", 0)
        name = ArchiveName(sorted(loop.frames.seen)[0].split("/")[0], NIGHT).stem
        assert name in shell("archive ls")
        shell("archive hold", name)
        shell("archive hold", name, "--release")
    assert {"storage init", "archive hold"} <= shell.ran
    store: ObjectStore = open_backend(s3_locked_bucket.url)
    assert len(list(store.list("receipts/"))) == loop.cameras
