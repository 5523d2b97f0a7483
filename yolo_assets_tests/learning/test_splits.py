"""Splits: no object in two of them by the simulator's truth, every split filled, nothing ever moves."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import cv2
import dagster as dg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.defs.learning.checks import no_leak_between_splits
from yolo_assets.learning.records import DatasetItem, DatasetManifest, LabelBox, Split
from yolo_assets.learning.series import SplitFrame, in_series, name_objects
from yolo_assets.learning.split import NEAR_BITS, SHARES, SplitResult, assign, dhash
from yolo_assets.simulator.part_line import PartLine

START = datetime(2026, 3, 1, tzinfo=UTC)
FIXED = PartLine("fixed", 400, per_second=0.8, width=160, height=120)


def key(number: int) -> str:
    return hashlib.sha256(f"{number}".encode()).hexdigest()


@cache
def labelled(line: PartLine, fps: float, count: int, name: str = "") -> list[SplitFrame]:
    """Frames of a line with their true labels; with a ``name`` they have no time and camera, but are numbered."""
    drawn = [line.draw(number / fps) if name or line.kind == "fixed" else None for number in range(count)]
    truth = [line.truth(number / fps)[0].tolist() for number in range(count)]
    return [
        SplitFrame(
            key=key(number),
            camera="" if name else "cam1",
            captured_at=None if name else START + timedelta(seconds=number / fps),
            dhash=dhash(np.asarray(cv2.cvtColor(one.image, cv2.COLOR_BGR2GRAY), np.uint8)) if one else key(number),
            path=name.format(number, key(number)) if name else "",
            boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in truth[number]),
        )
        for number, one in enumerate(drawn)
    ]


def leaks(line: PartLine, fps: float, frames: Sequence[SplitFrame], result: SplitResult) -> int:
    """True parts that are in more than one split."""
    splits: dict[int, set[str]] = {}
    for number, frame in enumerate(frames):
        if frame.key in result.assigned:
            for part in line.truth(number / fps)[1].tolist():
                splits.setdefault(part, set()).add(result.assigned[frame.key].split)
    return sum(len(found) > 1 for found in splits.values())


@pytest.mark.parametrize(
    ("line", "fps", "count", "name", "left_out"),
    [
        (PartLine("fixed", 400, per_second=0.8), 1, 400, "", 0.15),
        (PartLine("moving", 400), 1, 400, "", 0.15),
        (PartLine("moving", 100), 5, 500, "", 0.25),
        (PartLine("moving", 60), 25, 1500, "", 0.4),
        (PartLine("fixed", 400, per_second=0.8), 1, 400, "export/frame_{0:06d}.jpg", 0.15),
        (PartLine("moving", 100), 5, 500, "line_{0:04d}_jpg.rf.{1:.8}.jpg", 0.25),
        (PartLine("fixed", 400, per_second=4, stays=0.2), 1, 400, "{1:.32}.jpg", 0.0),
    ],
    ids=[
        "fixed",
        "moving-1fps",
        "moving-5fps",
        "moving-25fps",
        "import-fixed",
        "import-moving",
        "import-without-order",
    ],
)
def test_no_part_is_in_two_splits_and_every_split_is_filled(line, fps, count, name, left_out):
    frames = labelled(line, fps, count, name)
    result = assign(frames)
    assert leaks(line, fps, frames, result) == 0
    shares = Counter(assignment.split for assignment in result.assigned.values())
    assert min(shares[split] for split in SHARES) >= 0.03 * count
    assert shares["train"] == max(shares.values())
    assert len(result.excluded) <= left_out * count
    assert set(result.assigned) | set(result.excluded) == {frame.key for frame in frames}
    assert assign(frames, result.assigned) == result, "building again changes nothing"


def plain(second: float | None, number: int, *, lot: str | None = None, objects: tuple[str, ...] = ()) -> SplitFrame:
    """A frame whose picture is like no other, with one box a name of an object, far from each other."""
    moment = None if second is None else START + timedelta(seconds=second)
    boxes = tuple(
        (100.0 * n, 900.0 * (number % 9), 100.0 * n + 9, 900.0 * (number % 9) + 9) for n in range(len(objects))
    )
    return SplitFrame(key(number), "cam1", moment, key(number), "", boxes, objects, lot)


def test_an_object_that_the_tables_know_ties_frames_that_are_far_apart():
    frames = [plain(60.0 * number, number, objects=(f"part{number // 4}",)) for number in range(400)]
    result = assign(frames)
    by_part = {}
    for number, frame in enumerate(frames):
        by_part.setdefault(number // 4, set()).add(result.assigned[frame.key].split)
    assert all(len(splits) == 1 for splits in by_part.values())


def test_a_chain_of_objects_does_not_tie_a_day_together():
    frames = [plain(60.0 * n, n, objects=(f"part{n}", f"part{n + 1}")) for n in range(600)]
    result = assign(frames)
    assert set(Counter(a.split for a in result.assigned.values())) == set(SHARES)
    assert 0 < len(result.excluded) <= 30
    assert all("shows objects of frames in" in reason for reason in result.excluded.values())


def test_frames_of_a_lot_stay_together_while_there_are_many_lots():
    frames = [plain(30.0 * n, n, lot=f"lot{n // 10}") for n in range(600)]
    result = assign(frames)
    lots = {}
    for number, frame in enumerate(frames):
        lots.setdefault(number // 10, set()).add(result.assigned[frame.key].split)
    assert not result.excluded and all(len(splits) == 1 for splits in lots.values())


def test_the_next_days_frames_of_a_fixed_scene_fill_what_is_empty():
    line = PartLine("fixed", 400, per_second=0.8)
    frames = labelled(line, 1, 300)
    before = {
        frame.key: assignment for frame in frames[:150] for assignment in [assign(frames[:1]).assigned[frames[0].key]]
    }
    result = assign(frames, before)
    assert all(result.assigned[frame_key] == assignment for frame_key, assignment in before.items())
    assert set(Counter(a.split for a in result.assigned.values())) == set(SHARES)
    assert leaks(line, 1, frames, result) == 0


def test_a_golden_frame_and_what_shows_its_object_are_never_trained_on():
    frames = [plain(300.0 * n, n, objects=(f"part{n // 2}",)) for n in range(200)]
    frames[10] = SplitFrame(**{**frames[10].__dict__, "golden": True})
    result = assign(frames)
    assert result.assigned[frames[10].key].split == result.assigned[frames[11].key].split == "test"


splits_of = st.builds(
    lambda number, second, lot, part: plain(second, number, lot=lot, objects=(f"part{part}",)),
    st.integers(0, 999_999),
    st.integers(0, 4000),
    st.sampled_from([None, "lot1", "lot2"]),
    st.integers(0, 60),
)
sets = st.lists(splits_of, min_size=1, max_size=60, unique_by=lambda f: f.key)


@settings(max_examples=60, deadline=None)
@given(sets, st.data())
def test_a_later_version_moves_nothing_and_separates_no_object(images, data):
    old = data.draw(st.lists(st.sampled_from(images), unique_by=lambda f: f.key))
    before = assign(old).assigned
    after = assign(images, before)
    assert all(after.assigned[frame_key] == assignment for frame_key, assignment in before.items())
    assert set(after.assigned) | set(after.excluded) == {f.key for f in images}
    assert not set(after.assigned) & set(after.excluded)
    for part in {name for frame in images for name in frame.object_ids}:
        moments = [f.captured_at for f in images if part in f.object_ids and f.captured_at]
        new = [f.key for f in images if part in f.object_ids and f.key not in before and f.key in after.assigned]
        if max(moments) - min(moments) < timedelta(hours=1):  # else it is a part of the scene
            assert len({after.assigned[frame_key].split for frame_key in new}) <= 1


@settings(max_examples=30, deadline=None)
@given(sets, st.randoms())
def test_order_does_not_matter(images, random):
    shuffled = list(images)
    random.shuffle(shuffled)
    assert assign(images) == assign(shuffled)


def test_shares_are_met_when_groups_are_small():
    found = [a.split for a in assign([plain(60.0 * n, n) for n in range(200)]).assigned.values()]
    for name, share in SHARES.items():
        assert abs(found.count(name) / 200 - share) <= 0.01


def test_numbers_in_names_give_an_order_and_hashes_do_not():
    names = [
        *(f"a/frame_{n:03d}.jpg" for n in range(6)),
        *(f"{key(n)}.jpg" for n in range(6)),
        "20260301_000005_000.jpg",
    ]
    frames = [SplitFrame(key(n), "", None, key(n), name) for n, name in enumerate(names)]
    series, loose = in_series(frames)
    assert [(one.name, len(one.frames)) for one in series] == [("", 1), ("frame_*", 6)]
    assert len(loose) == 6 and series[0].at.tolist() == [(START + timedelta(seconds=5)).timestamp()]


def test_boxes_are_named_by_the_tables_and_by_their_links():
    boxes = ((10.0, 10.0, 50.0, 50.0),)
    frames = [
        SplitFrame(key(n), "cam1", START + timedelta(seconds=n), key(n), "", boxes, ("cam1/x/7",) if n == 1 else ())
        for n in range(3)
    ] + [SplitFrame(key(9), "cam1", START + timedelta(hours=1), key(9), "", boxes)]
    names = name_objects(*in_series(frames))
    assert [names[frame.key] for frame in frames[:3]] == [("cam1/x/7",)] * 3
    assert names[frames[3].key] == (f"{key(9)[:16]}:0",)


def test_the_hash_withstands_noise_and_sees_movement():
    rng = np.random.default_rng(0)
    view = cv2.resize(rng.integers(60, 200, (12, 16), dtype=np.uint8), (320, 256), interpolation=cv2.INTER_CUBIC)

    def distance(a, b) -> int:
        return (int(dhash(a), 16) ^ int(dhash(b), 16)).bit_count()

    noisy = np.clip(view + rng.normal(0, 3, view.shape), 0, 255).astype(np.uint8)
    packed = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
    moved = np.roll(view, 40, axis=1)
    assert distance(view, packed) <= NEAR_BITS
    assert distance(view, moved) > 3 * NEAR_BITS
    assert dhash(np.zeros((64, 64), np.uint8)) == "0" * 64


@pytest.mark.parametrize(("height", "width"), [(256, 320), (1080, 1920), (97, 61), (16, 17)])
def test_the_hash_is_that_of_the_means_of_areas(height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    view = cv2.resize(rng.integers(60, 200, (12, 16), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(view + rng.normal(0, 3, view.shape), 0, 255).astype(np.uint8)
    small = cv2.resize(picture.astype(np.float32), (17, 16), interpolation=cv2.INTER_AREA)
    bits = np.diff(small, axis=1) > max(0.03 * float(small.std()), 0.5)
    apart = (int(dhash(picture), 16) ^ int(np.packbits(bits).tobytes().hex(), 16)).bit_count()
    assert apart <= 3


def items_of(frames: Sequence[SplitFrame], splits: Sequence[Split]) -> tuple[DatasetItem, ...]:
    return tuple(
        DatasetItem(
            image_path=f"cam1/20260301_00/{frame.key}.jpg",
            sha256=frame.key,
            split=split,
            group=frame.key,
            width=320,
            height=240,
            boxes=tuple(LabelBox.model_validate({"bbox": box, "class": "part"}) for box in frame.boxes),
            camera_id=frame.camera,
            captured_at=frame.captured_at,
            dhash=frame.dhash,
        )
        for frame, split in zip(frames, splits, strict=True)
    )


def test_the_leak_check_sees_leaks_that_no_group_shows():
    frames = labelled(PartLine("moving", 100), 5, 500)
    windows: list[Split] = ["test" if number // 50 % 2 else "train" for number in range(500)]
    before = DatasetManifest(class_names=("part",), items=items_of(frames[:200], windows[:200]))
    manifest = DatasetManifest(class_names=("part",), items=items_of(frames, windows))
    found = no_leak_between_splits(manifest, before)
    assert not found.passed and found.severity is dg.AssetCheckSeverity.ERROR
    assert "show the same object" in str(found.metadata["leaks"].value)
    only_old = no_leak_between_splits(before, before)
    assert not only_old.passed and only_old.severity is dg.AssetCheckSeverity.WARN
    result = assign(frames)
    kept = [frame for frame in frames if frame.key in result.assigned]
    good = items_of(kept, [result.assigned[frame.key].split for frame in kept])
    assert no_leak_between_splits(DatasetManifest(class_names=("part",), items=good), None).passed
    moved = good[0].model_copy(update={"split": "val" if good[0].split == "train" else "train"})
    told = no_leak_between_splits(
        DatasetManifest(class_names=("part",), items=good), DatasetManifest(class_names=("part",), items=(moved,))
    )
    assert not told.passed and told.severity is dg.AssetCheckSeverity.ERROR
