"""The line itself: which frame a camera takes at a moment, and what is in it.

A frame is a pure function of seed, camera and moment: any process may draw any frame in any order and gets the same
bytes. Plates that were painted are kept, because the next frame shows the same ones a little further on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import format_time, parse_time
from yolo_assets.simulator import rendering
from yolo_assets.simulator.appearance import APPEARANCES, RandomStream, generator
from yolo_assets.simulator.defects import Bead, Defect, plan_defects

_EPOCH = parse_time("1970-01-01T00:00:00Z")
_SEEN = 0.4
"""A defect at the edge of the frame counts when this share of its box is inside it."""
_SMALLEST = 5.0
_KEPT_PLATES = 48


@dataclass(frozen=True)
class Change:
    """Something that happens to the line.

    Attributes:
        kind: ``line_change`` gives new light, metal and looks of defects (a second one leads back to the first state);
            ``dirty_lens`` blurs and smears the picture.
        at: from this moment on, aware.
        camera: only this one; None means every camera.
    """

    kind: Literal["line_change", "dirty_lens"]
    at: datetime
    camera: str | None = None


@dataclass(frozen=True)
class LineConfig:
    """A line and what happens to it.

    Attributes:
        seed: everything follows from it; 0 or more.
        cameras: how many, 1 to 99.
        width: of a frame, pixels.
        height: of a frame, pixels.
        changes: events, in any order.
        batch_minutes: length of a production batch; must divide a day.
    """

    seed: int = 0
    cameras: int = 3
    width: int = 320
    height: int = 256
    changes: tuple[Change, ...] = field(default=())
    batch_minutes: int = 20

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadInputError(f"seed {self.seed} is negative; use 0 or more")
        if not 1 <= self.cameras <= 99:
            raise BadInputError(f"{self.cameras} cameras cannot be simulated; use 1 to 99")
        if not (64 <= self.width <= 4096 and 64 <= self.height <= 4096):
            raise BadInputError(f"frames of {self.width}x{self.height} cannot be drawn; use 64 to 4096 pixels each way")
        if self.batch_minutes < 1 or 1440 % self.batch_minutes:
            raise BadInputError(f"batches of {self.batch_minutes} minutes do not divide a day; use for example 20")
        object.__setattr__(self, "changes", tuple(self.changes))
        for change in self.changes:
            format_time(change.at)  # refuses a moment without a zone
            if change.camera is not None and change.camera not in self.camera_ids:
                known = ", ".join(self.camera_ids)
                raise BadInputError(f"a change names camera {change.camera!r}; this line has {known}")

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """``lineA_cam01`` and so on."""
        return tuple(check_id(f"lineA_cam{number:02d}") for number in range(1, self.cameras + 1))


@dataclass(frozen=True)
class TruthBox:
    """A defect that is in the frame.

    Attributes:
        class_name: one of ``CLASS_NAMES``.
        bbox: x1, y1, x2, y2 in frame pixels, inside the frame.
        hard: small or faint.
    """

    class_name: str
    bbox: tuple[float, float, float, float]
    hard: bool


@dataclass(frozen=True)
class Scene:
    """One frame and what is in it.

    Attributes:
        image: uint8 ``[H, W, 3]``, BGR.
        truth: the defects in it, left to right on the line.
        batch_id: the production batch that passes.
    """

    image: NDArray[np.uint8]
    truth: tuple[TruthBox, ...]
    batch_id: str


class WeldLine:
    """Cameras over a weld line. Safe to use from several threads."""

    def __init__(self, config: LineConfig | None = None) -> None:
        self.config = config or LineConfig()
        self._views = {
            camera: rendering.make_view(self.config.seed, camera, self.config.width, self.config.height)
            for camera in self.config.camera_ids
        }
        self._painted = lru_cache(_KEPT_PLATES)(self._paint)
        self._lights = lru_cache(None)(self._light)
        self._dirt = lru_cache(None)(lambda camera: rendering.make_dirt(self.config.seed, camera, self._views[camera]))

    @property
    def cameras(self) -> list[str]:
        """Ids of the cameras, in order."""
        return list(self.config.camera_ids)

    def draw(self, camera_id: str, moment: datetime, *, defects: bool = True) -> Scene:
        """The frame that a camera takes at a moment, cut to milliseconds as file names are.

        Args:
            camera_id: one of ``cameras``.
            moment: aware.
            defects: False draws the same frame of a flawless line, with empty truth: what a difference is measured
                against.

        Raises:
            BadInputError: no such camera, or a moment without a zone.
        """
        view, state, ms = self._view(camera_id), self._state(camera_id, moment), _milliseconds(moment)
        position = view.speed * ms / 1000
        reach = view.reach
        first = int(np.floor(position)) - reach
        canvas = np.empty((rendering.PLATE_HEIGHT, 2 * reach + 2, 3), np.uint8)
        for plate, low, high in _plates(first, first + canvas.shape[1]):
            begin = plate * rendering.PLATE_LENGTH
            canvas[:, low - first : high - first] = self._painted(camera_id, plate, state, defects)[
                :, low - begin : high - begin
            ]
        if view.exposure > 1:
            canvas = cv2.blur(canvas, (view.exposure, 1))
        origin = view.to_frame(np.array([[first - position, 0.0]]))[0]
        pose = np.column_stack([view.turn, origin])
        frame = cv2.warpAffine(canvas, pose, (view.width, view.height), borderMode=cv2.BORDER_REFLECT)
        image = self._expose(camera_id, np.asarray(frame, np.uint8), state, ms, moment)
        return Scene(image, self.truth(camera_id, moment) if defects else (), self.batch_id(moment))

    def truth(self, camera_id: str, moment: datetime) -> tuple[TruthBox, ...]:
        """What the frame at a moment holds, without drawing it.

        A defect that the edge cuts counts when enough of it is visible to be recognised; a sliver is left out, as a
        person would leave it.
        """
        view, state, ms = self._view(camera_id), self._state(camera_id, moment), _milliseconds(moment)
        position = view.speed * ms / 1000
        first = int(np.floor(position)) - view.reach
        boxes = []
        for plate, _, _ in _plates(first, first + 2 * view.reach + 2):
            offset = plate * rendering.PLATE_LENGTH - position
            for defect in self._plan(camera_id, plate, state)[1]:
                box = _box_in_frame(defect, offset, view)
                if box is not None:
                    boxes.append(TruthBox(defect.class_name, box, defect.hard))
        return tuple(boxes)

    def batch_id(self, moment: datetime) -> str:
        """The production batch of a moment: ``B20260102-0340`` began at 03:40."""
        start = _EPOCH + timedelta(minutes=self.config.batch_minutes * self._batch(_milliseconds(moment)))
        return f"B{start:%Y%m%d-%H%M}"

    def _batch(self, ms: int) -> int:
        return ms // (60_000 * self.config.batch_minutes)

    def _view(self, camera_id: str) -> rendering.View:
        view = self._views.get(camera_id)
        if view is None:
            raise BadInputError(f"no camera {camera_id!r} on this line; it has {', '.join(self._views)}")
        return view

    def _happened(self, kind: str, camera_id: str, moment: datetime) -> int:
        return sum(
            change.kind == kind and change.camera in (None, camera_id) and change.at <= moment
            for change in self.config.changes
        )

    def _state(self, camera_id: str, moment: datetime) -> int:
        format_time(moment)  # refuses a moment without a zone
        return self._happened("line_change", camera_id, moment) % len(APPEARANCES)

    def _plan(self, camera_id: str, plate: int, state: int) -> tuple[Bead, tuple[Defect, ...]]:
        bead = rendering.plan_bead(self.config.seed, camera_id, plate, APPEARANCES[state])
        defects = plan_defects(self.config.seed, camera_id, plate, APPEARANCES[state], bead, rendering.PLATE_LENGTH)
        return bead, defects

    def _paint(self, camera_id: str, plate: int, state: int, with_defects: bool) -> NDArray[np.uint8]:
        bead, defects = self._plan(camera_id, plate, state)
        metal = self._views[camera_id].metal
        return rendering.paint_plate(
            self.config.seed, camera_id, plate, APPEARANCES[state], metal, bead, defects if with_defects else ()
        )

    def _light(self, camera_id: str, state: int) -> NDArray[np.float32]:
        return rendering.light_map(self._views[camera_id], APPEARANCES[state])

    def _expose(
        self, camera_id: str, frame: NDArray[np.uint8], state: int, ms: int, moment: datetime
    ) -> NDArray[np.uint8]:
        view, seed = self._views[camera_id], self.config.seed
        rng = generator(seed, camera_id, RandomStream.FRAME, ms)
        # Sheets of one batch come from one coil: all cameras see its tone.
        coil = generator(seed, "", RandomStream.BATCH, self._batch(ms)).uniform(0.95, 1.05, 3)
        gain = rendering.light_at(view, ms / 1000) * rng.uniform(0.98, 1.02) * coil
        image = frame * (self._lights(camera_id, state) * gain.astype(np.float32))
        if self._happened("dirty_lens", camera_id, moment):
            dirt = self._dirt(camera_id)
            image = cv2.GaussianBlur(image, (0, 0), dirt.blur) * dirt.veil + dirt.glow
        noise = rng.standard_normal(frame.shape[:2], dtype=np.float32) * np.float32(
            view.noise * APPEARANCES[state].noise
        )
        image += noise[..., None]
        return np.clip(image, 0, 255).astype(np.uint8)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _plates(low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """Plates between two places on the line: number, and the part of ``[low, high)`` that it fills."""
    for plate in range(low // rendering.PLATE_LENGTH, (high - 1) // rendering.PLATE_LENGTH + 1):
        begin = plate * rendering.PLATE_LENGTH
        yield plate, max(low, begin), min(high, begin + rendering.PLATE_LENGTH)


def _box_in_frame(defect: Defect, offset: float, view: rendering.View) -> tuple[float, float, float, float] | None:
    points = np.concatenate(defect.strokes)
    places = view.to_frame(points[:, :2] + np.array([offset, 0.0]))
    radii = points[:, 2:] * view.scale
    # Places count pixel centres from 0, boxes count pixel edges.
    low, high = (places - radii).min(0) + 0.5, (places + radii).max(0) + 0.5
    x1, y1 = np.maximum(low, 0)
    x2, y2 = np.minimum(high, (view.width, view.height))
    if x2 - x1 < _SMALLEST or y2 - y1 < _SMALLEST:
        return None
    if (x2 - x1) * (y2 - y1) < _SEEN * float(np.prod(high - low)):
        return None
    return float(x1), float(y1), float(x2), float(y2)
