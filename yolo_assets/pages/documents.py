"""The pages as HTML, from listings and small objects; text from outside is plain and escaped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
from rich.filesize import decimal

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import (
    ArchiveName,
    check_id,
    check_version,
    detections_key,
    frames_key,
    model_key,
    today_page_key,
    training_key,
)
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.models.gate_status import gate_status
from yolo_assets.pages.links import PageLinks, Root
from yolo_assets.pages.places import Places
from yolo_assets.pages.samples import A_ROW, sample_frames
from yolo_assets.storage.base import ObjectNotFoundError

LISTED = 500
"""Objects of a folder that are shown."""
_HOURS = 24
FRAMES = 12
"""Frames of a camera on its page."""


@dataclass(frozen=True)
class _CameraOfPage:
    """A camera of an hour, and the keys of what is stored of it."""

    camera_id: str
    tables: tuple[str, ...]
    archives: tuple[ArchiveName, ...]


class Documents:
    """Makes each page when it is asked for.

    Args:
        places: what they are read from.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
            finalize=lambda value: plain(value) if isinstance(value, str) else value,
        )

    def front(self) -> str:
        """Where to go: the plant now, the last hours and their archived cameras, the models, the two roots."""
        running = Hour.of(utc_now())
        hours = [running.next(-back) for back in range(1, _HOURS + 1)]
        archived = Counter(
            hour
            for date in sorted({hour.date for hour in hours})
            for hour, _ in {(name.hour, name.camera_id) for name in self._places.archive.names(date=date)}
        )
        models = [info.key for info in self._places.store.list("models/") if info.key.endswith("/manifest.json")]
        return self._page(
            "front",
            "Plant",
            depth=0,
            hours=[(hour, archived[hour]) for hour in hours],
            models=sorted((key.removeprefix("models/").removesuffix("/manifest.json") for key in models), reverse=True),
            has_today=self._places.store.head(today_page_key()) is not None,
        )

    def hour(self, hour: Hour) -> str:
        """Every camera of an hour: sample frames, tables, archives.

        Raises:
            BadInputError: nothing is known of it.
        """
        cameras = self._cameras(hour)
        if not cameras:
            raise BadInputError(f"Nothing of {hour} has tables or an archive.")
        return self._page("hour", f"{hour.date} {hour.hh}:00 UTC", depth=1, hour=hour, cameras=cameras)

    def camera(self, hour: Hour, camera_id: str) -> str:
        """Frames of a camera spread over an hour, each with its boxes.

        Raises:
            ObjectNotFoundError: none was kept, or the tables are not there yet.
        """
        frames = sample_frames(self._places.store, hour, camera_id, FRAMES)
        if not frames:
            raise ObjectNotFoundError(f"No frame of {camera_id} was kept in {hour}, or its tables are not there yet.")
        title = f"{camera_id}, {hour.date} {hour.hh}:00 UTC"
        return self._page("camera", title, depth=2, hour=hour, camera_id=camera_id, frames=frames)

    def some_cameras(self, hour: Hour, most: int = A_ROW) -> list[str]:
        """A few cameras of an hour that have tables, from its first to its last."""
        known = [camera.camera_id for camera in self._cameras(hour) if camera.tables]
        step = max(1, (len(known) - 1) // max(1, most - 1))
        return known[::step][:most]

    def _cameras(self, hour: Hour) -> list[_CameraOfPage]:
        tables: dict[str, list[str]] = {}
        archives: dict[str, list[ArchiveName]] = {}
        for build in (frames_key, detections_key):
            folder = build(hour, "camera").rpartition("/")[0]
            for info in self._places.store.list(f"{folder}/"):
                tables.setdefault(PurePosixPath(info.key).stem, []).append(info.key)
        for name in self._places.archive.names(hour=hour):
            archives.setdefault(name.camera_id, []).append(name)
        return [
            _CameraOfPage(camera, tuple(tables.get(camera, ())), tuple(archives.get(camera, ())))
            for camera in sorted({*tables, *archives})
        ]

    def model(self, name: str, version: str) -> str:
        """What the gate said of a version, rule by rule, and the plots of its newest evaluation.

        Raises:
            BadInputError: no name of a model.
            ObjectNotFoundError: no such version.
        """
        check_id(name, "model name")
        manifest = self._places.registry.read_manifest(name, check_version(version), signed=False).manifest
        status = gate_status(self._places.registry, manifest)
        return self._page(
            "model",
            manifest.model_version,
            depth=2,
            manifest=manifest,
            status=status,
            rules=sorted(status.report.rules, key=lambda rule: rule.passed) if status.report is not None else [],
            plots=self._plots(manifest.evidence),
            bundle=model_key(name, version),
            training=training_key(manifest.evidence) if manifest.evidence else None,
        )

    def _plots(self, evidence: str | None) -> list[str]:
        """Keys of the plots of the newest evaluation."""
        if evidence is None:
            return []
        stored = list(self._places.store.list(training_key(evidence, "evaluation/")))
        plots = [info for info in stored if info.key.endswith(".png")]
        newest = max(plots, key=lambda info: info.modified_at, default=None)
        folder = newest.key.rpartition("/")[0] if newest is not None else ""
        return [info.key for info in plots if info.key.startswith(f"{folder}/")]

    def lineage(self, word: str) -> str:
        """What a frame, label, version or archive came from, and every decision that rests on it.

        Raises:
            BadInputError: it names nothing here, or several frames.
        """
        from yolo_assets.lineage.trace import Tracer, hour_ranges  # DuckDB, for this page alone

        settings = self._places.settings
        tracer = Tracer(self._places.registry, settings.model_name, cache=settings.home / "cache" / "catalog")
        found = tracer.trace(word)
        depth = 1 + word.count("/")
        return self._page("lineage", found.name, depth=depth, found=found, hours=hour_ranges(found.decided))

    def listing(self, root: Root, prefix: str) -> str:
        """The objects of a folder, the first of very many."""
        store = self._places.root(root)
        found = list(islice(store.list(prefix), LISTED + 1))
        return self._page(
            "listing",
            f"{root}: {prefix or 'everything'}",
            depth=1 + 1 + prefix.count("/"),
            root=root,
            prefix=prefix,
            objects=[(info, decimal(info.size)) for info in found[:LISTED]],
            more=len(found) > LISTED,
            url=store.url,
        )

    def problem(self, title: str, sentence: str) -> str:
        """A page that says what is wrong. It is shown at any depth, so it links nowhere."""
        return self._page("problem", title, depth=None, sentence=sentence)

    def _page(self, template: str, title: str, depth: int | None, **values: Any) -> str:
        """One page.

        Args:
            template: its file.
            title: of the page.
            depth: folders of its address below the front page; None: unknown, so it has no style and no links.
            values: of the template.
        """
        base = None if depth is None else "/".join([".."] * depth) or "."
        links = PageLinks(base) if base is not None else None
        return self._environment.get_template(f"{template}.html.j2").render(
            title=title, base=base, links=links, figure=_figure, **values
        )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
