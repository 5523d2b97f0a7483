"""Both ways from one thing: what it came from, and every model and shipped decision that rests on it.

The decisions are counted by DuckDB over the frames table and the receipts that the catalog holds; nothing but the store
root is needed. Does not belong here: what a word means (``subject``), and the links between stored objects
(``origins``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.read import ask, open_catalog
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName, check_version
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.learning.archived import ArchivedFrames, FrameLocation
from yolo_assets.learning.records import AcceptedLabels, LabelledImage
from yolo_assets.lineage.origins import Ancestry, Dependant, StoredOrigins
from yolo_assets.lineage.subject import KINDS, Kind, Named, frame_rows, only_one
from yolo_assets.models.registry import Registry

_DECISIONS = """
    WITH wanted AS (SELECT unnest($models::VARCHAR[]) AS model_version),
    seen AS (
        SELECT model_version, camera_id, hour, count(*) AS frames, sum(n_detections)::BIGINT AS detections
        FROM frames SEMI JOIN wanted USING (model_version) GROUP BY ALL
    ),
    kept AS (
        SELECT model_version, camera_id, hour, list(archive_key ORDER BY part) AS archives
        FROM (SELECT unnest(model_versions) AS model_version, camera_id, hour, part, archive_key FROM archives)
        SEMI JOIN wanted USING (model_version) GROUP BY ALL
    )
    SELECT model_version, camera_id, hour, frames, detections, coalesce(archives, []) AS archives
    FROM seen FULL JOIN kept USING (model_version, camera_id, hour) ORDER BY hour, camera_id, model_version
"""
_FIRST_HOUR = """
    SELECT min(hour) AS hour FROM (
        SELECT hour FROM archives WHERE list_has_any(model_versions, $models::VARCHAR[]) UNION ALL SELECT hour FROM gaps
    )
"""
"""Receipts tell the models of an hour, so older tables need not be read; hours without a receipt may hold any."""


@dataclass(frozen=True)
class Decided:
    """What one model decided on one camera in one hour.

    Attributes:
        model_version: ``<name>/<version>``.
        camera_id: the camera.
        hour: ISO 8601.
        frames: that it looked at; None where the hour has no tables, and only its archive names the model.
        detections: that it reported, likewise.
        archives: keys of the archives of the hour that name the model.
    """

    model_version: str
    camera_id: str
    hour: str
    frames: int | None
    detections: int | None
    archives: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """The answer about one thing.

    Attributes:
        asked: what was written.
        kind: what it was taken for.
        name: that thing, in full.
        also: what else it may be; ``--as`` asks for it.
        frame: of a frame: its row of the tables, and the archives that may hold it.
        labels: of a label, or of a frame that has some: what counts today, and each file that says something of it.
        archive: of an archive: its row of the catalog.
        made_from: the models in question, each with what it came from, newest first.
        label_files: by SHA-256, the files that ``made_from`` and ``labels`` name.
        rests_on_it: every version that rests on it.
        decided: what these decided on the line, an hour of a camera a row.
        notes: what could not be told, a line each.
    """

    asked: str
    kind: Kind
    name: str
    also: tuple[Kind, ...] = ()
    frame: dict[str, Any] | None = None
    labels: dict[str, Any] | None = None
    archive: dict[str, Any] | None = None
    made_from: tuple[Ancestry, ...] = ()
    label_files: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    rests_on_it: tuple[Dependant, ...] = ()
    decided: tuple[Decided, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def totals(self) -> dict[str, int]:
        """Of ``decided``: hours of a camera, cameras, frames, detections, archives."""
        return {
            "camera_hours": len({(one.camera_id, one.hour) for one in self.decided}),
            "cameras": len({one.camera_id for one in self.decided}),
            "frames": sum(one.frames or 0 for one in self.decided),
            "detections": sum(one.detections or 0 for one in self.decided),
            "archives": len({key for one in self.decided for key in one.archives}),
        }

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "totals": self.totals}


class Tracer:
    """Answers questions of lineage about one store.

    Args:
        registry: of the store root.
        model_name: the model that a version alone is looked for in first.
        archive: to find the one archive that holds a frame; None: every archive of its hour is named.
        cache: where a catalog out of a bucket is kept between calls.
    """

    def __init__(
        self, registry: Registry, model_name: str, *, archive: Archive | None = None, cache: Path | None = None
    ) -> None:
        self._store = registry.store
        self._origins = StoredOrigins(registry)
        self._model_name = model_name
        self._archive = archive
        self._cache = cache

    def trace(self, text: str, kind: Kind | None = None) -> Trace:
        """Both ways from what a word names.

        Args:
            text: a frame's path or file name, a labelled picture or a label file by name or SHA-256, a version, or an
                archive by its name or key.
            kind: what it is to be taken for; None: the first of ``KINDS`` that there is.

        Raises:
            BadInputError: it names nothing here, or several frames.
        """
        named = Named.read(text)
        found = {one: self._found(one, named) for one in (KINDS if kind is None else (kind,))}
        there: list[Kind] = [one for one in KINDS if found.get(one) is not None]
        if not there:
            what = " or ".join(KINDS) if kind is None else kind
            raise BadInputError(
                f"{text} is no {what} of {self._store.url}; write a frame like cam01/20260102_03/20260102_030405.jpg, "
                "a label file or picture by its name or SHA-256, a model like line/20260102-1a2b3c4d, an archive like "
                "yolo_cam01_20260102_03.tar.gz"
            )
        first = there[0]
        meant = found[first]
        assert meant is not None
        parts: dict[str, Any] = {}
        resting: list[Dependant] = []
        models: list[str] = []
        if first == "archive":
            parts["archive"], models = self._about_archive(meant)
            resting = self._origins.resting_on(self._labelled_in(meant))
        elif first == "model":
            models = [meant]
            itself = self._origins.manifests[meant]
            releases = tuple(self._origins.releases.get(meant, ()))
            how = f"made {format_time(itself.created_at)}"
            resting = [Dependant(meant, "is that model", how, 0, 0, releases), *self._origins.continuing([meant])]
        elif first == "frame":
            parts["frame"] = self._about_frame(meant)
            models = parts["frame"].get("model_versions") or [parts["frame"]["model_version"]]
            if found.get("label") is not None:
                parts["labels"], resting = self._about_labels(found["label"])
        else:
            parts["labels"], resting = self._about_labels(meant)
        chain = {one.model: one for model in models for one in self._origins.ancestry(model)}
        unknown = [model for model in models if model not in chain]
        notes = [f"{model} is no version of this store: nothing more is known of it" for model in unknown]
        files = {sha for one in chain.values() for sha in one.label_files}
        files |= {one["sha256"] for one in (parts.get("labels") or {}).get("files", [])}
        decided = self._decided([one.model for one in resting])
        lacking = sum(one.frames is None for one in decided)
        if lacking:
            notes.append(f"{lacking} hours have no tables: their archives name the model, and nothing is counted")
        return Trace(
            asked=text,
            kind=first,
            name=self._name_of(first, meant, parts),
            also=tuple(there[1:]) if first != "frame" else tuple(one for one in there[1:] if one != "label"),
            made_from=tuple(chain.values()),
            label_files={sha: _about_file(self._origins.label_files.get(sha)) for sha in sorted(files)},
            rests_on_it=tuple(resting),
            decided=tuple(decided),
            notes=(*notes, *self._origins.notes),
            **parts,
        )

    def _found(self, kind: Kind, named: Named) -> Any:
        """What a word names of one kind: an ``ArchiveName``, a version, a row of the tables, labels; None: nothing."""
        if kind == "archive":
            return named.archive if named.archive is not None and self._archives(named.archive) else None
        if kind == "model":
            return self._version(named.model) if named.model is not None else None
        if kind == "frame":
            return self._frame(named)
        return self._labels(named)

    def _version(self, text: str) -> str | None:
        if "/" in text:
            return text if text in self._origins.manifests else None
        try:
            check_version(text)
        except BadInputError:
            return None
        own = f"{self._model_name}/{text}"
        versions = [name for name in self._origins.manifests if name.partition("/")[2] == text]
        if own in versions:
            return own
        if len(versions) > 1:
            raise BadInputError(f"{', '.join(versions)} are versions of that name; write it like {versions[0]}")
        return versions[0] if versions else None

    def _archives(self, name: ArchiveName) -> list[dict[str, Any]]:
        columns = "archive_key, start_time, end_time, frame_count, model_versions, device_ids, sha256"
        sql = f"SELECT {columns} FROM archives WHERE camera_id = ? AND hour = ? AND part = ?"
        with self._catalog() as connection:
            return ask(connection, sql, [name.camera_id, name.hour.start, name.part]).to_dicts()

    def _frame(self, named: Named) -> dict[str, Any] | None:
        if not named.hours:
            return None
        with self._catalog(named.hours[0].start, named.hours[-1].end) as connection:
            rows = frame_rows(connection, named)
            path = only_one(named, [row["image_path"] for row in rows])
            if path is None:
                return self._archived_frame(connection, named)
            row = rows[0]
            found = ask(
                connection,
                "SELECT archive_key FROM archives WHERE camera_id = ? AND hour = ? ORDER BY part",
                [row["camera_id"], row["hour"]],
            )
        return {**row, "archives": found["archive_key"].to_list()}

    def _archived_frame(self, connection: duckdb.DuckDBPyConnection, named: Named) -> dict[str, Any] | None:
        """A frame of an hour without tables, where the archive can be asked; its models are those of the hour."""
        place = self._located(named.path) if named.path is not None else None
        if named.path is None or place is None:
            return None
        sql = "SELECT model_versions, camera_id, hour FROM archives WHERE archive_key = ?"
        rows = ask(connection, sql, [place.source.archive_key]).to_dicts()
        about = rows[0] if rows else {"model_versions": []}
        return {**about, "image_path": named.path, "archives": [place.source.archive_key]}

    def _located(self, image_path: str) -> FrameLocation | None:
        """Where a frame lies in the archive; None where the archive cannot be asked."""
        if self._archive is None:
            return None
        try:
            return ArchivedFrames(self._archive).locate(image_path)
        except UserError as error:  # the store alone answers the rest
            self._origins.notes.append(f"which archive holds the frame was not looked up: {error}")
            return None

    def _labels(self, named: Named) -> tuple[list[LabelledImage], str | None] | None:
        """The pictures whose labels are meant, and the file, where a file was named."""
        for sha256, labels in self._origins.label_files.items():
            if named.is_file(labels):
                return list(labels.images), sha256
        images = [one for one in self._origins.labelled.values() if named.is_image(one.image_path, one.sha256)]
        if named.sha256 is None:
            only_one(named, [one.image_path for one in images])
        return (images, None) if images else None

    def _labelled_in(self, name: ArchiveName) -> list[str]:
        """SHA-256 of the labelled pictures that an archive holds."""
        folder = f"{name.camera_id}/{name.hour.key}/"
        return [
            one.sha256
            for one in self._origins.labelled.values()
            if (one.source.archive_key == name.archive_key if one.source else one.image_path.startswith(folder))
        ]

    def _about_archive(self, name: ArchiveName) -> tuple[dict[str, Any], list[str]]:
        (row,) = self._archives(name)
        labelled = len(self._labelled_in(name))
        shown = {key: format_time(value) if isinstance(value, datetime) else value for key, value in row.items()}
        return {**shown, "labelled_frames": labelled}, list(row["model_versions"])

    def _about_frame(self, row: dict[str, Any]) -> dict[str, Any]:
        shown = {key: format_time(value) if isinstance(value, datetime) else value for key, value in row.items()}
        place = self._located(row["image_path"])
        if place is not None:
            shown |= {"archives": [place.source.archive_key], "member": place.source.member, "sha256": place.sha256}
        return shown

    def _about_labels(self, meant: tuple[list[LabelledImage], str | None]) -> tuple[dict[str, Any], list[Dependant]]:
        images, file = meant
        pictures = {image.sha256 for image in images}
        files: list[dict[str, Any]] = []
        for sha256, labels in self._origins.label_files.items():
            told = [image for image in labels.images if image.sha256 in pictures]
            if not told or (file is not None and sha256 != file):
                continue
            standing = [self._origins.history.counts(image.sha256) for image in told]
            counts = sum(one is not None and one.file.source_sha256 == sha256 for one in standing)
            by = sorted({image.annotator for image in told if image.annotator})
            boxes = [box.class_name for image in told for box in image.boxes]
            said = {"sha256": sha256, "pictures": len(told), "count_today": counts, "by": by, "boxes": boxes}
            files.append({**said, "withdrawn": labels.withdrawn is not None})
        first = images[0]
        about: dict[str, Any] = {"pictures": len(pictures), "files": files}
        if file is None:
            now = self._origins.history.counts(first.sha256)
            counting = now.image.boxes if now is not None else ()
            boxes = [{"class": box.class_name, "bbox": list(box.bbox)} for box in counting]
            about |= {"image_path": first.image_path, "sha256": first.sha256, "boxes": boxes}
            about["withdrawn"] = now is None
        return about, self._origins.resting_on(pictures, file)

    def _name_of(self, kind: Kind, meant: Any, parts: dict[str, Any]) -> str:
        if kind == "archive":
            return meant.archive_key
        if kind == "frame":
            return parts["frame"]["image_path"]
        if kind == "model":
            return meant
        images, file = meant
        return images[0].image_path if file is None else self._origins.label_files[file].source_file

    def _decided(self, models: Collection[str]) -> list[Decided]:
        if not models:
            return []
        given = {"models": sorted(set(models))}
        with self._catalog() as connection:
            first = ask(connection, _FIRST_HOUR, given)["hour"][0]
            cataloged = ask(connection, "SELECT count(*) AS n FROM hours")["n"][0] > 0
        # Tables are newer than the catalog, or there is none: what it does not know is read all the same.
        start = min(first or utc_now() - timedelta(days=1), utc_now() - timedelta(days=1)) if cataloged else None
        end = utc_now() + timedelta(hours=1) if cataloged else None
        with self._catalog(start, end, tables=True) as connection:
            rows = ask(connection, _DECISIONS, given).iter_rows()
            return [
                Decided(model, camera, format_time(hour), frames, detections, tuple(archives))
                for model, camera, hour, frames, detections, archives in rows
            ]

    def _catalog(self, start: datetime | None = None, end: datetime | None = None, *, tables: bool = False) -> Any:
        """The catalog, empty where none was published; with the frames of some hours, or of all."""
        named = ("frames",) if tables or start is not None else ()
        return open_catalog(
            self._store, cache=self._cache, tables=named, start=start, end=end, may_lack=True
        )  # fmt: skip


def hour_ranges(decided: Iterable[Decided]) -> list[list[str]]:
    """``decided`` for people: a row for each model and camera, hours from first to last."""
    grouped: dict[tuple[str, str], list[Decided]] = {}
    for one in decided:
        grouped.setdefault((one.model_version, one.camera_id), []).append(one)
    rows: list[list[str]] = []
    for (model, camera), ones in sorted(grouped.items()):
        hours = sorted(one.hour for one in ones)
        counted = [one for one in ones if one.frames is not None]
        archives = {key for one in ones for key in one.archives}
        figures = [sum(one.frames or 0 for one in counted), sum(one.detections or 0 for one in counted)]
        rows.append([model, camera, hours[0], hours[-1], *map(str, (len(set(hours)), *figures, len(archives)))])
    return rows


def _about_file(labels: AcceptedLabels | None) -> dict[str, Any]:
    if labels is None:
        return {"file": None, "problem": "this label file is not in the store any more"}
    by: Sequence[str] = sorted({image.annotator for image in labels.images if image.annotator})
    at = format_time(labels.imported_at)
    return {
        "file": labels.source_file,
        "format": labels.format,
        "imported_at": at,
        "by": by,
        "images": len(labels.images),
    }
