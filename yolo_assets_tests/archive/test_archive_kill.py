"""kill -9 anywhere between packing and deletion: each frame stays readable, byte for byte, from spool or archive.

A real process archives a real spool into a folder store. It is killed either just before one of its file system calls
(an audit hook counts opens, renames, links and removals below the test's folder) or at a random moment. After each
kill the invariant is checked with nobody running; in the end one clean run finishes the work.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.verification import verify_archive
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record

Contents = Callable[[Path], dict[str, bytes]]
FillHour = Callable[..., SpoolHour]
HOUR = Hour.from_key("20260102_03")
SEED = 20261121

ARCHIVER = """
import os, signal, sys
from pathlib import Path
root, kill_at = Path(sys.argv[1]), int(sys.argv[2])
from yolo_assets_tests.support import one_round as run
from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.storage import open_store
from yolo_assets.archive.options import ArchiveOptions
IN_PARTS = ArchiveOptions(part_size=5 << 20, whole=0)
signer = Signer.load_or_create(root / "keys" / "archiver")
archive = Archive(open_store((root / "archive").as_uri()), TrustedKeys.of(signer))
seen = 0
def watch(event, args):
    global seen
    if event in ("open", "os.rename", "os.link", "os.remove", "os.truncate") and str(root) in str(args[0]):
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
print("ready", flush=True)
results = run.run_archiver(root / "spool", archive, signer, options=IN_PARTS, grace_seconds=0)
print("calls", seen, [(r.status, r.reason) for r in results], flush=True)
"""


class Case:
    """One spool being archived, with what must never be lost."""

    def __init__(self, root: Path, hour: SpoolHour, contents: Contents) -> None:
        self.root = root
        self.hour = hour
        self.contents = contents
        self.must = contents(hour.path)
        self.trusted = TrustedKeys.of(Signer.load_or_create(root / "keys" / "archiver"))

    def run(self, kill_at: int = 0, after: float | None = None) -> str:
        """Archive in a process of its own; killed before call ``kill_at`` or ``after`` seconds; its output."""
        process = subprocess.Popen(
            [sys.executable, "-c", ARCHIVER, str(self.root), str(kill_at)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if after is not None:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait(timeout=60)
        return rest

    def archived(self) -> dict[str, bytes]:
        archive = Archive(open_store((self.root / "archive").as_uri()), self.trusted)
        found: dict[str, bytes] = {}
        for receipt in archive.receipts("cam1", HOUR):
            for row in archive.part(receipt).index():
                found[native_name(row.name)] = archive.part(receipt).read(row)
        return found

    def check(self, what: str) -> None:
        """The invariant."""
        local, remote = self.contents(self.hour.path), self.archived()
        for name, data in self.must.items():
            assert data in (local.get(name), remote.get(name)), f"{what}: {name} is lost"

    def finish(self, what: str) -> None:
        """One clean run ends the work: everything archived once, nothing left locally, everything verifies."""
        archive = Archive(open_store((self.root / "archive").as_uri()), self.trusted)
        signer = Signer.load_or_create(self.root / "keys" / "archiver")
        results = run_archiver(self.root / "spool", archive, signer, grace_seconds=0)
        assert all(result.status != "failed" for result in results), (what, results)
        assert self.archived() == self.must, what
        assert self.contents(self.hour.path) == {}, what
        receipts = archive.receipts("cam1", HOUR)
        assert sum(receipt.file_count for receipt in receipts) == len(self.must), f"{what}: archived twice"
        for receipt in receipts:
            name = ArchiveName.parse(receipt.archive_key)
            assert verify_archive(archive, name, "full").problems == [], what


@pytest.fixture
def case(tmp_path: Path, fill_hour: FillHour, contents: Contents) -> Case:
    hour = fill_hour(frames=12, size=1 << 20)
    open_store((tmp_path / "archive").as_uri())
    return Case(tmp_path, hour, contents)


def test_killed_before_any_file_system_call(case: Case, tmp_path: Path) -> None:
    """A dozen of the calls of a run, the same archive killed again and again on its way to the end."""
    shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-dry"))
    dry = Case(tmp_path.with_name(tmp_path.name + "-dry"), case.hour, case.contents)
    calls = int(dry.run().split()[1])
    assert calls > 60
    chance = random.Random(SEED)
    kills = 0
    for at in sorted(chance.sample(range(1, calls + 1), 12)):
        what = f"seed {SEED}, killed before call {at} of {calls}"
        kills += not case.run(kill_at=at)  # a run that gets through says so
        case.check(what)
    assert kills >= 8
    case.finish(f"seed {SEED}")


@pytest.mark.parametrize(
    "seed",
    [*range(SEED, SEED + 3), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(SEED + 3, SEED + 40))],
)
def test_killed_at_random_moments_with_late_frames(seed: int, case: Case) -> None:
    chance = random.Random(seed)
    for kill in range(4):
        case.run(after=chance.uniform(0, 0.4))
        case.check(f"seed {seed}, kill {kill}")
        if kill == 1:
            with SpoolWriter(case.root / "spool", "cam1", "box1") as writer:
                record = {"detections": [], "model_version": "line/1", "device_id": "box1"}
                path = writer.write(
                    HOUR.start + timedelta(minutes=50), frame_record(record), chance.randbytes(5000)
                ).image_path
            late = path.rsplit("/", 1)[-1]
            names = {late, late.replace(".jpg", ".late.ndjson")}
            case.must |= {name: (case.hour.path / name).read_bytes() for name in names}
    case.finish(f"seed {seed}")


def test_killed_at_each_call_after_the_receipt(case: Case, tmp_path: Path) -> None:
    """The delicate stretch, densely: from the receipt to the last deletion, each kill on a fresh copy."""
    folder = tmp_path.with_name(tmp_path.name + "-copies")
    shutil.copytree(tmp_path, folder / "dry")
    calls = int(Case(folder / "dry", case.hour, case.contents).run().split()[1])
    chance = random.Random(SEED)
    for at in sorted(chance.sample(range(calls - 50, calls + 1), 8)):
        root = folder / str(at)
        shutil.copytree(tmp_path, root)
        hour = SpoolHour.of(root / "spool", "cam1", HOUR)
        one = Case(root, hour, case.contents)
        one.run(kill_at=at)
        one.check(f"killed before call {at} of {calls}")
        one.finish(f"killed before call {at} of {calls}")
        shutil.rmtree(root)
    assert os.listdir(folder) == ["dry"]
