"""One thing that is wrong now, as a person is told it."""

from __future__ import annotations

from pydantic import Field

from yolo_assets.contracts.alerting import Cause
from yolo_assets.contracts.base import Record

TITLES: dict[Cause, tuple[str, str]] = {
    "run_failed": ("{about} failed", "{count} things failed"),
    "given_up": ("{about} was given up", "{count} things were given up"),
    "camera_absent": ("{about} sends no frames", "{count} cameras send no frames"),
    "hour_not_archived": ("hours of {about} are not archived", "hours of {count} cameras are not archived"),
    "release_refused": ("{about} refused a release", "{count} refused a release"),
    "box_silent": ("{about} is silent", "{count} devices are silent"),
    "camera_sick": ("{about} is sick", "{count} cameras are sick"),
}
"""Of a message, about one and about several."""


class Problem(Record):
    """One cause at one place.

    Attributes:
        cause: of what kind.
        about: camera, device, asset or model; with the cause it is what a message is deduplicated by.
        sentence: what happened and what to do, in one line.
        link: where it is shown; empty without an address of the UI.
        hold_s: seconds that it must stand before it is told.
        lasting: it stands until somebody mends it, so that it is told again, and when it is well. What happened once,
            like a refused release, is neither.
    """

    cause: Cause
    about: str
    sentence: str
    link: str = ""
    hold_s: float = Field(default=0, ge=0)
    lasting: bool = True

    @property
    def key(self) -> str:
        """``<cause>/<about>``."""
        return f"{self.cause}/{self.about}"
