"""What a signed pointer means, depending on what the device remembers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ChannelPointer, ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.decision import decide
from yolo_assets.edge.rollout.state import EdgeState, Pin, PrimaryState, StateFile


def sha(version: str) -> str:
    return version.rjust(64, "0")


def ref(version: str, release: int | None = None) -> ReleasedModel:
    return ReleasedModel(name="line", version=version, manifest_sha256=sha(version), release=release)


def pointer(version: str, release: int) -> ChannelPointer:
    return ChannelPointer(
        name="line",
        channel="stable",
        version=version,
        manifest_sha256=sha(version),
        release=release,
        moved_at=utc_now(),
        moved_by="Ana",
        reason="better",
    )


def state(model: ReleasedModel | None = None, release: int = 0) -> EdgeState:
    sha256 = model.manifest_sha256 if model else None
    return EdgeState(primary=PrimaryState(model=model, release=release, manifest_sha256=sha256))


PIN = Pin(version="1", left_release=5, by="Bo", at=utc_now())
SERVES_2 = state(ref("2", 5), 5)


@pytest.mark.parametrize(
    ("known", "serving", "seen", "action"),
    [
        (state(), None, pointer("1", 1), "stage"),
        (SERVES_2, ref("2"), pointer("2", 5), "ignore"),
        (SERVES_2, ref("2"), pointer("3", 6), "stage"),
        (SERVES_2, ref("2"), pointer("2", 6), "adopt"),
        (SERVES_2, ref("2"), pointer("1", 6), "stage"),  # the channel was rolled back: a new release of an old version
        (SERVES_2, ref("2"), pointer("1", 4), "refuse"),  # replayed
        (SERVES_2, ref("2"), pointer("1", 5), "refuse"),  # the same number twice
        (SERVES_2.changed(pinned=PIN), ref("1"), pointer("2", 5), "ignore"),
        (SERVES_2.changed(pinned=PIN), ref("1"), pointer("3", 6), "stage"),
        (SERVES_2, ref("1"), pointer("2", 5), "stage"),  # unpinned after a rollback
        (SERVES_2.with_quarantined(ref("3", 6), "NaN"), ref("2"), pointer("3", 6), "ignore"),
        (SERVES_2.with_quarantined(ref("3", 6), "NaN"), ref("2"), pointer("3", 7), "stage"),  # promoted again
    ],
)
def test_decisions(known: EdgeState, serving: ReleasedModel | None, seen: ChannelPointer, action: str) -> None:
    assert decide(known, "primary", serving, seen).action == action


@given(last=st.integers(1, 50), release=st.integers(1, 50), version=st.sampled_from("123"))
def test_no_number_below_the_last_is_ever_acted_on(last: int, release: int, version: str) -> None:
    known = state(ref("1", last), last)
    decision = decide(known, "primary", ref("1"), pointer(version, release))
    if release < last:
        assert decision.action == "refuse" and "replayed" in decision.reason
    elif release > last:
        assert decision.action == ("adopt" if version == "1" else "stage")


def test_state_survives_and_a_damaged_file_is_not_overwritten(tmp_path: Any) -> None:
    path = tmp_path / "state.json"
    StateFile(path).update(lambda s: s.with_primary(release=7).changed(pinned=PIN))
    assert StateFile(path).value.primary.release == 7 and StateFile(path).value.pinned == PIN
    path.write_bytes(b"{")
    with pytest.raises(BadInputError, match=r"state\.json"):
        StateFile(path)
    assert path.read_bytes() == b"{"
