"""The lots of each camera over time: a frame gets the lot that was in force when it was captured.

A change is on disk before any frame can have it, and before it is confirmed: a killed agent forgets none. A frame that
waits gets its lot when its record is written, by its capture time, so a change may arrive while its first frames wait.
Frames with a record keep their lot: a change that is dated before them begins after them, and the answer says so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.frames import FrameId
from yolo_assets.contracts.times import format_time
from yolo_assets.runtime.files import write_atomic

log = logging.getLogger(__name__)
LONGEST_NAME = 128
_TICK = timedelta(milliseconds=1)
_FURTHEST_BACK, _FURTHEST_AHEAD = timedelta(hours=1), timedelta(days=1)
_KEPT = timedelta(minutes=10)
_MOST_PLANNED = 1000


def check_lot_name(value: str) -> str:
    """The name of a batch or part as records hold it.

    Raises:
        ValueError: empty, longer than ``LONGEST_NAME``, with white space around it or characters that cannot be shown.
    """
    if not value or len(value) > LONGEST_NAME or value != value.strip() or not value.isprintable():
        raise ValueError(f"give 1 to {LONGEST_NAME} printable characters, without white space around them")
    return value


LotName = Annotated[str, AfterValidator(check_lot_name)]


class Lot(Record):
    """What is in front of a camera. None: not known, or nothing."""

    batch_id: LotName | None = Field(description="the production batch", examples=["LOT-2026-118"])
    part_id: LotName | None = Field(default=None, description="the single workpiece", examples=["SN-000481"])


class LotChange(Lot):
    """A lot, from a moment on."""

    at: Time = Field(description="frames captured from this moment on have this lot, by the camera's own time")
    by: str = Field(description="who said so")


class _CameraLots(Record):
    changes: tuple[LotChange, ...] = ()
    heard_last: Lot | None = None
    reached: Time | None = None


class _BookFile(Record):
    cameras: dict[str, _CameraLots] = Field(default_factory=dict[str, _CameraLots])


@dataclass(frozen=True)
class LotAnswer:
    """What became of a change.

    Attributes:
        change: as it is in force, or will be.
        late_s: seconds between the moment that was asked for and ``change.at``; frames between them keep the lot that
            their records have.
    """

    change: LotChange
    late_s: float = 0.0


@dataclass
class _LotsOfCamera:
    name: str
    now: Callable[[], datetime]
    earliest: datetime
    """No change of this run begins before it: frames of earlier runs have their lots."""
    turn: threading.Condition = field(default_factory=threading.Condition)
    changes: tuple[LotChange, ...] = ()
    heard_last: Lot | None = None
    coming: datetime | None = None
    """From when a change that is being written will hold; frames from then on wait for it."""
    reached: datetime | None = None
    """The camera's time when something last changed: what begins later is planned."""
    newest: FrameId | None = None
    """The frame with the highest number that has its lot."""

    def lots(self) -> _CameraLots:
        """As the file holds it."""
        return _CameraLots(changes=self.changes, heard_last=self.heard_last, reached=self.reached)

    def in_force(self, moment: datetime) -> LotChange | None:
        return next((change for change in reversed(self.changes) if change.at <= moment), None)


class LotBook:
    """Thread-safe; one for the agent.

    Args:
        cameras: every camera that may have lots, with its own time.
        path: the file; its folder exists.
    """

    def __init__(self, cameras: Iterable[tuple[str, Callable[[], datetime]]], path: Path) -> None:
        self._cameras = {camera: _LotsOfCamera(camera, now, _next_millisecond(now())) for camera, now in cameras}
        self._path = path
        self.on_batch: Callable[[str, str | None, str | None, str], None] = _tell_nobody
        """Called after another batch is in force or planned: camera, the batch before, the batch, who said so."""
        self._writing = threading.Lock()
        self._read()

    def change(self, camera_id: str, lot: Lot, by: str, at: datetime | None = None) -> LotAnswer:
        """Give a camera another lot. When this returns the change outlives a power cut.

        Args:
            camera_id: the camera.
            lot: what comes.
            by: who says so.
            at: from when on, by the camera's own time; None: from now on.

        Raises:
            BadInputError: no such camera, or ``at`` is too far away.
            UserError: the disk does not keep it; nothing changed.
        """
        return self._change(self._of(camera_id), lot, by, at)

    def change_by_broker(
        self, camera_id: str, lot: Lot, by: str, at: datetime | None, *, kept: bool
    ) -> LotAnswer | None:
        """As ``change``, for a message of a broker.

        Args:
            camera_id: as in ``change``.
            lot: as in ``change``.
            by: as in ``change``.
            at: as in ``change``.
            kept: the broker kept the message from earlier: it counts only where another one was heard last.

        Returns:
            None when nothing was to be done.

        Raises:
            BadInputError: as ``change``.
            UserError: as ``change``.
        """
        camera = self._of(camera_id)
        if kept and camera.heard_last == lot:
            return None
        if kept and at is not None and at < camera.now() - _FURTHEST_BACK:
            at = None  # it was published long ago, and holds
        return self._change(camera, lot, by, at, heard=lot)

    def change_by_code(self, camera_id: str, lot: Lot, at: datetime) -> None:
        """As ``change``, for a batch that a picture names; the part in front of the same batch stays.

        Raises:
            BadInputError: as ``change``.
            UserError: as ``change``.
        """
        camera = self._of(camera_id)
        with camera.turn:
            there = camera.in_force(at)
        if there is None or there.batch_id != lot.batch_id:
            self._change(camera, lot, "code in the picture", at)

    def lot_of(self, frame: FrameId) -> Lot | None:
        """The lot of a frame whose record is written now; None where nobody ever gave this camera one."""
        camera, went_back = self._cameras[frame.camera_id], False
        with camera.turn:
            camera.turn.wait_for(lambda: camera.coming is None or frame.captured_at < camera.coming)
            newest = camera.newest
            if newest is None or frame.sequence > newest.sequence:
                if newest is not None and frame.captured_at < newest.captured_at:
                    went_back = self._set_back(camera, newest.captured_at, frame.captured_at)
                camera.newest = frame
            found = camera.in_force(frame.captured_at)
        if went_back:
            self._keep()
        return found

    def current(self, camera_id: str) -> LotChange | None:
        """What is in force for the camera now; None where nobody ever gave it a lot."""
        camera = self._of(camera_id)
        with camera.turn:
            return camera.in_force(max(camera.now(), camera.newest.captured_at if camera.newest else camera.now()))

    def planned(self, camera_id: str) -> list[LotChange]:
        """Changes that are still to come, the next first."""
        camera = self._of(camera_id)
        with camera.turn:
            now = camera.now()
            return [change for change in camera.changes if change.at > now]

    def _of(self, camera_id: str) -> _LotsOfCamera:
        camera = self._cameras.get(camera_id)
        if camera is None:
            raise BadInputError(f"this device has no camera {camera_id}; it has {', '.join(self._cameras)}")
        return camera

    def _change(
        self, camera: _LotsOfCamera, lot: Lot, by: str, at: datetime | None, heard: Lot | None = None
    ) -> LotAnswer:
        now = _next_millisecond(camera.now())
        asked = now if at is None else _next_millisecond(at)
        if not now - _FURTHEST_BACK <= asked <= now + _FURTHEST_AHEAD:
            raise BadInputError(
                f"at {format_time(asked)} is too far from {format_time(now)}, the time of this camera; "
                "give a moment of the last hour or the next day, or leave it out"
            )
        with self._writing:
            with camera.turn:
                first = camera.newest.captured_at + _TICK if camera.newest is not None else camera.earliest
                begin = max(asked, first)
                there = camera.in_force(begin)
                is_new = there is None or (there.batch_id, there.part_id) != (lot.batch_id, lot.part_id)
                if there is not None and not is_new and heard in (None, camera.heard_last):
                    return LotAnswer(there)
                change = LotChange(batch_id=lot.batch_id, part_id=lot.part_id, at=begin, by=by)
                changes = (*(each for each in camera.changes if each.at != begin), change) if is_new else camera.changes
                changes = self._worth_keeping(camera, tuple(sorted(changes, key=lambda each: each.at)))
                if len(changes) > _MOST_PLANNED:
                    raise BadInputError(f"{_MOST_PLANNED} changes of this camera wait; plan no more than that")
                camera.coming = begin if is_new else None
            reached = max(now, first, begin) if asked <= now else max(now, first)
            lots = _CameraLots(changes=changes, heard_last=heard or camera.heard_last, reached=reached)
            kept = camera.lots()
            try:
                self._write({id(camera): lots})
                kept = lots
            finally:
                with camera.turn:
                    camera.changes, camera.heard_last, camera.reached = kept.changes, kept.heard_last, kept.reached
                    camera.coming = None
                    camera.turn.notify_all()
        if is_new and lot.batch_id != (there.batch_id if there is not None else None):
            self.on_batch(camera.name, there.batch_id if there is not None else None, lot.batch_id, by)
        late = (begin - asked).total_seconds() if at is not None else 0.0
        return LotAnswer(there if there is not None and not is_new else change, late)

    def _worth_keeping(self, camera: _LotsOfCamera, changes: tuple[LotChange, ...]) -> tuple[LotChange, ...]:
        """Without what no frame can ask for any more; the lock is held."""
        if camera.newest is None:
            return changes
        oldest = camera.in_force(camera.newest.captured_at - _KEPT)
        return tuple(change for change in changes if oldest is None or change.at >= oldest.at)

    def _set_back(self, camera: _LotsOfCamera, before: datetime, after: datetime) -> bool:
        """The camera's time went back: what was in front of it then still is. The lock is held.

        Returns:
            Whether that changed anything.
        """
        there = camera.in_force(before)
        if there is None or there.at <= after:
            return False
        still = there.model_copy(update={"at": after})
        rest = tuple(change for change in camera.changes if not after <= change.at <= before)
        camera.changes = tuple(sorted((*rest, still), key=lambda each: each.at))
        return True

    def _keep(self) -> None:
        """Write down what ``_set_back`` changed."""
        try:
            with self._writing:
                self._write({})
        except UserError as error:
            log.error("%s", error)

    def _write(self, changed: dict[int, _CameraLots]) -> None:
        """Replace the file; ``self._writing`` is held.

        Raises:
            UserError: the disk does not take it.
        """
        document = _BookFile(
            cameras={name: changed.get(id(camera)) or camera.lots() for name, camera in self._cameras.items()}
        )
        try:
            write_atomic(self._path, document.to_json())
        except OSError as error:
            raise UserError(f"the lot was not changed: {self._path} cannot be written: {error.strerror}") from None

    def _read(self) -> None:
        try:
            found = _BookFile.from_json(self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return
        except (OSError, BadInputError) as error:
            aside = self._path.with_suffix(".damaged")
            log.error("the lots begin anew: %s; it is kept as %s", error, aside.name)
            self._path.replace(aside)
            return
        for name, lots in found.cameras.items():
            if name in self._cameras:
                camera = self._cameras[name]
                camera.changes, camera.heard_last, camera.reached = lots.changes, lots.heard_last, lots.reached
                if lots.reached is not None and camera.earliest < lots.reached:
                    self._set_back(camera, lots.reached, camera.earliest)


def _tell_nobody(_camera: str, _before: str | None, _after: str | None, _by: str) -> None:
    pass


def _next_millisecond(moment: datetime) -> datetime:
    """Frames carry whole milliseconds, cut off: one that was captured before ``moment`` must lie before the result."""
    cut = moment.astimezone(UTC)
    return cut if cut.microsecond % 1000 == 0 else cut + timedelta(microseconds=1000 - cut.microsecond % 1000)
