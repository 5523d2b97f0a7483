"""Verdicts and notes in the store: the newest verdicts, those of each hour, and what people said about cameras."""

from __future__ import annotations

from uuid import uuid4

from yolo_assets.contracts.camera_states import CameraStates, HealthNote
from yolo_assets.contracts.names import CAMERA_STATES, HEALTH_NOTES, health_note_key, hour_verdicts_key
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import CasConflictError, ObjectNotFoundError, ObjectStore

_TRIES = 8


def camera_states(store: ObjectStore) -> CameraStates | None:
    """What was last found of each camera; None before the first hour was judged.

    ``sick_cameras`` and ``drifted_cameras`` of the result are what sampling and the start of a training go by.

    Args:
        store: store root.
    """
    try:
        return CameraStates.from_json(store.get(CAMERA_STATES), CAMERA_STATES)
    except ObjectNotFoundError:
        return None


def picture_faults(states: CameraStates) -> dict[str, str]:
    """What is wrong with cameras that send frames and nobody has acknowledged, by camera, without its name."""
    found: dict[str, str] = {}
    for camera in states.cameras:
        said = [
            fault.sentence.removeprefix(f"{camera.camera_id} ")
            for fault in camera.faults
            if fault.acknowledged_by is None and fault.kind != "silent"
        ]
        if said:
            found[camera.camera_id] = " ".join(said)
    return found


def keep_camera_states(store: ObjectStore, states: CameraStates) -> bool:
    """Write the verdicts unless there are those of a newer hour: an hour of the past that is judged again.

    Returns:
        Whether they were written.

    Raises:
        CasConflictError: others wrote them, time after time.
    """
    for attempt in range(_TRIES):
        try:
            data, info = store.get_with_info(CAMERA_STATES)
            if CameraStates.from_json(data, CAMERA_STATES).hour > states.hour:
                return False
            etag = info.etag
        except ObjectNotFoundError:
            etag = None
        try:
            store.compare_and_swap(CAMERA_STATES, states.to_json(), etag)
        except CasConflictError:
            if attempt == _TRIES - 1:
                raise
        else:
            return True
    return False


def keep_hour_verdicts(store: ObjectStore, states: CameraStates) -> None:
    """Write the verdicts of an hour, and make them the newest unless there are newer ones."""
    store.put(hour_verdicts_key(Hour.of(states.hour)), states.to_json())
    keep_camera_states(store, states)


def hour_verdicts(store: ObjectStore, hour: Hour) -> CameraStates | None:
    """What was found of every camera after an hour; None when it was not judged."""
    key = hour_verdicts_key(hour)
    try:
        return CameraStates.from_json(store.get(key), key)
    except ObjectNotFoundError:
        return None


def health_notes(store: ObjectStore) -> list[HealthNote]:
    """What people said about cameras, in the order of time."""
    notes = [HealthNote.from_json(store.get(info.key), info.key) for info in store.list(HEALTH_NOTES)]
    return sorted(notes, key=lambda note: (note.at, note.camera_id))


def add_health_note(store: ObjectStore, note: HealthNote) -> str:
    """Keep what somebody said; nothing that was said is ever changed.

    An acknowledgement holds in the newest verdicts at once, everything else from the next hour on.

    Returns:
        The key.
    """
    key = health_note_key(note.camera_id, note.at, uuid4().hex[:8])
    store.put_if_absent(key, note.to_json())
    states = camera_states(store)
    if states is not None and note.action != "relearn":
        keep_camera_states(store, _noted(states, note))
    return key


def _noted(states: CameraStates, note: HealthNote) -> CameraStates:
    cameras = []
    for camera in states.cameras:
        if camera.camera_id != note.camera_id:
            cameras.append(camera)
        elif note.action == "acknowledge":
            faults = tuple(
                fault.model_copy(update={"acknowledged_by": note.by})
                if not note.kinds or fault.kind in note.kinds
                else fault
                for fault in camera.faults
            )
            cameras.append(camera.model_copy(update={"faults": faults}))
    return states.model_copy(update={"cameras": tuple(cameras)})
