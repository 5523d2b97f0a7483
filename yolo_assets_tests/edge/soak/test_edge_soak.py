"""Endurance: an agent under everything that goes wrong on a device, and every frame accounted for at the end.

A real agent with simulated cameras, a folder and a video on a small real disk, and a real archiver on the same spool.
Cameras die and return, the store goes away, the disk is filled by another program, models change, the archiver stops,
the agent is killed and started again. At the end, spool and archive together must hold each frame once, or say why not.

``YOLO_ASSETS_SEED=17`` plays the events of seed 17 again, with the same pauses; ``YOLO_ASSETS_SOAK_SECONDS`` sets how
long the long form runs. What a process did by the moment of an event stays the machine's choice.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets.spool.frame_journal import FrameJournal
from yolo_assets_tests.edge.plant import Plant
from yolo_assets_tests.edge.soak.books import explain, read_books
from yolo_assets_tests.edge.soak.world import SIMULATED, SoakWorld
from yolo_assets_tests.support.small_disk import small_disk as mounted_disk

SECONDS = float(os.environ.get("YOLO_ASSETS_SOAK_SECONDS", "1200"))
SEED = int(os.environ.get("YOLO_ASSETS_SEED") or random.SystemRandom().randrange(1 << 30))
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, bool]]:
    """A real small disk, and True; where mounting is not allowed a folder, and False."""
    with mounted_disk(disk := tmp_path / "disk", f"{request.param}m", lazy=True) as refused:
        yield disk, refused is None


@pytest.mark.parametrize(
    ("small_disk", "seconds", "fps"),
    [
        pytest.param(16, 120, 8, id="short", marks=pytest.mark.timeout(600)),
        pytest.param(64, SECONDS, 12, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
    indirect=["small_disk"],
)
def test_every_frame_is_accounted_for(
    plant: Plant, small_disk: tuple[Path, bool], seconds: float, fps: float, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, small = small_disk
    with capsys.disabled():
        print(f"\nsoak of {seconds:.0f} s; play it again with YOLO_ASSETS_SEED={SEED}")
    world = SoakWorld(plant, disk, SEED, fps=fps, small_disk=small)
    try:
        world.agent.wait_for(lambda s: s["ready"], 60)
        play(world, seconds)
        last = world.finish()
    except BaseException as error:
        error.add_note(f"YOLO_ASSETS_SEED={SEED}: " + "; ".join(world.story))
        raise
    finally:
        world.kill()
    check_books(world)
    growth = memory_growth(world)
    with capsys.disabled():
        frames = sum(row["captured"] for row in last["spool"]["lifetime"].values())
        print(f"{frames} frames, {world.lives} lives of the agent, stages {sorted(world.stages)}")
        print(f"{len(world.story)} events; memory of the last life {growth / MIB:+.1f} MiB a minute")
    if small:
        assert "no_images" in world.stages and "normal" in world.stages


def play(world: SoakWorld, seconds: float) -> None:
    """Each event once, in the seed's order, the agent's restarts among the first; then any until the end."""
    events, restarts = list(world.events), list(world.restarts)
    world.chance.shuffle(events)
    order = [event for pair in zip(restarts, events, strict=False) for event in pair] + events[len(restarts) :]
    end = time.monotonic() + seconds
    for event in order:
        world.happen(event)
    while (now := time.monotonic()) < end:  # the last life is long enough to see what it does with memory
        world.happen(world.chance.choice([*events, *restarts] if now < end - 0.6 * seconds else events))


def check_books(world: SoakWorld) -> None:
    """captured = processed + dropped by reason, in frame journal, spool and archive, images included."""
    books = read_books(world.plant.spool, world.archive)
    cameras = [*SIMULATED, "photos", "video"]
    journal = FrameJournal(cameras, world.plant.root / "state" / "frames.tally")
    told = "; ".join(world.story)
    for camera in cameras:
        row, book = journal.totals(camera), books[camera]
        what = f"YOLO_ASSETS_SEED={SEED}, {camera}: {row}, {explain(book)}: {told}"
        assert row.open == 0 and row.processed > 0, what
        assert len(set(book.sequences)) == len(book.sequences) == row.processed, what
        assert max(book.sequences) < row.captured == book.captured, what
        assert not book.saved - book.images, what
        assert not book.broken, what
    journal.close()


def memory_growth(world: SoakWorld) -> float:
    """Bytes a minute by which the last life's memory grew, from the slope by Theil and Sen over its second half."""
    samples = world.memory[len(world.memory) // 2 :]
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(samples[::3]) for b in samples[::3][i + 1 :] if b[0] > a[0]
    ]
    assert slopes, "too few samples of the memory"
    minutes = (samples[-1][0] - samples[0][0]) / 60
    growth = statistics.median(slopes) * 60
    # A thread's first arenas and a codec's buffers come late; what leaks goes on. Short runs cannot tell them apart.
    assert growth * minutes < 24 * MIB, f"the memory grew by {growth / MIB:.1f} MiB a minute"
    if minutes > 5:
        assert growth < 0.5 * MIB, f"the memory grew by {growth / MIB:.2f} MiB a minute"
    return growth
