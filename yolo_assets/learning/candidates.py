"""Which archived frames can be asked for: found by SQL over the tables, never as an object for each frame of a plant.

    detections ─► the least sure objects, frames of each class    ─┐
    frames     ─► hours in which a camera's picture is bad,        ├─► a few thousand candidates
                  some frames at random                            │
    monitoring ─► sick cameras, cameras that drift                 │
    archive    ─► which hours are archived, frames without records ┘

Some hours are read at a time, and a few frames of a camera-hour remain. Figures of the hours come first: frame by frame
only those hours are read that random frames are drawn from, which in a large plant are a part of all. Belongs here:
from tables and archive to candidates. Does not belong here: the choice among them (``sampling``), reading pictures
(``batch``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.answers import refusal
from yolo_assets.catalog.read import open_tables
from yolo_assets.classes.stored import current_names
from yolo_assets.contracts.camera_states import UNTRUSTED, CameraStates
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName, frame_time, is_frame
from yolo_assets.contracts.times import HOUR, Hour, hours_between, with_near_hours
from yolo_assets.learning.archived import UNREADABLE
from yolo_assets.learning.sampling import UNSURE, CandidateFrame, scarce
from yolo_assets.monitoring.states import camera_states
from yolo_assets.storage import ObjectStore
from yolo_assets.tables.scan import list_hours
from yolo_assets.vision.pictures import check_file_size

POOL = 8_000
"""Candidates for each reason."""

INDEXES = 200
"""Archives that are looked into for frames without a record; those of hours without any record come first."""

USUAL_SHARPNESS = 0.5
"""An hour is left out when its pictures have less than this share of the sharpness that is usual for their camera."""

USUAL_GREY = 40.0
"""An hour is left out when its pictures are more grey levels (of 255) away from what is usual for their camera."""

_FEWEST_FRAMES = 20
"""Frames with figures from which an hour is judged."""
_DRAWN_FROM = 1.5
"""So many camera-hours for each random candidate are drawn from: some have a bad picture, or are not archived."""
_AT_ONCE = 1_200
"""Camera-hours that one query reads: bounds its memory."""

_CameraHour = tuple[str, Hour]
_HOURS = pl.Schema(
    {
        "camera_id": pl.String(),
        "hour": pl.Datetime("us", "UTC"),
        "frames": pl.Int64(),
        "measured": pl.Int64(),
        "blur": pl.Float64(),
        "brightness": pl.Float64(),
        "spread": pl.Float64(),
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
) -> FramePool:
    """Archived frames captured in ``[start, end)``: all of a small plant, of a large one some of each camera-hour.

    Health comes first: a dirty lens is cleaned, not labelled. A camera whose picture has a standing fault gives none
    since that began, and no camera-hour does whose pictures are far from what is usual for the camera in this time
    (blurred, dark, bright, frozen). The time of a frame is the record's, else that of its name, else the start of its
    hour.

    Args:
        store: the store root, for the tables.
        archive: receipts and indexes are read, no frame.
        start: aware.
        end: aware.
        labelled: image paths that are not asked for again, nor any other frame of the objects in them.
        seed: another seed draws others at random.
        pool: candidates for each reason.

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
    states = camera_states(store)
    drifted = states.drifted_cameras if states is not None else {}
    scan = _Scan(store, start, end, sorted(labelled), sorted(drifted), seed)
    scan.read_window(tabled, members, pool)
    bad, told = _bad_hours(pl.concat(scan.hours), archived.keys(), states)
    candidates = scan.candidates({*archived} - bad, members.keys(), pool, drifted)
    return FramePool(candidates, scan.class_counts, found.left_out, told, scan.frames, scan.by_object)


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
    hours: pl.DataFrame, archived: Collection[_CameraHour], states: CameraStates | None
) -> tuple[set[_CameraHour], dict[str, str]]:
    """Camera-hours whose picture is not what the camera's is, and a sentence for each camera."""
    bad: dict[_CameraHour, str] = {}
    for key, part in hours.partition_by("camera_id", as_dict=True).items():
        judged = part.filter(pl.col("measured") >= _FEWEST_FRAMES)
        # Dirt only takes sharpness away, so the sharper hours are the clean ones.
        sharp, grey = judged["blur"].quantile(0.75), judged["brightness"].median()
        for row in judged.iter_rows(named=True):
            reason = _difference(row, sharp, grey)
            if reason is not None:
                bad[str(key[0]), Hour(row["hour"])] = reason
    for camera in states.cameras if states is not None else ():
        for fault in camera.faults:
            if fault.kind in UNTRUSTED:
                since = ((name, hour) for name, hour in archived if name == camera.camera_id)
                bad |= {one: fault.sentence for one in since if one[1].end > fault.since}
    told: dict[str, str] = {}
    for camera_id, _ in sorted(bad):
        of_camera = [hour for camera, hour in bad if camera == camera_id]
        told[camera_id] = f"hours left out: {len(of_camera)}; the last: {bad[camera_id, max(of_camera)]}"
    return set(bad), told


def _difference(row: dict[str, Any], sharp: float | None, grey: Any) -> str | None:
    """What is wrong with the pictures of a camera-hour, against the camera's usual sharpness and grey level."""
    if sharp is None or grey is None:
        return None
    if row["blur"] < USUAL_SHARPNESS * sharp:
        return f"blurred, sharpness {row['blur']:.0f} where {sharp:.0f} is usual; clean the lens"
    if abs(row["brightness"] - grey) > USUAL_GREY:
        return f"grey level {row['brightness']:.0f} where {grey:.0f} is usual; check lamp and exposure"
    if row["spread"] == 0:  # the noise of a live sensor never repeats
        return "it sent the same picture again and again; restart the camera"
    return None


class _Scan:
    """One pass over the tables of a time, some camera-hours at once, and what remains of them."""

    def __init__(
        self, store: ObjectStore, start: datetime, end: datetime, labelled: list[str], drifted: list[str], seed: int
    ) -> None:
        self.hours = [_HOURS.to_frame()]
        self.class_counts: dict[str, int] = {}
        self.frames = 0
        self.by_object = False
        names = current_names(store)
        self._renamed = [list(names), list(names.values())]
        self._store, self._start, self._end = store, start, end
        self._labelled, self._drifted, self._seed = labelled, drifted, seed
        self._rows, self._found = [_FRAMES.to_frame()], [_FOUND.to_frame()]
        self._unrecorded: list[str] = []
        self._taken: set[str] = set()

    def read_window(
        self, tabled: Collection[_CameraHour], members: Mapping[_CameraHour, Sequence[str]], pool: int
    ) -> None:
        """Read the time that is sampled.

        Args:
            tabled: camera-hours that have a table.
            members: frames in the archives of some camera-hours.
            pool: candidates for each reason.
        """
        unread = dict(members)
        drawn_from = max(min(_DRAWN_FROM * pool, len(tabled)), 1)
        sizes = {"n": math.ceil(pool / drawn_from), "millionth": math.ceil(1e6 * drawn_from / max(len(tabled), 1))}
        for first, last in _stretches(tabled):
            inside = {one: unread.pop(one) for one in list(unread) if first <= one[1].start < last}
            try:
                self._read(first, last, inside, sizes)
            except duckdb.Error as error:
                raise BadInputError(f"the tables of {first:%Y-%m-%d} cannot be read: {refusal(error)}") from None
        self._unrecorded += [path for paths in unread.values() for path in paths]

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

    def _read(
        self,
        first: datetime,
        last: datetime,
        members: Mapping[_CameraHour, Sequence[str]],
        sizes: Mapping[str, float],
    ) -> None:
        times, (low, high) = {"start": self._start, "end": self._end}, UNSURE
        values = {**sizes, "low": low, "high": high, "seed": self._seed}
        paths = [path for found in members.values() for path in found]
        with open_tables(self._store, first, last) as connection:
            for name, column, given in (
                ("asked", "image_path", self._labelled),
                ("members", "image_path", paths),
                ("drifted", "camera_id", self._drifted),
            ):
                connection.execute(f"CREATE TEMP TABLE {name} AS SELECT unnest($1::VARCHAR[]) AS {column}", [given])
            connection.execute(_LISTED, [[camera for camera, _ in members], [hour.start for _, hour in members]])
            connection.execute(_RENAMED, self._renamed)
            for question, given in (
                (_FOUND_ROWS, times),
                (_UNSURE, None),
                (_BY_CLASS, None),
                (_WANTED, None),
                (_SEEN, times),
                (_LOOKED_AT, None),
                (_KEPT, times),
            ):
                connection.execute(question.format(**values), given)
            self._take(connection)
            if paths:
                self._unrecorded += [row[0] for row in connection.execute(_BARE).fetchall()]

    def _take(self, connection: duckdb.DuckDBPyConnection) -> None:
        """What is kept of the hours that a connection has read."""
        hours = connection.execute(f"SELECT {', '.join(_HOURS.names())} FROM seen").pl().cast(_HOURS)
        self.hours.append(hours)
        self.frames += int(hours["frames"].sum())
        self._rows.append(connection.execute(f"SELECT {', '.join(_FRAMES.names())} FROM kept").pl().cast(_FRAMES))
        found = connection.execute(_FOUND_IN_KEPT).pl().cast(_FOUND)
        self._found.append(found)
        self.by_object = self.by_object or found["object_id"].null_count() < found.height
        for name, count in connection.execute("SELECT class, sum(found) FROM by_class GROUP BY 1").fetchall():
            self.class_counts[name] = self.class_counts.get(name, 0) + int(count)
        taken = "SELECT DISTINCT object_id FROM found WHERE asked AND object_id IS NOT NULL"
        self._taken |= {row[0] for row in connection.execute(taken).fetchall()}


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


# Questions ------------------------------------------------------------------------------------------------------------

_IN_TIME = "captured_at >= $start AND captured_at < $end"
_RENAMED = """
CREATE TEMP TABLE renamed AS SELECT unnest($1::VARCHAR[]) AS name, unnest($2::VARCHAR[]) AS now
"""
"""Names as records have them, and as the list of classes has them now; null for a retired class."""
_LISTED = """
CREATE TEMP TABLE listed AS SELECT unnest($1::VARCHAR[]) AS camera_id, unnest($2::TIMESTAMPTZ[]) AS hour
"""
"""Camera-hours whose archives were looked into."""
_FOUND_ROWS = f"""
CREATE TEMP TABLE found AS
SELECT camera_id, hour, image_path, captured_at, coalesce(r.now, d.class) AS class, confidence, object_id,
    a.image_path IS NOT NULL AS asked
FROM detections d LEFT JOIN asked a USING (image_path) LEFT JOIN renamed r ON d.class = r.name
WHERE {_IN_TIME} AND (r.name IS NULL OR r.now IS NOT NULL)
"""
_UNSURE = """
CREATE TEMP TABLE unsure AS
WITH scored AS (
    SELECT camera_id, hour, image_path, coalesce(object_id, image_path) AS thing,
        1 - abs(confidence - ({low} + {high}) / 2) / (({high} - {low}) / 2) AS score
    FROM found WHERE NOT asked AND confidence BETWEEN {low} AND {high}
), things AS (
    SELECT camera_id, hour, thing, max_by(image_path, (score, image_path)) AS image_path, max(score) AS score
    FROM scored GROUP BY ALL
)
SELECT unnest(max_by(image_path, (score, hash(image_path, {seed})), {n})) AS image_path
FROM things GROUP BY camera_id, hour
"""
_BY_CLASS = """
CREATE TEMP TABLE by_class AS
SELECT camera_id, hour, class, count(*) AS found,
    min_by(image_path, hash(image_path, {seed}), {n}) FILTER (NOT asked) AS picked
FROM found GROUP BY ALL
"""
_WANTED = """
CREATE TEMP TABLE wanted AS
SELECT image_path, any_value(camera_id) AS camera_id, any_value(hour) AS hour, any_value(captured_at) AS captured_at
FROM found SEMI JOIN (SELECT image_path FROM unsure UNION ALL SELECT unnest(picked) FROM by_class) USING (image_path)
GROUP BY image_path
"""
_SEEN = f"""
CREATE TEMP TABLE seen AS
SELECT camera_id, hour, count(*) AS frames, count(blur) AS measured, avg(blur) AS blur, avg(brightness) AS brightness,
    max(blur) - min(blur) AS spread, count_if(image_saved IS NOT FALSE) AS saved
FROM frames WHERE {_IN_TIME} GROUP BY ALL
"""
_LOOKED_AT = """
CREATE TEMP TABLE looked_at AS
SELECT camera_id, hour FROM seen WHERE saved > 0 AND (
    hash(camera_id, hour, {seed}) % 1000000 < {millionth}
    OR camera_id IN (FROM drifted)
    OR (saved < frames AND (camera_id, hour) IN (SELECT (camera_id, hour) FROM wanted))
    OR (camera_id, hour) IN (SELECT (camera_id, hour) FROM listed)
)
"""
"""Camera-hours that are read frame by frame. Where every picture was kept, a wanted frame needs no second look."""
_KEPT = f"""
CREATE TEMP TABLE kept AS
WITH told AS (
    SELECT camera_id, hour, hash(image_path, {{seed}}) AS drawn, w.image_path IS NOT NULL AS wanted,
        {{{{p: image_path, t: captured_at, d: drawn, m: m.image_path IS NOT NULL}}}} AS one
    FROM frames SEMI JOIN looked_at USING (camera_id, hour) ANTI JOIN asked USING (image_path)
        LEFT JOIN (SELECT DISTINCT image_path FROM members) m USING (image_path)
        LEFT JOIN (SELECT image_path FROM wanted) w USING (image_path)
    WHERE {_IN_TIME} AND image_saved IS NOT FALSE
), shown AS (
    SELECT camera_id, hour, min_by(one, drawn, {{n}}) AS picked, list(one) FILTER (wanted) AS wanted
    FROM told GROUP BY ALL
), each AS (
    SELECT camera_id, hour, unnest(list_distinct(list_concat(picked, coalesce(wanted, [])))) AS one FROM shown
)
SELECT one.p AS image_path, camera_id, hour, one.t AS captured_at, one.d AS drawn, one.m AS present FROM each
UNION ALL
SELECT image_path, camera_id, hour, captured_at, hash(image_path, {{seed}}), false
FROM wanted SEMI JOIN (SELECT camera_id, hour FROM seen WHERE saved = frames) USING (camera_id, hour)
    ANTI JOIN looked_at USING (camera_id, hour)
"""
_FOUND_IN_KEPT = """
SELECT image_path, class, confidence, object_id FROM found SEMI JOIN kept USING (image_path)
"""
_BARE = """
SELECT image_path FROM members ANTI JOIN (
    SELECT image_path FROM frames SEMI JOIN listed USING (camera_id, hour)
) USING (image_path)
"""
