"""kill -9 anywhere in a replication, and faults: the second place is right at every moment, and nothing is lost.

A real process copies between two folders. It is killed just before one of its file system calls, or at a random moment.
After each kill the second place is looked at with nobody running; in the end one clean run finishes the work.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.verification import verify_archives
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import COPIES, ArchiveName
from yolo_assets.storage import open_store
from yolo_assets.storage.faults import FaultyStore, at_random
from yolo_assets.storage.retrying import RetryBounds, RetryingStore
from yolo_assets_tests.support.two_places import TwoPlaces

SEED = 20261127
HOURS = ("20260102_03", "20260102_04", "20260102_05")

COPIER = """
import os, signal, sys
from pathlib import Path
from yolo_assets_tests.support.two_places import TwoPlaces
places, kill_at = TwoPlaces(Path(sys.argv[1])), int(sys.argv[2])
copied = str(places.root / "second"), str(places.root / "home" / "copying"), str(places.root / "store")
seen = 0
def watch(event, args):
    global seen
    if event in ("open", "os.rename", "os.link", "os.remove", "os.truncate") and str(args[0]).startswith(copied):
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
print("ready", flush=True)
places.replicate()
print("calls", seen, flush=True)
"""


class Case:
    """An archive that is being copied."""

    def __init__(self, root: Path) -> None:
        self.places = TwoPlaces(root)
        self.must = {key: hashlib.sha256(data).digest() for key, data in self.places.objects(self.places.first).items()}

    def run(self, kill_at: int = 0, after: float | None = None) -> str:
        """Copy in a process of its own; killed before call ``kill_at`` or ``after`` seconds; its output."""
        argv = [sys.executable, "-c", COPIER, str(self.places.root), str(kill_at)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if after is not None:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait(timeout=120)
        return rest

    def check(self, what: str) -> None:
        """Whatever is in the second place is right, and no receipt is there without its archive."""
        store = open_store(self.places.second)
        there = {info.key for info in store.list("")}
        for key in there:
            if key in self.must:
                assert hashlib.sha256(store.get(key)).digest() == self.must[key], f"{what}: {key} differs"
            if key.startswith("receipts/"):
                name = ArchiveName.parse(key)
                assert {name.archive_key, name.index_key} <= there, f"{what}: {key} without its archive"

    def finish(self, what: str) -> None:
        """One clean run ends the work: all is there, verifies, and stands in a statement of both places."""
        done = self.places.replicate()
        assert done.complete and not done.failed_count, what
        self.check(what)
        assert self.must.keys() <= self.places.objects(self.places.second).keys(), what
        copy = Archive(open_store(self.places.second), self.places.trusted)
        names = list(copy.names())
        assert [report.problems for report in verify_archives(copy, names, "full")] == [[]] * len(names), what
        stated = {e.name for statement in self.places.statements(self.places.first) for e in statement.archives}
        assert stated == {name.stem for name in names}, what
        here, there = (self.places.objects(url) for url in (self.places.first, self.places.second))
        assert {k: v for k, v in here.items() if k.startswith(COPIES)}.items() <= there.items(), what


@pytest.fixture
def case(tmp_path: Path) -> Case:
    places = TwoPlaces(tmp_path)
    for hour in HOURS[:2]:
        places.record(hour)
    places.record(HOURS[2], frames=4, size=6 << 20)
    places.archive(ArchiveOptions(whole=0))
    return Case(tmp_path)


@pytest.mark.parametrize(
    ("seed", "kills"), [(SEED, 2), *(pytest.param(SEED + n, 20, marks=pytest.mark.soak) for n in range(1, 6))]
)
def test_killed_before_a_file_system_call(seed: int, kills: int, case: Case, tmp_path: Path) -> None:
    """The same copy, killed again and again on its way to the end, more than once while it begins anew."""
    chance = random.Random(seed)
    dry = tmp_path.with_name(f"{tmp_path.name}-dry")
    shutil.copytree(tmp_path, dry)
    calls = int(Case(dry).run().split()[1])
    shutil.rmtree(dry)
    killed = 0
    for number in range(kills):
        at = chance.randrange(1, calls)
        what = f"seed {seed}, kill {number} before call {at} of {calls}"
        killed += not case.run(kill_at=at)
        case.check(what)
        if number % 4 == 3:  # and from the beginning
            case.finish(what)
            shutil.rmtree(tmp_path / "second")
    assert killed >= kills // 3  # a run that is nearly done makes fewer calls
    case.finish(f"seed {seed}")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEED, SEED + 25))
def test_killed_at_random_moments(seed: int, case: Case) -> None:
    chance = random.Random(seed)
    for kill in range(4):
        case.run(after=chance.uniform(0, 0.5))
        case.check(f"seed {seed}, kill {kill}")
    case.finish(f"seed {seed}")


@pytest.mark.parametrize("seed", [SEED, *(pytest.param(SEED + n, marks=pytest.mark.soak) for n in range(1, 201))])
def test_faults_at_random(seed: int, case: Case) -> None:
    """A tenth of the requests of both places fail, half of them after they took effect; no retries but the next run."""
    places, once = case.places, RetryBounds(tries=2, first_pause=0.001, longest_pause=0.001)
    for _ in range(6):
        first = FaultyStore(open_store(places.first), at_random(seed, 0.1))
        second = FaultyStore(open_store(places.second), at_random(seed + 1000, 0.1))
        try:
            places.replicate(RetryingStore(first, once), RetryingStore(second, once))
        except UserError:
            pass
        case.check(f"seed {seed}")
    case.finish(f"seed {seed}")
