"""Splits: no near-duplicates across them, nothing that was assigned ever moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.learning import split
from yolo_assets.learning.split import NEAR_BITS, SHARES, WINDOW_SECONDS, HashedImage, assign, dhash

START = datetime(2026, 3, 1, tzinfo=UTC)


def bits(pattern: int) -> str:
    """Eight hashes that are 32 bits apart, and those near them: ``pattern`` is base * 16 + bits set."""
    base, near = divmod(pattern, 16)
    value = int("f" * 8, 16) << (32 * base)
    for bit in range(near):
        value ^= 1 << ((bit * 37 + 5) % 256)
    return f"{value:064x}"


frames = st.builds(
    lambda number, camera, second, pattern: HashedImage(
        f"{number:06d}", camera, None if second is None else START + timedelta(seconds=second), bits(pattern)
    ),
    st.integers(0, 999_999),
    st.sampled_from(["cam1", "cam2", ""]),
    st.none() | st.integers(0, 2000),
    st.integers(0, 127),
)
sets = st.lists(frames, min_size=1, max_size=40, unique_by=lambda f: f.key)


def near(a: HashedImage, b: HashedImage) -> bool:
    if a.camera != b.camera:
        return False
    if (int(a.dhash, 16) ^ int(b.dhash, 16)).bit_count() <= NEAR_BITS:
        return True
    if a.captured_at is None or b.captured_at is None:
        return False
    return a.captured_at.timestamp() // WINDOW_SECONDS == b.captured_at.timestamp() // WINDOW_SECONDS


@settings(max_examples=150, deadline=None)
@given(sets)
def test_near_duplicates_share_a_split_and_a_group(images):
    result = assign(images)
    assert set(result.assigned) == {f.key for f in images}
    assert not result.excluded
    for a in images:
        for b in images:
            if near(a, b):
                assert result.assigned[a.key] == result.assigned[b.key]
    by_group = {}
    for assignment in result.assigned.values():
        assert by_group.setdefault(assignment.group, assignment.split) == assignment.split


@settings(max_examples=150, deadline=None)
@given(sets, st.data())
def test_a_later_version_moves_nothing_and_separates_no_near_duplicates(images, data):
    old = data.draw(st.lists(st.sampled_from(images), unique_by=lambda f: f.key))
    before = assign(old).assigned
    after = assign(images, before)
    assert all(after.assigned[key] == assignment for key, assignment in before.items())
    assert set(after.assigned) | set(after.excluded) == {f.key for f in images}
    assert not set(after.assigned) & set(after.excluded)
    new = [f for f in images if f.key not in before]
    for a in new:
        for b in images:
            if near(a, b) and a.key in after.assigned and b.key in after.assigned:
                assert after.assigned[a.key].split == after.assigned[b.key].split


@settings(max_examples=40, deadline=None)
@given(sets, st.randoms())
def test_order_does_not_matter(images, random):
    shuffled = list(images)
    random.shuffle(shuffled)
    assert assign(images) == assign(shuffled)


def test_shares_are_met_when_groups_are_small():
    images = [
        HashedImage(f"{i:04d}", "cam1", START + timedelta(minutes=i), f"{i * 0x9E3779B97F4A7C15F39C % 2**256:064x}")
        for i in range(200)
    ]
    found = [a.split for a in assign(images, near_bits=-1).assigned.values()]
    for name, share in SHARES.items():
        assert abs(found.count(name) / 200 - share) <= 0.01


def test_a_bridge_between_two_splits_goes_nowhere():
    ends = [HashedImage("a", "cam1", START, bits(0)), HashedImage("b", "cam1", START + timedelta(hours=1), bits(16))]
    before = assign(ends, shares={"train": 1, "val": 0, "test": 1}).assigned
    assert {a.split for a in before.values()} == {"train", "test"}
    bridge = HashedImage("c", "cam1", START + timedelta(seconds=3), bits(16))  # the time of a, the picture of b
    result = assign([*ends, bridge], before)
    assert result.excluded == {"c": "near-duplicate of frames in test and train"}


def test_pairs_are_compared_in_blocks_of_bounded_size(monkeypatch):
    images = [
        HashedImage(f"{i:04d}", "cam1", START + timedelta(seconds=4 * i), f"{i * 0x9E3779B97F4A7C15F39C % 2**256:064x}")
        for i in range(100)
    ]
    whole = assign(images, near_bits=-1)
    monkeypatch.setattr(split, "_COMPARED_AT_ONCE", 150)
    assert assign(images, near_bits=-1) == whole
    assert len({assignment.group for assignment in whole.assigned.values()}) == 40


def test_the_hash_withstands_noise_and_sees_movement():
    rng = np.random.default_rng(0)
    view = cv2.resize(rng.integers(60, 200, (12, 16, 3), dtype=np.uint8), (320, 256), interpolation=cv2.INTER_CUBIC)

    def distance(a, b) -> int:
        return (int(dhash(a), 16) ^ int(dhash(b), 16)).bit_count()

    noisy = np.clip(view + rng.normal(0, 3, view.shape), 0, 255).astype(np.uint8)
    packed = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    moved = np.roll(view, 40, axis=1)
    assert distance(view, packed) <= NEAR_BITS
    assert distance(view, moved) > 3 * NEAR_BITS
    assert dhash(np.zeros((64, 64, 3), np.uint8)) == "0" * 64
