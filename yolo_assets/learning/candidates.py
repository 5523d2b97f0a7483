"""Which archived frames can be asked for: found by SQL over the tables, never as an object for each frame of a plant.

    detections ─► the least sure objects, frames of each class ─┐
    frames     ─► hours in which a camera's picture is bad,     ├─► a few thousand candidates
                  some frames of every hour at random          ─┘
    archive    ─► which hours are archived; frames that no model has processed

Each file of the tables is read once, some hours at a time, and a few frames of every camera-hour remain. Belongs here:
from tables and archive to candidates. Does not belong here: the choice among them (``sampling``), reading pictures
(``batch``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb
import polars as pl

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.answers import refusal
from yolo_assets.catalog.read import open_tables
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName, frame_time, is_frame
from yolo_assets.contracts.times import HOUR, Hour, hours_between, with_near_hours
from yolo_assets.learning.archived import UNREADABLE
from yolo_assets.learning.sampling import UNSURE, CandidateFrame, scarce
from yolo_assets.storage import ObjectStore
from yolo_assets.tables.drift import Period, drift_report
from yolo_assets.tables.health import HealthPolicy
from yolo_assets.tables.scan import list_hours
from yolo_assets.vision.pictures import check_file_size

REFERENCE = timedelta(days=7)
"""What a camera is compared with, before the time that is sampled."""

POOL = 8_000
"""Candidates for each reason."""

INDEXES = 200
"""Archives that are looked into for frames without a record; those of hours without any record come first."""

_REFERENCE_STEP = 7
"""Every so many hours of the reference are read: 24 hours of a week, one for each hour of the day."""
_FEWEST_HOURS = 3
"""Hours of the reference from which a camera's usual picture is known."""
_AT_ONCE = 1_200
"""Camera-hours that one query reads: bounds its memory."""
_FRAMES_AN_HOUR = 3_600
_DRIFT_FRAMES = 300_000
"""Frames of each side that are compared for drift, spread over all cameras."""
_REPEATED = 0.1
"""A camera is frozen in an hour in which fewer than this share of its pictures differ in sharpness."""

_CameraHour = tuple[str, Hour]
_HOURS = pl.Schema(
    {
        "camera_id": pl.String(),
        "hour": pl.Datetime("us", "UTC"),
        "frames": pl.Int64(),
        "measured": pl.Int64(),
        "different": pl.Int64(),
        "blur": pl.Float64(),
        "brightness": pl.Float64(),
    }
)
_FRAMES = pl.Schema(
    {
        "image_path": pl.String(),
        "camera_id": pl.String(),
        "hour": pl.Datetime("us", "UTC"),
        "captured_at": pl.Datetime("us", "UTC"),
        "drawn": pl.UInt64(),
        "present": pl.Boolean(),
    }
)
_FOUND = pl.Schema(
    {"image_path": pl.String(), "class": pl.String(), "confidence": pl.Float64(), "object_id": pl.String()}
)


@dataclass(frozen=True)
class FramePool:
    """Frames to choose from.

    Attributes:
        candidates: the frames.
        class_counts: detections of each class, in all frames of the time.
        left_out: why a frame, or all frames of an archive, are no candidates, by image path or archive key.
        bad_pictures: why hours of a camera are no candidates: by camera, a sentence with what to do.
        frames: rows of the frames table that were looked at.
        by_object: whether the tables tell the objects; without, frames are kept apart in time.
    """

    candidates: list[CandidateFrame]
    class_counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    bad_pictures: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    by_object: bool = False


def gather_candidates(
    store: ObjectStore,
    archive: Archive,
    start: datetime,
    end: datetime,
    *,
    labelled: Collection[str] = (),
    seed: int = 0,
    pool: int = POOL,
    policy: HealthPolicy | None = None,
) -> FramePool:
    """Archived frames captured in ``[start, end)``: all of a small plant, of a large one some of every camera-hour.

    A camera-hour whose picture is bad (blurred, too dark, too bright, frozen) gives none: a dirty lens is cleaned, not
    labelled. The time of a frame is the record's, else that of its name, else the start of its hour.

    Args:
        store: the store root, for the tables.
        archive: receipts and indexes are read, no frame.
        start: aware.
        end: aware.
        labelled: image paths that are not asked for again, nor any other frame of the objects in them.
        seed: another seed draws others at random.
        pool: candidates for each reason.
        policy: when a picture is bad; the defaults without.

    Raises:
        BadInputError: a table cannot be read; which, and what to do.
    """
    bounds = with_near_hours(start, end)
    tabled = {(camera, hour) for hour, camera, _ in list_hours(store, "frames", *bounds)}
    archived: dict[_CameraHour, list[ArchiveName]] = {}
    # A frame captured just outside the hour of its folder is found as well.
    for hour in hours_between(start - HOUR, end + HOUR):
        for name in archive.names(hour=hour):
            archived.setdefault((name.camera_id, hour), []).append(name)
    found = FramePool([])
    members = _members(archive, archived, tabled, found.left_out)
    scan = _Scan(store, start, end, sorted(labelled), seed)
    scan.read_window(tabled, members, math.ceil(pool / max(len(tabled), 1)))
    reference = scan.read_reference()
    bad, told = _bad_hours(pl.concat(scan.hours), reference, policy or HealthPolicy())
    candidates = scan.candidates({*archived} - bad, members.keys(), pool, scan.drift(told))
    return FramePool(candidates, scan.class_counts, found.left_out, told, scan.frames, scan.by_object)


def drift_scores(report: pl.DataFrame) -> dict[str, float]:
    """How far the output of each drifted camera has moved, 0 to 1; cameras that did not drift are left out.

    Args:
        report: from ``tables.drift.drift_report``.
    """
    scores: dict[str, float] = {}
    for row in report.filter(pl.col("verdict") == "drifted").iter_rows(named=True):
        low, high = sorted((row["rate_before"] or 0.0, row["rate_now"] or 0.0))
        rate = 1 - low / high if high else 0.0
        moved = max(rate, row["class_distance"] or 0.0, row["confidence_distance"] or 0.0)
        scores[row["camera_id"]] = max(moved, scores.get(row["camera_id"], 0.0))
    return scores


def _members(
    archive: Archive,
    archived: dict[_CameraHour, list[ArchiveName]],
    tabled: Collection[_CameraHour],
    left_out: dict[str, str],
) -> dict[_CameraHour, list[str]]:
    """The frames in the archives of some camera-hours: a few hundred, spread, those without a table first."""
    order = sorted(archived, key=lambda one: (one in tabled, one))
    bare = [one for one in order if one not in tabled]
    rest = order[len(bare) :]
    chosen = [*_spread(bare, INDEXES), *_spread(rest, INDEXES - min(len(bare), INDEXES))]
    members: dict[_CameraHour, list[str]] = {}
    for camera, hour in chosen:
        found = members.setdefault((camera, hour), [])
        for name in archived[camera, hour]:
            try:
                rows = archive.part(archive.receipt(name)).index()
            except UNREADABLE as error:
                left_out[name.archive_key] = str(error)
                continue
            for row in rows:
                path = f"{camera}/{hour.key}/{row.name}"
                if not is_frame(row.name):
                    continue
                try:
                    check_file_size(row.size, path)
                except BadInputError as error:
                    left_out[path] = str(error)
                    continue
                found.append(path)
    return members


def _spread(ordered: Sequence[_CameraHour], most: int) -> list[_CameraHour]:
    if len(ordered) <= most:
        return list(ordered)
    return [ordered[number * len(ordered) // most] for number in range(most)]


def _bad_hours(
    hours: pl.DataFrame, reference: pl.DataFrame, policy: HealthPolicy
) -> tuple[set[_CameraHour], dict[str, str]]:
    """Camera-hours whose picture is not what the camera's used to be, and a sentence for each camera."""
    bad: set[_CameraHour] = set()
    told: dict[str, str] = {}
    by_camera = {str(key[0]): part for key, part in hours.sort("hour").partition_by("camera_id", as_dict=True).items()}
    for camera, part in sorted(by_camera.items()):
        before = reference.filter((pl.col("camera_id") == camera) & (pl.col("measured") >= policy.min_frames))
        now = part.filter(pl.col("measured") >= policy.min_frames)
        reasons: list[str] = []
        for row in now.iter_rows(named=True):
            usual = _usual(before, now, row["hour"])
            reason = _bad(row, usual, policy)
            if reason is not None:
                bad.add((camera, Hour(row["hour"])))
                reasons.append(reason)
        if reasons:
            told[camera] = f"{len(reasons)} of {part.height} hours left out; the last: {reasons[-1]}"
    return bad, told


def _usual(before: pl.DataFrame, now: pl.DataFrame, hour: datetime) -> tuple[float, float]:
    """Sharpness and brightness of a camera at this hour of the day: lamps and belts have their times."""
    if before.height < _FEWEST_HOURS:
        # Nothing is known from before: dirt only takes sharpness away, so the sharper hours are the clean ones.
        return _number(now["blur"].quantile(0.75)), _number(now["brightness"].median())
    apart = (before["hour"].dt.hour().cast(pl.Int64) - hour.hour).abs()
    near = before.filter((apart <= 1) | (apart >= 23))
    chosen = near if near.height >= 2 else before
    return _number(chosen["blur"].median()), _number(chosen["brightness"].median())


def _bad(row: dict[str, Any], usual: tuple[float, float], policy: HealthPolicy) -> str | None:
    blur, brightness = usual
    if row["blur"] < policy.blur_ratio * blur:
        return f"blurred, sharpness {row['blur']:.0f} and {blur:.0f} before; clean the lens"
    if abs(row["brightness"] - brightness) > policy.brightness_shift:
        return f"grey level {row['brightness']:.0f} and {brightness:.0f} before; check lamp and exposure"
    if row["different"] < _REPEATED * row["measured"]:
        return "it sent the same picture again and again; restart the camera"
    return None


def _number(value: Any) -> float:
    return float(value) if value is not None else 0.0


class _Scan:
    """One pass over the tables of a time, some camera-hours at once, and what remains of them."""

    def __init__(self, store: ObjectStore, start: datetime, end: datetime, labelled: list[str], seed: int) -> None:
        self.hours = [_HOURS.to_frame()]
        self.class_counts: dict[str, int] = {}
        self.frames = 0
        self.by_object = False
        self._store, self._start, self._end = store, start, end
        self._labelled, self._seed = labelled, seed
        self._rows, self._found = [_FRAMES.to_frame()], [_FOUND.to_frame()]
        self._unrecorded: list[str] = []
        self._taken: set[str] = set()
        self._sides: dict[bool, list[Period]] = {False: [], True: []}

    def read_window(
        self, tabled: Collection[_CameraHour], members: Mapping[_CameraHour, Sequence[str]], an_hour: int
    ) -> None:
        """Read the time that is sampled.

        Args:
            tabled: camera-hours that have a table.
            members: frames in the archives of some camera-hours.
            an_hour: frames of each camera-hour that are kept for each reason.
        """
        every = _every(len(tabled))
        unread = dict(members)
        for first, last in _stretches(tabled):
            with self._tables(first, last) as connection:
                inside = [one for one in unread if first <= one[1].start < last]
                paths = [path for one in inside for path in unread.pop(one)]
                self._read(connection, paths, an_hour)
                self._sides[True].append(_period(connection, self._start, self._end, every))
        self._unrecorded += [path for paths in unread.values() for path in paths]

    def read_reference(self) -> pl.DataFrame:
        """Read some hours before the time that is sampled: what every camera's picture is like, and its detections."""
        first, kept = Hour.nearest(self._start - REFERENCE).start, [_HOURS.to_frame()]
        starts = [first + step * HOUR for step in range(0, REFERENCE // HOUR, _REFERENCE_STEP)]
        for start in starts:
            end = min(start + HOUR, self._start)
            cameras = len(list(list_hours(self._store, "frames", start, end)))
            if cameras:
                with self._tables(start, end) as connection:
                    kept.append(_ask(connection, _MEASURED, {"start": start, "end": end}).cast(dict(_HOURS)))
                    self._sides[False].append(_period(connection, start, end, _every(cameras * len(starts))))
        return pl.concat(kept)

    def drift(self, sick: Collection[str]) -> dict[str, float]:
        """How far the output of each camera has moved since the reference; of sick ones it says nothing."""
        before, now = (_joined(self._sides[side]) for side in (False, True))
        if before is None or now is None:
            return {}
        return drift_scores(drift_report(before, now, sick=sick))

    def candidates(
        self,
        usable: Collection[_CameraHour],
        listed: Collection[_CameraHour],
        pool: int,
        drift: Mapping[str, float],
    ) -> list[CandidateFrame]:
        """The frames that remain: of each reason the first so many, and those that no model has processed.

        Args:
            usable: camera-hours that are archived and whose picture is good.
            listed: camera-hours whose archives were looked into: only what lies there is there.
            pool: candidates for each reason.
            drift: camera to how far its output has moved.
        """
        hours = pl.DataFrame(
            [(camera, hour.start, (camera, hour) in listed) for camera, hour in usable],
            schema={"camera_id": pl.String(), "hour": pl.Datetime("us", "UTC"), "listed": pl.Boolean()},
            orient="row",
        )
        rows = pl.concat(self._rows).unique("image_path").join(hours, ["camera_id", "hour"])
        rows = rows.filter(~pl.col("listed") | pl.col("present"))
        found = pl.concat(self._found)
        middle, half = sum(UNSURE) / 2, (UNSURE[1] - UNSURE[0]) / 2
        figures = found.group_by("image_path").agg(
            unsure=(1 - (pl.col("confidence") - middle).abs() / half).clip(0).max(),
            scarce=pl.col("class").is_in(list(scarce(self.class_counts))).any(),
        )
        rows = rows.join(figures, "image_path", how="left").sort("drawn", "image_path")
        moved = pl.col("camera_id").is_in(list(drift))
        kept = pl.concat(
            [
                rows.filter(pl.col("unsure") > 0).sort("unsure", descending=True, maintain_order=True).head(pool),
                rows.filter(pl.col("scarce")).head(pool),
                rows.filter(moved).head(pool),
                rows.head(pool),
            ]
        ).unique("image_path")
        of_frame: dict[str, list[tuple[str, float, str | None]]] = {}
        for path, *one in found.join(kept, "image_path", how="semi").iter_rows():
            of_frame.setdefault(path, []).append((one[0], one[1], one[2]))
        candidates: list[CandidateFrame] = []
        for path, camera, at in kept.select("image_path", "camera_id", "captured_at").iter_rows():
            boxes = sorted(of_frame.get(path, ()), key=lambda box: box[:2])
            objects = tuple(sorted({name for *_, name in boxes if name is not None}))
            if not self._taken.intersection(objects):
                reported = tuple((name, confidence) for name, confidence, _ in boxes)
                candidates.append(CandidateFrame(path, camera, at, reported, drift.get(camera, 0.0), objects))
        return candidates + self._without_record(usable, pool)

    def _without_record(self, usable: Collection[_CameraHour], pool: int) -> list[CandidateFrame]:
        asked, found = set(self._labelled), list[CandidateFrame]()
        for path in self._unrecorded:
            camera, key, name = path.split("/")
            hour = Hour.from_key(key)
            at = frame_time(name) or hour.start
            if path not in asked and (camera, hour) in usable and self._start <= at < self._end:
                found.append(CandidateFrame(path, camera, at))
        step = max(1, len(found) // pool)
        return found[::step]

    @contextmanager
    def _tables(self, start: datetime, end: datetime) -> Iterator[duckdb.DuckDBPyConnection]:
        """The tables of some hours; one that cannot be read is named."""
        try:
            with open_tables(self._store, start, end) as connection:
                if "object_id" not in {row[0] for row in connection.execute("DESCRIBE detections").fetchall()}:
                    plain = "CREATE VIEW found AS SELECT *, NULL::VARCHAR AS object_id FROM detections"
                else:
                    plain = "CREATE VIEW found AS SELECT * FROM detections"
                connection.execute(plain)
                yield connection
        except duckdb.Error as error:
            raise BadInputError(f"the tables of {start:%Y-%m-%d} cannot be read: {refusal(error)}") from None

    def _read(self, connection: duckdb.DuckDBPyConnection, members: list[str], an_hour: int) -> None:
        times = {"start": self._start, "end": self._end}
        connection.execute("CREATE TEMP TABLE asked AS SELECT unnest($1::VARCHAR[]) AS image_path", [self._labelled])
        connection.execute("CREATE TEMP TABLE members AS SELECT unnest($1::VARCHAR[]) AS image_path", [members])
        low, high = UNSURE
        values = {"n": an_hour, "low": low, "high": high, "seed": self._seed}
        connection.execute(_UNSURE.format(**values), times)
        connection.execute(_BY_CLASS.format(**values), times)
        connection.execute(_SEEN.format(**values), times)
        hours = _ask(connection, "SELECT camera_id, hour, frames, measured, different, blur, brightness FROM seen")
        self.hours.append(hours.cast(dict(_HOURS)))
        self.frames += int(hours["frames"].sum())
        self._rows.append(_ask(connection, _KEPT).cast(dict(_FRAMES)))
        found = _ask(connection, _FOUND_IN_KEPT).cast(dict(_FOUND))
        self._found.append(found)
        for name, count in connection.execute("SELECT class, sum(found) FROM by_class GROUP BY 1").fetchall():
            self.class_counts[name] = self.class_counts.get(name, 0) + int(count)
        self.by_object = self.by_object or found["object_id"].null_count() < found.height
        taken = "SELECT DISTINCT object_id FROM found SEMI JOIN asked USING (image_path) WHERE object_id IS NOT NULL"
        self._taken |= {row[0] for row in connection.execute(taken).fetchall()}
        if members:
            bare = "SELECT image_path FROM members ANTI JOIN frames USING (image_path)"
            self._unrecorded += [row[0] for row in connection.execute(bare).fetchall()]


def _stretches(tabled: Collection[_CameraHour]) -> Iterator[tuple[datetime, datetime]]:
    """Times that hold a bounded number of camera-hours each, and all of them together."""
    counts = Counter(hour.start for _, hour in tabled)
    first: datetime | None = None
    held = 0
    for start in sorted(counts):
        if first is not None and held + counts[start] > _AT_ONCE:
            yield first, start
            first, held = None, 0
        first, held = first or start, held + counts[start]
    if first is not None:
        yield first, max(counts) + HOUR


def _every(camera_hours: int) -> int:
    """One of so many frames is compared for drift."""
    return max(1, camera_hours * _FRAMES_AN_HOUR // _DRIFT_FRAMES)


def _period(connection: duckdb.DuckDBPyConnection, start: datetime, end: datetime, every: int) -> Period:
    """Some frames with all their detections: the same frames from both tables, by camera and time."""
    frames, detections = (
        _ask(connection, _COMPARED.format(table=table, columns=columns, every=every), {"start": start, "end": end})
        for table, columns in (("frames", "n_detections"), ("found", "class, confidence, object_id"))
    )
    return Period(frames, detections)


def _joined(parts: Sequence[Period]) -> Period | None:
    if not parts:
        return None
    return Period(pl.concat([one.frames for one in parts]), pl.concat([one.detections for one in parts]))


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None) -> pl.DataFrame:
    return connection.execute(sql, values).pl()


# Questions ------------------------------------------------------------------------------------------------------------

_IN_TIME = "captured_at >= $start AND captured_at < $end"
_UNSURE = f"""
CREATE TEMP TABLE unsure AS
WITH scored AS (
    SELECT camera_id, hour, image_path, coalesce(object_id, image_path) AS thing,
        1 - abs(confidence - ({{low}} + {{high}}) / 2) / (({{high}} - {{low}}) / 2) AS score
    FROM found ANTI JOIN asked USING (image_path)
    WHERE confidence BETWEEN {{low}} AND {{high}} AND {_IN_TIME}
), things AS (
    SELECT camera_id, hour, thing, max_by(image_path, (score, image_path)) AS image_path, max(score) AS score
    FROM scored GROUP BY ALL
)
SELECT unnest(max_by(image_path, (score, hash(image_path, {{seed}})), {{n}})) AS image_path
FROM things GROUP BY camera_id, hour
"""
_BY_CLASS = f"""
CREATE TEMP TABLE by_class AS
SELECT camera_id, hour, class, count(*) AS found,
    min_by(image_path, hash(image_path, {{seed}}), {{n}}) FILTER (asked.image_path IS NULL) AS picked
FROM found LEFT JOIN asked USING (image_path) WHERE {_IN_TIME} GROUP BY ALL
"""
_MEASURED = f"""
SELECT camera_id, hour, count(*) AS frames, count(blur) AS measured, approx_count_distinct(blur) AS different,
    median(blur) AS blur, median(brightness) AS brightness
FROM frames WHERE {_IN_TIME} GROUP BY ALL
"""
_SEEN = f"""
CREATE TEMP TABLE seen AS
WITH wanted AS (SELECT image_path FROM unsure UNION SELECT unnest(picked) FROM by_class), told AS (
    SELECT f.*, w.image_path IS NOT NULL AS is_wanted, m.image_path IS NOT NULL AS present,
        a.image_path IS NULL AND f.image_saved IS NOT FALSE AS free, hash(f.image_path, {{seed}}) AS drawn
    FROM frames f LEFT JOIN wanted w USING (image_path) LEFT JOIN members m USING (image_path)
        LEFT JOIN asked a USING (image_path)
    WHERE {_IN_TIME}
)
SELECT camera_id, hour, count(*) AS frames, count(blur) AS measured, approx_count_distinct(blur) AS different,
    median(blur) AS blur, median(brightness) AS brightness,
    min_by({{{{p: image_path, t: captured_at, d: drawn, m: present}}}}, drawn, {{n}}) FILTER (free) AS picked,
    list({{{{p: image_path, t: captured_at, d: drawn, m: present}}}}) FILTER (free AND is_wanted) AS wanted
FROM told GROUP BY ALL
"""
_KEPT = """
SELECT one.p AS image_path, camera_id, hour, one.t AS captured_at, one.d AS drawn, one.m AS present
FROM (SELECT camera_id, hour, unnest(list_concat(coalesce(picked, []), coalesce(wanted, []))) AS one FROM seen)
"""
_FOUND_IN_KEPT = f"""
SELECT image_path, class, confidence, object_id FROM found WHERE image_path IN (SELECT image_path FROM ({_KEPT}))
"""
_COMPARED = f"""
SELECT camera_id, model_version, captured_at, {{columns}} FROM {{table}}
WHERE {_IN_TIME} AND hash(camera_id, captured_at) % {{every}} = 0
"""
