"""Camera health from the tables: does the camera still give the picture it used to give? Pure.

A camera is compared with itself: its own median in the earlier part of the window. What the figures cannot show (a
lens that was dirty from the first frame on) is not claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.spool import Seal

FaultKind = Literal["silent", "blurred", "brightness", "frozen", "dropping"]


@dataclass(frozen=True)
class HealthPolicy:
    """When a figure becomes a finding.

    Attributes:
        recent: the end of the window, compared with what lies before it.
        min_frames: frames with figures needed on both sides of the comparison.
        blur_ratio: blurred when the recent median sharpness is under this share of the earlier one.
        brightness_shift: grey levels (of 255) between the medians.
        frozen_frames: consecutive frames with exactly equal figures; the noise of a live sensor never repeats.
        dropped_share: dropped of captured frames, by the seals.
        silent_after: without a frame for this long at the end of the window.
    """

    recent: timedelta = timedelta(hours=1)
    min_frames: int = 20
    blur_ratio: float = 0.5
    brightness_shift: float = 40.0
    frozen_frames: int = 10
    dropped_share: float = 0.05
    silent_after: timedelta = timedelta(minutes=15)


@dataclass(frozen=True)
class CameraFault:
    """One thing wrong with one camera, in a sentence that names what to check."""

    camera_id: str
    kind: FaultKind
    sentence: str


@dataclass(frozen=True)
class CameraHealth:
    """One row per camera, and what is wrong.

    Attributes:
        table: ``camera_id, status ('ok' | 'sick' | 'silent'), frames, first_at, last_at, longest_gap_s, blur,
            blur_before, brightness, brightness_before, longest_frozen, captured, dropped, findings (list)``. ``blur``
            and ``brightness`` are medians; null without enough frames.
        findings: by camera and kind.
    """

    table: pl.DataFrame
    findings: tuple[CameraFault, ...]

    @property
    def sick_cameras(self) -> frozenset[str]:
        """Cameras whose picture cannot be trusted: drift there asks for maintenance, not for training."""
        return frozenset(f.camera_id for f in self.findings if f.kind in ("blurred", "brightness", "frozen"))


def camera_health(
    frames: pl.DataFrame,
    *,
    start: datetime,
    end: datetime,
    expected: Collection[str] = (),
    seals: Iterable[Seal] = (),
    policy: HealthPolicy | None = None,
) -> CameraHealth:
    """Evaluate every camera seen or expected in ``[start, end)``.

    Args:
        frames: ``schema.FramesTable``; rows outside the window are ignored.
        start: aware moment.
        end: aware moment, excluded.
        expected: cameras that ought to have frames.
        seals: of the hours in the window; they count what was dropped.
        policy: thresholds; the defaults without.
    """
    if not start < end:
        raise BadInputError(f"the window ends ({end}) before it starts ({start})")
    policy = policy or HealthPolicy()
    inside = frames.filter((pl.col("captured_at") >= start) & (pl.col("captured_at") < end))
    drops: dict[str, list[Seal]] = {}
    for seal in seals:
        drops.setdefault(seal.camera_id, []).append(seal)
    by_camera = {str(key[0]): part for key, part in inside.partition_by("camera_id", as_dict=True).items()}
    rows, findings = [], []
    for camera_id in sorted({*by_camera, *expected, *drops}):
        part = by_camera.get(camera_id, inside.clear())
        row, faults = _evaluate(camera_id, part, drops.get(camera_id, []), end, policy)
        rows.append(row)
        findings += faults
    return CameraHealth(pl.DataFrame(rows, schema=_SCHEMA, orient="row"), tuple(findings))


_MOMENT = pl.Datetime("ms", "UTC")
_SCHEMA = pl.Schema(
    {
        "camera_id": pl.String(),
        "status": pl.String(),
        "frames": pl.Int64(),
        "first_at": _MOMENT,
        "last_at": _MOMENT,
        "longest_gap_s": pl.Float64(),
        "blur": pl.Float64(),
        "blur_before": pl.Float64(),
        "brightness": pl.Float64(),
        "brightness_before": pl.Float64(),
        "longest_frozen": pl.Int64(),
        "captured": pl.Int64(),
        "dropped": pl.Int64(),
        "findings": pl.List(pl.String()),
    }
)


def _evaluate(
    camera_id: str, frames: pl.DataFrame, seals: list[Seal], end: datetime, policy: HealthPolicy
) -> tuple[dict[str, Any], list[CameraFault]]:
    frames = frames.sort("captured_at", "image_path")
    cut = end - policy.recent
    before, recent = frames.filter(pl.col("captured_at") < cut), frames.filter(pl.col("captured_at") >= cut)
    row: dict[str, Any] = {
        "camera_id": camera_id,
        "frames": frames.height,
        "first_at": frames["captured_at"].min(),
        "last_at": frames["captured_at"].max(),
        "longest_gap_s": _longest_gap(frames),
        "blur": _median(recent, "blur", policy.min_frames),
        "blur_before": _median(before, "blur", policy.min_frames),
        "brightness": _median(recent, "brightness", policy.min_frames),
        "brightness_before": _median(before, "brightness", policy.min_frames),
        "longest_frozen": _longest_frozen(frames),
        "captured": sum(seal.captured for seal in seals) if seals else None,
        "dropped": sum(sum(seal.dropped.values()) for seal in seals) if seals else None,
    }
    findings = [CameraFault(camera_id, kind, sentence) for kind, sentence in _faults(row, end, policy)]
    kinds = [finding.kind for finding in findings]
    row["findings"] = [finding.sentence for finding in findings]
    row["status"] = "silent" if "silent" in kinds else "sick" if kinds else "ok"
    return row, findings


def _faults(row: dict[str, Any], end: datetime, policy: HealthPolicy) -> list[tuple[FaultKind, str]]:
    camera, end_of_frames = row["camera_id"], row["last_at"]
    faults: list[tuple[FaultKind, str]] = []
    if end_of_frames is None:
        faults.append(("silent", f"{camera} gave no frame at all; check its power, cable and stream address"))
    elif end - end_of_frames > policy.silent_after:
        minutes = (end - end_of_frames).total_seconds() / 60
        faults.append(("silent", f"{camera} is silent for {minutes:.0f} min; check its power, cable and stream"))
    now, before = row["blur"], row["blur_before"]
    if now is not None and before is not None and now < policy.blur_ratio * before:
        faults.append(
            ("blurred", f"{camera} is blurred: sharpness fell from {before:.1f} to {now:.1f}; clean the lens")
        )
    now, before = row["brightness"], row["brightness_before"]
    if now is not None and before is not None and abs(now - before) > policy.brightness_shift:
        word = "darker" if now < before else "brighter"
        sentence = f"{camera} is {word}: grey level {before:.0f} became {now:.0f}; check lamp and exposure"
        faults.append(("brightness", sentence))
    same, captured = row["longest_frozen"], row["captured"]
    if same >= policy.frozen_frames:
        faults.append(("frozen", f"{camera} sent the same picture {same} times in a row; restart the camera"))
    if captured and row["dropped"] / captured > policy.dropped_share:
        share = 100 * row["dropped"] / captured
        faults.append(("dropping", f"{camera} dropped {share:.0f} % of its frames; see the reasons in .sealed"))
    return faults


def _median(frames: pl.DataFrame, column: str, least: int) -> float | None:
    values = frames[column].drop_nulls()
    if values.len() < least:
        return None
    median = values.median()
    return median if isinstance(median, float) else None


def _longest_gap(frames: pl.DataFrame) -> float | None:
    """Seconds between neighbouring frames at most; None with fewer than two."""
    if frames.height < 2:
        return None
    gap = frames["captured_at"].diff().max()
    return gap.total_seconds() if isinstance(gap, timedelta) else None


def _longest_frozen(frames: pl.DataFrame) -> int:
    """Longest run of frames whose blur and brightness are both known and exactly equal."""
    with_figures = frames.filter(pl.col("blur").is_not_null() & pl.col("brightness").is_not_null())
    if with_figures.is_empty():
        return 0
    runs = with_figures.select(pl.struct("blur", "brightness").rle_id().alias("run")).group_by("run").len()
    longest = runs["len"].max()
    return longest if isinstance(longest, int) else 0
