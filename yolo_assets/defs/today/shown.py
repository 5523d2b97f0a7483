"""The plant now as people see it: in the UI, what is wrong with links, then one table of all cameras; the wall page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.contracts.names import today_page_key
from yolo_assets.contracts.plant import Plant
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.links import UiLinks
from yolo_assets.defs.metadata import listed, table
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.models.fleet_status import FleetHeartbeats
    from yolo_assets.storage import ObjectStore
    from yolo_assets.today.summary import CameraToday, Failure, ReasonKey, Today
    from yolo_assets.today.wording import TodayWording

_COLUMNS = {"camera": str, "status": str, "frames": int, "last frame": str, "hours": str, "cause": str}
"""Few, and without long words: a word that the UI cannot break makes the table wider than the page."""
CAUSES: dict[ReasonKey, str] = {
    "never": "never sent a frame",
    "absent": "sends no frames",
    "stopped": "sends no frames",
    "failed": "{what} failed",
    "unread": "not known",
    "late": "waits for the archive",
    "missing": "hours without frames",
    "sick": "its picture is bad",
    "good": "",
}
"""The cause in the table. The sentence stands in place for the first ones that are wrong, and on the wall page."""
_LONGEST = 320
"""Characters of a cause in place; the run has all of it."""
_WORD = 40
"""Characters of a word in place: of a path its end, which says most. A longer one would push the rest out of sight."""
_LINE = 900
"""A line with its links is never cut: it would end in half a link."""


@dataclass(frozen=True)
class TodayLinks:
    """Where a camera's row leads.

    Attributes:
        ui: base address of the UI; empty: the one that shows the link.
        ours: pages and stored objects.
        live: the live page of the device that sends a camera's frames.
    """

    ui: str
    ours: UiLinks
    live: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plant: Plant, ours: UiLinks, fleet: FleetHeartbeats) -> TodayLinks:
        """From the plant's addresses and what the devices tell."""
        newest = sorted(fleet.heartbeats, key=lambda beat: beat.at)
        live = {camera: beat.page for beat in newest if beat.page is not None for camera in beat.cameras}
        return cls(plant.ui or "", ours, live)

    def of_camera(self, camera: CameraToday, failure: Failure | None) -> list[str]:
        """Links for one camera, in Markdown."""
        links: list[str] = []
        if failure is not None:
            links.append(f"[run]({self.ui}/runs/{failure.run_id})")
        hour = failure.hour if failure is not None and failure.hour is not None else _last_hour(camera)
        if hour is not None and self.ours.pages is not None:
            links.append(f"[frames]({self.ours.pages.hour(hour, camera.camera_id)})")
        if camera.camera_id in self.live:
            links.append(f"[live page]({self.live[camera.camera_id]})")
        return links


def _last_hour(camera: CameraToday) -> Hour | None:
    return Hour.of(camera.last_at) if camera.last_at is not None else None


def write_page(store: ObjectStore, locations: Locations, found: Today) -> None:
    """Write the wall page to the store root."""
    from yolo_assets.today.page import page

    store.put(today_page_key(), page(found, locations.settings.language))


def today_metadata(found: Today, links: TodayLinks) -> dict[str, Any]:
    """Everything that is reported of ``today``.

    Args:
        found: the plant now.
        links: where rows lead.
    """
    from yolo_assets.today.wording import TodayWording

    words = TodayWording("en")
    counts = {status: len(found.having(status)) for status in ("absent", "failed", "sick", "unknown", "late", "good")}
    frames = sum(camera.frames for camera in found.cameras)
    newest = {failure.camera_id: failure for failure in sorted(found.failures, key=lambda failure: failure.at)}
    wrong = [
        f"**{camera.camera_id}** {camera.status}: {_markdown(_cut(words.reason(camera)))}"
        f"{''.join(f' · {link}' for link in links.of_camera(camera, newest.get(camera.camera_id)))}"
        for camera in found.having("absent", "failed", "sick", "unknown", "late")
    ]
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no camera is known"
    return {
        "summary": f"{told}; {frames:,} frames in 24 h",
        "wrong": listed(wrong, "every camera is well", _LINE),
        "notices": listed([_markdown(line) for line in words.notices(found)], "none"),
        "cameras": table([_row(camera, found, words) for camera in found.cameras], _COLUMNS),
        **counts,
        "frames": frames,
        "page": dg.MetadataValue.url(links.ours.pages.today())
        if links.ours.pages is not None
        else links.ours.stored("store", today_page_key()),
    }


def _row(camera: CameraToday, found: Today, words: TodayWording) -> dict[str, Any]:
    lacking = {"missing": camera.missing, "late": camera.late, "failed": camera.failed}
    hours = [f"{camera.archived} archived", *(f"{len(of)} {what}" for what, of in lacking.items() if of)]
    return {
        "camera": camera.camera_id,
        "status": camera.status,
        "frames": camera.frames,
        "last frame": words.last_frame(camera, found.now),
        "hours": ", ".join(hours),
        "cause": CAUSES[camera.reason.key].format(**camera.reason.fields).replace("_", " "),
    }


def _cut(text: str) -> str:
    text = " ".join(word if len(word) <= _WORD else f"…{word[-_WORD:]}" for word in text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _markdown(text: str) -> str:
    """A text from elsewhere inside Markdown: what would be a link or a picture is text."""
    shown = plain(" ".join(text.split()))
    for sign in "\\`*[]<>|!":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
