"""From the figures of hours to what is found of each camera: nothing is remembered that the figures do not tell.

The figures since the reference, what people noted and ``plant.yaml`` give the same answer at any time, after any crash
and in any order of building hours. Does not belong here: figures (``figures``), the tests (``drift``, ``health``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from yolo_assets.contracts.camera_states import (
    CameraState,
    CameraStates,
    FaultKind,
    HealthNote,
    ModelDrift,
    StandingFault,
)
from yolo_assets.contracts.shifts import ShiftPlan
from yolo_assets.contracts.times import HOUR, Hour
from yolo_assets.monitoring.drift import ASPECTS, DriftTimeline, ModelReports, MonitoringPolicy, judge_drift
from yolo_assets.monitoring.figures import CameraBeginnings, FiguresReader
from yolo_assets.monitoring.health import KINDS, HealthTimeline, PictureFigures, judge_health
from yolo_assets.monitoring.seasons import Slots, slots_of

WINDOW = 35 * 24
"""Hours back in which a change may have begun."""
_LISTED_FOR = timedelta(days=1)
"""A camera that ``plant.yaml`` does not list is judged for so long after its last frame, where it lists others."""


@dataclass(frozen=True)
class PlantHistory:
    """What is known of a plant, to judge one hour by.

    Attributes:
        beginnings: of its cameras and model versions.
        notes: what people said, in the order of time.
        plan: shifts and stops.
        expected: cameras of ``plant.yaml``; without, all that were ever seen and not taken away.
    """

    beginnings: CameraBeginnings
    notes: Sequence[HealthNote] = ()
    plan: ShiftPlan | None = None
    expected: Collection[str] = ()


def judge_cameras(
    hour: Hour, reader: FiguresReader, history: PlantHistory, policy: MonitoringPolicy | None = None
) -> CameraStates:
    """What is found of every camera after an hour.

    Args:
        hour: whose figures are there.
        reader: of figures.
        history: of the plant.
        policy: the defaults without.
    """
    policy = policy or MonitoringPolicy()
    known = history.beginnings
    notes = [note for note in history.notes if note.at < hour.end]
    cameras = [camera for camera in _cameras(history, notes, hour) if known.first.get(camera, hour.end) <= hour.start]
    never = sorted(set(history.expected) - set(cameras) - _retired(notes, known))
    begins = {camera: _begins(known.first[camera], camera, notes) for camera in cameras}
    recent = _hours(hour.next(-WINDOW + 1), WINDOW)
    versions = _versions(reader.read("reports", recent, hour), known, hour, cameras)
    starts = {c: _begins(known.versions.get(c, {}).get(v, known.first[c]), c, notes) for c, v in versions.items()}
    wanted = set(recent)
    for start in {*begins.values(), *starts.values()}:
        wanted |= set(_hours(Hour.of(start), policy.reference_hours))
    axis = sorted(each for each in wanted if each <= hour)
    slots = slots_of([each.start for each in axis], history.plan)
    states = [_never(camera, hour) for camera in never]
    if cameras:
        table = _Table(cameras, axis)
        works = _works(table, history, notes)
        lit = np.array([history.plan is None or history.plan.lit_at(each.start) for each in axis])
        pictures = table.pictures(reader.read("pictures", axis, hour))
        health = judge_health(pictures, slots, table.age(begins), works, lit, policy)
        reports = table.reports(reader.read("reports", axis, hour), versions)
        drift = judge_drift(reports, slots, table.age(starts), health.trusted & works, policy)
        for row, camera in enumerate(cameras):
            faults = tuple(_faults(camera, row, table, health, pictures, notes))
            found = pictures.frames[row, -1]
            gap = table.gaps[row]
            last = known.last.get(camera)
            states.append(
                CameraState(
                    camera_id=camera,
                    last_hour=last if last is None or last <= hour.start else _last_frame(pictures, row, table),
                    frames=int(found),
                    longest_gap_s=float(gap) if np.isfinite(gap) else None,
                    faults=faults,
                    drift=_drift(row, versions, starts, table, drift, reports, health, slots, policy),
                )
            )
    return CameraStates(hour=hour.start, cameras=tuple(sorted(states, key=lambda state: state.camera_id)))


def _last_frame(pictures: PictureFigures, row: int, table: _Table) -> datetime | None:
    seen = np.flatnonzero(pictures.frames[row] > 0)
    return table.axis[int(seen[-1])].start if seen.size else None


def _hours(first: Hour, count: int) -> list[Hour]:
    return [first.next(step) for step in range(count)]


def _retired(notes: Iterable[HealthNote], known: CameraBeginnings) -> set[str]:
    """Cameras that were taken away and have sent nothing since."""
    gone = {note.camera_id: note.at for note in notes if note.action == "retire"}
    return {camera for camera, at in gone.items() if camera not in known.last or known.last[camera] <= at}


def _cameras(history: PlantHistory, notes: Iterable[HealthNote], hour: Hour) -> list[str]:
    known = history.beginnings
    seen = set(known.first) - _retired(notes, known)
    if history.expected:
        late = {camera for camera in seen if known.last[camera] > hour.start - _LISTED_FOR}
        seen = (set(history.expected) & set(known.first)) | late
    return sorted(seen - _retired(notes, known))


def _begins(first: datetime, camera: str, notes: Iterable[HealthNote]) -> datetime:
    """Start of the reference: the first hour, or the first whole one after somebody said that it is well now."""
    again = [note.at for note in notes if note.camera_id == camera and note.action == "relearn" and note.at > first]
    return Hour.of(max(again)).next().start if again else first


def _versions(reports: pl.DataFrame, known: CameraBeginnings, hour: Hour, cameras: Sequence[str]) -> dict[str, str]:
    """The model version of each camera's newest hour, by most frames."""
    newest = (
        reports.filter(pl.col("hour") <= hour.start)
        .sort("hour", "frames", "model_version", descending=[True, True, False])
        .unique("camera_id", keep="first", maintain_order=True)
    )
    found = dict(newest.select("camera_id", "model_version").iter_rows())
    return {camera: found[camera] for camera in cameras if camera in found}


def _works(table: _Table, history: PlantHistory, notes: Iterable[HealthNote]) -> NDArray[np.bool_]:
    works = np.ones((len(table.cameras), len(table.axis)), bool)
    for row, camera in enumerate(table.cameras):
        if history.plan is not None and history.plan.stops:
            works[row] = [not history.plan.stopped_at(hour.start, camera) for hour in table.axis]
        first = history.beginnings.first[camera]
        works[row] &= np.array([hour.start >= first for hour in table.axis])
    return works


class _Table:
    """Figures of hours as arrays ``[camera, hour]``."""

    def __init__(self, cameras: Sequence[str], axis: Sequence[Hour]) -> None:
        self.cameras = list(cameras)
        self.axis = list(axis)
        self._row = {camera: row for row, camera in enumerate(cameras)}
        self._column = {hour.start: column for column, hour in enumerate(axis)}
        self.gaps = np.full(len(cameras), np.nan)

    def age(self, begins: dict[str, datetime]) -> NDArray[np.int64]:
        """Hours since each camera's reference began; never reached without one."""
        starts = [begins.get(camera, self.axis[-1].end) for camera in self.cameras]
        return np.array([[(hour.start - start) // HOUR for hour in self.axis] for start in starts], np.int64)

    def _place(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.int64]]:
        rows = rows.filter(pl.col("camera_id").is_in(self.cameras) & pl.col("hour").is_in(list(self._column)))
        return (
            rows,
            np.array([self._row[camera] for camera in rows["camera_id"]], np.int64),
            np.array([self._column[hour] for hour in rows["hour"]], np.int64),
        )

    def _filled(
        self, rows: pl.DataFrame, row: NDArray[np.int64], column: NDArray[np.int64], name: str
    ) -> NDArray[np.float64]:
        found = np.full((len(self.cameras), len(self.axis)), np.nan)
        found[row, column] = rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return found

    def pictures(self, table: pl.DataFrame) -> PictureFigures:
        """Of ``figures.PICTURES``."""
        rows, row, column = self._place(table)
        take = {
            name: self._filled(rows, row, column, name)
            for name in (
                *("frames", "silent_minutes", "blur", "brightness", "objects", "longest_frozen", "frozen_at_end"),
                *("moved", "captured", "dropped", "longest_gap_s"),
            )
        }
        self.gaps = take["longest_gap_s"][:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            dropped = np.where(take["captured"] > 0, take["dropped"] / take["captured"], np.nan)
        return PictureFigures(
            frames=np.nan_to_num(take["frames"]),
            silent_minutes=take["silent_minutes"],
            blur=take["blur"],
            brightness=take["brightness"],
            objects=take["objects"],
            longest_frozen=take["longest_frozen"],
            frozen_at_end=take["frozen_at_end"],
            moved=take["moved"],
            dropped=dropped,
        )

    def reports(self, table: pl.DataFrame, versions: dict[str, str]) -> ModelReports:
        """Of ``figures.REPORTS``, the rows of one model version per camera."""
        chosen = pl.DataFrame(
            {"camera_id": list(versions), "model_version": list(versions.values())},
            schema={"camera_id": pl.String, "model_version": pl.String},
        )
        rows, row, column = self._place(table.join(chosen, on=["camera_id", "model_version"], how="semi"))
        exposure = np.nan_to_num(self._filled(rows, row, column, "exposure"))
        listed = (
            rows.with_columns(pl.Series("row", row, pl.Int64), pl.Series("column", column, pl.Int64))
            .select("row", "column", "classes")
            .explode("classes")
            .drop_nulls("classes")
            .unnest("classes")
        )
        names = tuple(sorted(listed["class"].unique())) or ("",)
        place = {name: number for number, name in enumerate(names)}
        index = (
            listed["row"].to_numpy(),
            listed["column"].to_numpy(),
            np.array([place[n] for n in listed["class"]], np.int64),
        )
        shape = (len(self.cameras), len(self.axis), len(names))
        counts, sums, squares = (np.zeros(shape) for _ in range(3))
        counts[index] = listed["objects"].to_numpy()
        sums[index] = listed["confidence"].to_numpy()
        squares[index] = listed["squares"].to_numpy()
        there = np.zeros(shape[:2], bool)
        there[row, column] = True
        objects = np.where(there, counts.sum(-1), np.nan)
        return ModelReports(objects, exposure, counts, sums, squares, names)


def _since(standing: NDArray[np.bool_]) -> int:
    """Number of the hour in which what stands in the last one began to stand."""
    off = np.flatnonzero(~standing)
    return int(off[-1]) + 1 if off.size else 0


def _never(camera: str, hour: Hour) -> CameraState:
    sentence = f"{camera} never gave a frame. Check its power, cable and stream address, or its name in plant.yaml."
    return CameraState(camera_id=camera, faults=(StandingFault(kind="silent", sentence=sentence, since=hour.start),))


def _faults(
    camera: str,
    row: int,
    table: _Table,
    health: HealthTimeline,
    pictures: PictureFigures,
    notes: Sequence[HealthNote],
) -> Iterable[StandingFault]:
    for kind in KINDS:
        stands = health.standing[kind][row]
        if not stands[-1]:
            continue
        since = table.axis[_since(stands)]
        known = [
            note.by
            for note in notes
            if note.camera_id == camera
            and note.action == "acknowledge"
            and note.at >= since.start
            and (not note.kinds or kind in note.kinds)
        ]
        yield StandingFault(
            kind=kind,
            sentence=f"{camera} {_said(kind, row, since, health, pictures)}",
            since=since.start,
            acknowledged_by=known[-1] if known else None,
        )


def _said(kind: FaultKind, row: int, since: Hour, health: HealthTimeline, pictures: PictureFigures) -> str:
    """What is wrong, and what to look at."""

    def newest(values: NDArray[np.float64]) -> float:
        known = values[row][np.isfinite(values[row])]
        return float(known[-1]) if known.size else 0.0

    begun = f"since {since.date} {since.hh}:00"
    match kind:
        case "silent":
            seen = np.flatnonzero(pictures.frames[row] > 0)
            if not seen.size or pictures.frames[row, -1] == 0:
                return f"gives no frame {begun}. Check its power, cable and stream."
            minutes = pictures.silent_minutes[row, -1]
            return f"gave no frame in the last {minutes:.0f} minutes of the hour. Check its power, cable and stream."
        case "frozen":
            frames = int(newest(pictures.longest_frozen))
            now = "and still does" if newest(pictures.frozen_at_end) >= frames else "and runs again"
            return f"sent the same picture {frames} times in a row {now}. Restart the camera if it stays so."
        case "blurred":
            before, now = newest(health.usual_blur), newest(pictures.blur)
            return f"is blurred {begun}: sharpness {before:.0f} became {now:.0f}. Clean the lens, then check the focus."
        case "darker" | "brighter":
            before, now = newest(health.usual_brightness), newest(pictures.brightness)
            check = "Check the lamp and the exposure." if now >= 25 else "The lamp is off: is it meant to be?"
            return f"is {kind} {begun}: grey level {before:.0f} became {now:.0f}. {check}"
        case "moved":
            part = 100 * newest(pictures.moved)
            return f"looks elsewhere {begun}: the scene lies {part:.0f} % of the picture away. Check its mount."
        case "dropping":
            share, usual = 100 * newest(pictures.dropped), 100 * float(np.nan_to_num(health.usual_dropped[row]))
            return f"loses {share:.0f} % of its frames {begun}, usually {usual:.0f} %. See the reasons in .sealed."


def _drift(
    row: int,
    versions: dict[str, str],
    starts: dict[str, datetime],
    table: _Table,
    drift: DriftTimeline,
    reports: ModelReports,
    health: HealthTimeline,
    slots: Slots,
    policy: MonitoringPolicy,
) -> ModelDrift | None:
    version = versions.get(table.cameras[row])
    if version is None:
        return None
    begins = starts[table.cameras[row]]
    usual, objects = drift.reference.expected[row, -1], reports.objects[row, -1]
    figures = {
        "model_version": version,
        "usual_objects": float(usual) if np.isfinite(usual) else None,
        "objects": float(objects) if np.isfinite(objects) else None,
    }
    stands = drift.drifted[row]
    if not health.trusted[row, -1] or health.standing["silent"][row, -1]:
        said = [kind for kind in KINDS if health.standing[kind][row, -1]]
        why = ", ".join(said) if said else "its picture changed; the next hours tell what it is"
        return ModelDrift(
            verdict="sick camera", reason=f"not judged: {why}. It needs maintenance, no training.", **figures
        )
    if not stands[-1]:
        if drift.learning[row, -1] and np.isfinite(objects):
            known = int(drift.reference.hours[row].sum())
            age = (table.axis[-1].start - begins) // HOUR
            lacks = slots.names[slots.of_hour[-1]]
            reason = (
                f"{known} of {policy.learning_hours} hours since the release are known"
                if age < policy.learning_hours
                else f"the days after the release did not show {lacks}"
            )
            return ModelDrift(verdict="learning", reason=reason, **figures)
        return ModelDrift(verdict="stable", reason="as in the days after the release", **figures)
    since = _since(stands)
    window = slice(max(since - 1, len(table.axis) - 24, 0), None)
    reasons, sizes = _moved(row, window, drift, reports)
    if drift.empty[row, -1]:
        begun = f"{table.axis[since].date} {table.axis[since].hh}:00"
        reason = (
            f"nothing is seen since {begun} where {usual:.0f} objects an hour are usual. If the line stands, nothing "
            "is wrong (planned stops belong into plant.yaml); else look at the camera."
        )
        return ModelDrift(verdict="empty belt", reason=reason, since=table.axis[since].start, size=1.0, **figures)
    return ModelDrift(
        verdict="drifted",
        reason="; ".join(reasons),
        since=table.axis[since].start,
        size=min(max(sizes, default=0.0), 1.0),
        **figures,
    )


def _moved(row: int, window: slice, drift: DriftTimeline, reports: ModelReports) -> tuple[list[str], list[float]]:
    """What moved, in words, and how far, 0 to 1."""
    reference = drift.reference
    there = np.isfinite(reports.objects[row, window]) & np.isfinite(reference.expected[row, window])
    hours = max(int(there.sum()), 1)
    counts = reports.classes[row, window][there]
    reasons: list[str] = []
    sizes: list[float] = []
    for aspect in ASPECTS:
        if not drift.standing[aspect][row, -1]:
            continue
        if aspect == "rate":
            before = float(reference.expected[row, window][there].sum()) / hours
            now = float(reports.objects[row, window][there].sum()) / hours
            reasons.append(f"{before:.1f} objects an hour became {now:.1f}")
            sizes.append(1 - min(before, now) / max(before, now, 1e-9))
        elif aspect == "mix":
            total = max(counts.sum(), 1.0)
            before = (reference.shares[row, window][there] * counts.sum(-1, keepdims=True)).sum(0) / total
            now = counts.sum(0) / total
            most = int(np.argmax(np.abs(np.log((now + 0.01) / (before + 0.01)))))
            name, old, new = reports.class_names[most], 100 * before[most], 100 * now[most]
            reasons.append(
                f"the class {name}: {old:.0f} % of the objects became {new:.0f} %"
                if counts[:, most].any()
                else f"the class {name} is gone: usually {old:.0f} % of the objects"
            )
            sizes.append(float(np.abs(now - before).sum()) / 2)
        else:
            number = counts.sum(0)
            known = max(number.sum(), 1.0)
            before = float((number * reference.centre[row]).sum() / known)
            now = float(reports.confidence[row, window][there].sum() / known)
            reasons.append(f"mean confidence {before:.2f} became {now:.2f}: the line looks different to the model")
            sizes.append(min(abs(now - before) / 0.3, 1.0))
    return reasons, sizes
