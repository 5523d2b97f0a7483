"""The newest verdicts in the store: read by everybody who acts on them, replaced by newer ones only."""

from __future__ import annotations

from yolo_assets.contracts.camera_states import CameraStates
from yolo_assets.contracts.names import CAMERA_STATES
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
