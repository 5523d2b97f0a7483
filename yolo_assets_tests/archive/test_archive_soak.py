"""Kills and faults at random, from packing to deletion, on a folder and on Ceph, while late frames arrive.

A seed decides everything that can be decided: the hour, the store, what happens in which order, which requests are
harmed and how, at which call, request or moment the archiver is killed. After each kill and each fault every frame must
be readable byte for byte from spool or archive; in the end one clean run archives all of it exactly once.

``YOLO_ASSETS_SEED=17 make soak`` runs exactly seed 17. Where a kill is timed by the clock, how far the archiver came by
then is the machine's choice: run such a seed a few times.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yolo_assets_tests.support.archive_case import ArchiveCase
from yolo_assets_tests.support.archiver import Archiver
from yolo_assets_tests.support.fault_plan import Fault, Kind, Rule, rules, seeded
from yolo_assets_tests.support.fault_proxy import FaultProxy, Passed

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

KILLS = FAULTS = 200
"""What a soak must have done at least."""
QUICK = (3, 5)
SEEDS = range(1, 58)
CHOSEN = os.environ.get("YOLO_ASSETS_SEED")
TURNS = 9
KINDS: tuple[Kind, ...] = (
    "cut_request",
    "cut_response",
    "delay",
    "reset",
    "reset_after",
    "status",
    "error_200",
    "drop_response",
    "flip_request",
    "flip_response",
)
REQUESTS = (
    "ListObjectsV2",
    "HeadObject",
    "CreateMultipartUpload",
    "UploadPart",
    "ListParts",
    "CompleteMultipartUpload",
    "PutObject",
    "GetObject",
)
done = Counter[str]()


class Soak:
    """One seed's course."""

    def __init__(self, seed: int, case: ArchiveCase, proxy: FaultProxy | None) -> None:
        self.seed = seed
        self.case = case
        self.proxy = proxy
        self.chance = random.Random(seed)
        self.story: list[str] = []
        self.lost: list[str] = []
        self.calls = 0
        self.late = 0
        self.dead = False
        if proxy is not None:
            proxy.harmed = self.harmed

    def harmed(self, one: Passed) -> None:
        """The invariant at a fault, while the archiver goes on."""
        assert one.fault is not None
        if one.fault.kind == "kill":
            return
        done[one.fault.kind] += 1
        try:
            self.case.check(str(one))
        except Exception as error:
            self.lost.append(f"{one}: {error!r}")

    def tell(self, what: str) -> str:
        """For a failure: the seed and what happened until then."""
        self.story.append(what)
        return f"YOLO_ASSETS_SEED={self.seed}: " + "; ".join(self.story)

    def turn(self) -> None:
        """One thing that goes wrong, and the invariant."""
        if not self.case.hour.members():
            self.new_frames()
        ways = [self.kill_at_a_call, self.kill_after_a_while]
        if self.proxy is not None:
            ways += [self.kill_at_a_request] * 4 + [self.faults] * 3
        story = self.chance.choice(ways)()
        where = self.tell(story)
        assert not self.lost, f"{where}: {self.lost}"
        self.case.check(where)
        if self.chance.random() < 0.15 and self.late < 4:
            self.new_frames()

    def new_frames(self) -> None:
        """Late frames: some fit one put, some go in parts."""
        self.late += 1
        size = self.chance.choice((3_000, 1_200_000))
        frames = self.chance.randint(1, 5)
        self.case.fill(frames, size, seed=self.chance.randrange(1 << 30), late=True)
        self.tell(f"{frames} late frames of {size}")

    def kill_at_a_call(self) -> str:
        """Just before one of its file system calls."""
        at = 1 + int(self.chance.random() ** 1.5 * 120)
        return self.killed(f"kill before call {at}", kill_at=at)

    def kill_after_a_while(self) -> str:
        """At any moment."""
        after = self.chance.uniform(0, 0.3 if self.proxy is None else 0.6)
        return self.killed(f"kill after {after:.3f} s", kill_after=after)

    def kill_at_a_request(self) -> str:
        """Before a request, within it, or when the server did it and the answer is on its way."""
        assert self.proxy is not None
        fault = Fault("kill", at=self.chance.choice((0.0, self.chance.random(), 1.0)))
        operation, skip = self.chance.choice(REQUESTS), self.chance.choice((0, 0, 0, 1, 2, 4))
        self.proxy.begin(Rule(operation, fault, skip=skip))
        story = self.killed(f"{fault} of {operation} {skip + 1}")
        self.proxy.begin(None)
        return story

    def killed(self, how: str, **options: float | bool | None) -> str:
        """A run with a kill on its way; it may end first."""
        ran = self.case.run(**options)
        done["kill"] += ran.killed
        assert ran.killed or ran.code in (0, 1), (self.tell(how), ran)
        return f"{how}{'' if ran.killed else ': it had ended'}"

    def faults(self) -> str:
        """A run in which a share of the requests is harmed."""
        assert self.proxy is not None
        rate = self.chance.choice((0.1, 0.25, 0.4))
        # Complete comes once in a run: what only it can suffer would hardly ever happen.
        refused = Rule("CompleteMultipartUpload", Fault("error_200"), times=self.chance.choice((0, 0, 1, 3)))
        self.proxy.begin(rules([refused, seeded(f"{self.seed}/{len(self.story)}", rate, KINDS)]))
        ran = self.case.run(read_timeout=5)
        story = f"faults at {rate:.0%}: {', '.join(map(str, self.proxy.faults()))}"
        assert ran.code in (0, 1) and "Traceback" not in ran.error, (self.tell(story), ran.error)
        assert ran.error.count("\n") == (ran.code == 1) or not ran.code, (self.tell(story), ran.error)
        self.proxy.begin(None)
        return story


def the_seeds() -> list[object]:
    """All of them, few of them for ``make test``; the one that was asked for."""
    if CHOSEN is not None:
        return [pytest.param(int(CHOSEN), marks=pytest.mark.soak)]
    return [pytest.param(seed, marks=[] if seed in QUICK else pytest.mark.soak) for seed in SEEDS]


@pytest.mark.parametrize("seed", the_seeds())
def test_nothing_is_lost(seed: int, request: pytest.FixtureRequest, tmp_path: Path, archiver: Archiver) -> None:
    proxy = None
    url, env = (tmp_path / "archive").as_uri(), dict[str, str]()
    if seed % 3:
        bucket: S3Bucket = request.getfixturevalue("s3_bucket")
        proxy = request.getfixturevalue("proxy")
        url, env = bucket.url, {**bucket.env, "AWS_ENDPOINT_URL_S3": proxy.url}
    case = ArchiveCase(tmp_path / "case", url, archiver, lambda: env)
    soak = Soak(seed, case, proxy)
    frames, size = soak.chance.choice(((4, 4_000), (11, 1 << 20), (8, 800_000)))
    case.fill(frames, size, seed=seed)
    soak.tell(f"{frames} frames of {size}")
    for _ in range(TURNS):
        soak.turn()
    case.finish(soak.tell("a clean run"))


def test_a_lost_frame_would_be_noticed(tmp_path: Path, archiver: Archiver) -> None:
    case = ArchiveCase(tmp_path / "case", (tmp_path / "archive").as_uri(), archiver)
    case.fill(3, 1000)
    frames = case.hour.frames()
    (case.hour.path / frames[1].name).unlink()
    with pytest.raises(AssertionError, match=f"{frames[1].name} is lost"):
        case.check("one deleted")


@pytest.mark.soak
@pytest.mark.skipif(CHOSEN is not None, reason="one seed was asked for")
def test_it_was_enough() -> None:
    """Runs after the seeds, in the same process."""
    faults = sum(done[kind] for kind in KINDS)
    print(f"{done['kill']} kills, {faults} faults:", ", ".join(f"{done[kind]} {kind}" for kind in KINDS))
    assert done["kill"] >= KILLS
    assert faults >= FAULTS
    assert all(done[kind] for kind in KINDS)
