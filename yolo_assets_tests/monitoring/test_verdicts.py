"""Each fault and each change is said rightly, stays until it is over, and is the same whoever asks again and when."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.camera_states import CameraState, CameraStates, HealthNote
from yolo_assets.contracts.shifts import PlannedStop, ShiftPlan
from yolo_assets.monitoring.figures import CameraBeginnings, FiguresReader
from yolo_assets.monitoring.verdicts import PlantHistory, judge_cameras
from yolo_assets.storage.folder import FolderStore
from yolo_assets_tests.monitoring.plant_days import MONDAY, VERSION, Fate, keep_hours

CHANGE = 8 * 24 + 10
LATER = CHANGE + 13
END = CHANGE + 30
Picture = dict[str, Any]
Rates = dict[str, float]


def well(number: int, picture: Picture, rates: Rates) -> None:
    """Nothing changes."""


def from_change(change: Fate) -> Fate:
    return lambda number, picture, rates: change(number, picture, rates) if number >= CHANGE else None


def night(number: int) -> bool:
    return not 6 <= number % 24 < 22


def no_rates(rates: Rates) -> None:
    rates.update(dict.fromkeys(rates, 0.0))


def dirty(number: int, picture: Picture, rates: Rates) -> None:
    picture["blur"] *= 0.4
    rates.update({name: rate * 0.3 for name, rate in rates.items()})


def dirty_for_twelve_hours(number: int, picture: Picture, rates: Rates) -> None:
    if CHANGE <= number < CHANGE + 12:
        picture["blur"] *= 0.4


def slowly_dirty(number: int, picture: Picture, rates: Rates) -> None:
    picture["blur"] *= 1 - 0.85 * max(number - 48, 0) / (END - 48)


def ageing_lamp(number: int, picture: Picture, rates: Rates) -> None:
    picture["brightness"] -= 90 * max(number - 48, 0) / (END - 48)


def lamp_off_at_night(number: int, picture: Picture, rates: Rates) -> None:
    if night(number):
        picture.update(brightness=4.0, blur=2.0, longest_frozen=400)
        no_rates(rates)


def empty_at_night(number: int, picture: Picture, rates: Rates) -> None:
    if night(number):
        picture["blur"] *= 0.4
        no_rates(rates)


def lamp_failed(number: int, picture: Picture, rates: Rates) -> None:
    picture.update(brightness=4.0, blur=2.0)


def froze_once(number: int, picture: Picture, rates: Rates) -> None:
    if number == CHANGE:
        picture["longest_frozen"] = 360


def moved(number: int, picture: Picture, rates: Rates) -> None:
    picture["moved"] = 0.06


def loses_frames(number: int, picture: Picture, rates: Rates) -> None:
    picture["dropped"] = 720


def dead(number: int, picture: Picture, rates: Rates) -> bool:
    return False


def class_gone(number: int, picture: Picture, rates: Rates) -> None:
    rates["dent"] = 0.0


def new_look(number: int, picture: Picture, rates: Rates) -> None:
    picture["confidence"] = 0.65


def halved(number: int, picture: Picture, rates: Rates) -> None:
    rates.update({name: rate / 2 for name, rate in rates.items()})


def empty_belt(number: int, picture: Picture, rates: Rates) -> None:
    no_rates(rates)


def young(number: int, picture: Picture, rates: Rates) -> bool | None:
    return None if number > END - 30 else False


FATES: dict[str, Fate] = {
    "well": well,
    "night_lamp": lamp_off_at_night,
    "night_empty": empty_at_night,
    "cleaned": dirty_for_twelve_hours,
    "slow_dirt": slowly_dirty,
    "old_lamp": ageing_lamp,
    "young": young,
    **{change.__name__: from_change(change) for change in (dirty, lamp_failed, froze_once, moved, loses_frames, dead)},
    **{change.__name__: from_change(change) for change in (class_gone, new_look, halved, empty_belt)},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    return FolderStore(tmp_path_factory.mktemp("plant"))


@pytest.fixture(scope="module")
def beginnings(store: FolderStore) -> CameraBeginnings:
    return keep_hours(store, range(END + 1), FATES)


@pytest.fixture(scope="module")
def reader(store: FolderStore) -> FiguresReader:
    return FiguresReader(store)


@pytest.fixture(scope="module")
def history(beginnings: CameraBeginnings) -> PlantHistory:
    return PlantHistory(beginnings)


def judged(number: int, reader: FiguresReader, history: PlantHistory) -> dict[str, CameraState]:
    states = judge_cameras(MONDAY.next(number), reader, history)
    return {state.camera_id: state for state in states.cameras}


@pytest.fixture(scope="module")
def before(reader: FiguresReader, history: PlantHistory) -> dict[str, CameraState]:
    return judged(CHANGE - 1, reader, history)


@pytest.fixture(scope="module")
def first(reader: FiguresReader, history: PlantHistory) -> dict[str, CameraState]:
    return judged(CHANGE, reader, history)


@pytest.fixture(scope="module")
def later(reader: FiguresReader, history: PlantHistory) -> dict[str, CameraState]:
    return judged(LATER, reader, history)


@pytest.fixture(scope="module")
def after(reader: FiguresReader, history: PlantHistory) -> dict[str, CameraState]:
    return judged(END, reader, history)


def kinds(state: CameraState) -> list[str]:
    return [fault.kind for fault in state.faults]


def test_before_anything_changes_every_camera_is_well(before: dict[str, CameraState]) -> None:
    slow = {"slow_dirt", "old_lamp"}
    assert {camera: kinds(state) for camera, state in before.items() if camera not in slow} == {
        camera: [] for camera in FATES if camera not in slow | {"young"}
    }
    assert {state.drift.verdict for camera, state in before.items() if state.drift and camera not in slow} == {"stable"}


@pytest.mark.parametrize(
    ("camera", "kind", "words"),
    [
        ("dirty", "blurred", "Clean the lens"),
        ("slow_dirt", "blurred", "Clean the lens"),
        ("old_lamp", "darker", "Check the lamp"),
        ("lamp_failed", "darker", "The lamp is off"),
        ("moved", "moved", "6 % of the picture away"),
        ("loses_frames", "dropping", "loses 20 % of its frames"),
        ("dead", "silent", "gives no frame since 2026-03-10 10:00"),
    ],
)
def test_a_fault_is_said_rightly_and_stays(after: dict[str, CameraState], camera: str, kind: str, words: str) -> None:
    state = after[camera]
    assert kinds(state) == [kind], state.faults
    assert words in state.faults[0].sentence and camera in state.faults[0].sentence
    assert state.sick


def test_a_sick_camera_is_not_called_drifted(after: dict[str, CameraState]) -> None:
    drift = after["dirty"].drift
    assert drift is not None and drift.verdict == "sick camera" and "no training" in drift.reason
    assert "dirty" not in CameraStates(hour=MONDAY.start, cameras=tuple(after.values())).drifted_cameras


@pytest.mark.parametrize("camera", ["night_lamp", "night_empty"])
def test_what_is_usual_at_night_is_no_fault(
    camera: str, later: dict[str, CameraState], after: dict[str, CameraState]
) -> None:
    assert night(LATER)
    for state in (later[camera], after[camera]):
        assert kinds(state) == []
        assert state.drift is not None and state.drift.verdict == "stable", state.drift


def test_a_camera_is_well_hours_after_it_was_cleaned(
    later: dict[str, CameraState], after: dict[str, CameraState]
) -> None:
    assert kinds(later["cleaned"]) == ["blurred"], "sharp again for two hours only"
    assert kinds(after["cleaned"]) == []


def test_a_frozen_picture_is_told_in_its_hour_alone(
    first: dict[str, CameraState], after: dict[str, CameraState]
) -> None:
    assert kinds(first["froze_once"]) == ["frozen"] and kinds(after["froze_once"]) == []
    assert "360 times in a row and runs again" in first["froze_once"].faults[0].sentence


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ("class_gone", "the class dent is gone: usually 3"),
        ("new_look", "mean confidence 0.80 became 0.65"),
        ("halved", "objects an hour became"),
    ],
)
def test_a_change_of_the_line_is_drift(after: dict[str, CameraState], camera: str, words: str) -> None:
    drift = after[camera].drift
    assert drift is not None and drift.verdict == "drifted" and words in drift.reason, drift
    assert drift.size > 0.2 and drift.since is not None and kinds(after[camera]) == []


def test_a_busy_line_that_looks_new_is_found_within_the_hour(first: dict[str, CameraState]) -> None:
    drift = first["new_look"].drift
    assert drift is not None and drift.verdict == "drifted", drift


def test_an_empty_belt_is_no_drift_and_no_dirty_lens(after: dict[str, CameraState]) -> None:
    drift = after["empty_belt"].drift
    assert drift is not None and drift.verdict == "empty belt" and "planned stops" in drift.reason
    assert kinds(after["empty_belt"]) == []


def test_a_young_camera_is_learned_first(after: dict[str, CameraState]) -> None:
    drift = after["young"].drift
    assert drift is not None and (drift.verdict, drift.reason) == (
        "learning",
        "30 of 48 hours since the release are known",
    )


@pytest.fixture(scope="module")
def stopped(reader: FiguresReader, beginnings: CameraBeginnings) -> dict[str, CameraState]:
    stop = PlannedStop(start=MONDAY.next(CHANGE).start, until=MONDAY.next(END + 1).start)
    listed = ["cam99", *(camera for camera in FATES if camera != "dead")]
    return judged(END, reader, PlantHistory(beginnings, plan=ShiftPlan(stops=(stop,)), expected=listed))


def test_a_planned_stop_is_not_judged(stopped: dict[str, CameraState]) -> None:
    assert kinds(stopped["dirty"]) == kinds(stopped["moved"]) == []
    assert stopped["empty_belt"].drift is not None and stopped["empty_belt"].drift.verdict == "stable"


def test_cameras_of_the_plant_are_missed_when_they_never_came(stopped: dict[str, CameraState]) -> None:
    assert kinds(stopped["cam99"]) == ["silent"] and "never gave a frame" in stopped["cam99"].faults[0].sentence
    assert "dead" not in stopped, "the plant lists its cameras, and this one is not among them"


def note(camera: str, number: int, action: str) -> HealthNote:
    at = MONDAY.next(number).start + timedelta(minutes=30)
    return HealthNote.model_validate({"camera_id": camera, "at": at, "by": "A. Berg", "action": action})


@pytest.fixture(scope="module")
def noted(reader: FiguresReader, beginnings: CameraBeginnings) -> dict[str, CameraState]:
    notes = [
        note("loses_frames", CHANGE - 5, "acknowledge"),
        note("dead", CHANGE + 2, "retire"),
        note("well", CHANGE + 2, "retire"),
        note("lamp_failed", CHANGE + 2, "relearn"),
        note("dirty", CHANGE + 5, "acknowledge"),
    ]
    return judged(END, reader, PlantHistory(beginnings, notes))


def test_who_knows_of_a_fault_is_kept(noted: dict[str, CameraState]) -> None:
    assert [fault.acknowledged_by for fault in noted["dirty"].faults] == ["A. Berg"]
    assert not noted["dirty"].sick and not noted["dirty"].trusted
    assert noted["loses_frames"].sick, "said before it fell sick: this is another fault"


def test_a_camera_that_was_taken_away_is_not_missed(noted: dict[str, CameraState]) -> None:
    assert "dead" not in noted
    assert kinds(noted["well"]) == [], "it sends frames again"


def test_a_camera_learns_anew_when_somebody_says_so(noted: dict[str, CameraState]) -> None:
    drift = noted["lamp_failed"].drift
    assert kinds(noted["lamp_failed"]) == [] and drift is not None and drift.verdict == "learning"


def test_the_same_answer_in_any_order_of_hours(tmp_path: Path) -> None:
    def dies(number: int, picture: Picture, rates: Rates) -> bool | None:
        return False if number > 55 else None

    fates: dict[str, Fate] = {"dies": dies, "well": well}
    answers: list[CameraStates] = []
    for number, order in enumerate((list(range(60)), [*range(59, -1, -1), 7, 59])):
        store = FolderStore(tmp_path / str(number))
        found = keep_hours(store, order, fates)
        answers.append(judge_cameras(MONDAY.next(59), FiguresReader(store), PlantHistory(found)))
    assert answers[0] == answers[1]
    assert [fault.kind for fault in answers[0].cameras[0].faults] == ["silent"]
    assert answers[0].cameras[1].drift is not None and answers[0].cameras[1].drift.model_version == VERSION
