"""The newest verdicts: an hour of the past never replaces them, and a sick camera is never called drifted."""

from datetime import UTC, datetime
from pathlib import Path

from yolo_assets.contracts.camera_states import CameraState, CameraStates, ModelDrift, StandingFault
from yolo_assets.monitoring.states import camera_states, keep_camera_states
from yolo_assets.storage.folder import FolderStore

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)
DRIFTED = ModelDrift(model_version="line/1", verdict="drifted", reason="the class dent is gone", since=AT, size=0.4)


def state(camera: str, *faults: StandingFault) -> CameraState:
    return CameraState(camera_id=camera, last_hour=AT, faults=faults, drift=DRIFTED)


def test_states_are_kept_and_an_older_hour_does_not_replace_them(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert camera_states(store) is None
    newest = CameraStates(hour=AT, cameras=(state("a"),))
    assert keep_camera_states(store, newest) and camera_states(store) == newest
    assert not keep_camera_states(store, CameraStates(hour=AT.replace(hour=5)))
    assert camera_states(store) == newest
    assert keep_camera_states(store, CameraStates(hour=AT)), "the same hour, judged again"


def test_a_sick_camera_is_not_drifted_even_when_acknowledged() -> None:
    dirty = StandingFault(kind="blurred", sentence="clean the lens", since=AT)
    known = dirty.model_copy(update={"acknowledged_by": "A. Berg"})
    dropping = StandingFault(kind="dropping", sentence="look at the seal", since=AT)
    states = CameraStates(hour=AT, cameras=(state("a"), state("b", dirty), state("c", known), state("d", dropping)))
    assert states.drifted_cameras == {"a": 0.4, "d": 0.4}
    assert states.sick_cameras == {"b", "c"}
    assert [camera.sick for camera in states.cameras] == [False, True, False, True]
