"""What is wrong, from how the plant is: one problem for one cause, with what to do and the link."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from yolo_assets.alerts.causes import GivenUp, PlantState, problems, unknown_causes
from yolo_assets.alerts.decide import decide
from yolo_assets.alerts.problem import Problem
from yolo_assets.alerts.state import AlertState
from yolo_assets.contracts.alerting import AlertSettings
from yolo_assets.contracts.fleet import Heartbeat, SwapEvent
from yolo_assets.contracts.times import Hour, hours_between
from yolo_assets.models.fleet_status import FleetHeartbeats
from yolo_assets.today.summary import Failure, PlantFacts, SpooledHour, summarise

NOW = datetime(2026, 3, 2, 9, 42, tzinfo=UTC)
UI = "https://ui.plant"
HOURS = [Hour.of(NOW).next(-back) for back in (6, 5, 4, 1)]


def failed(camera: str | None, hour: Hour | None, what: str = "hourly_archives", again: bool = True) -> Failure:
    return Failure(what, "no space left in the bucket.", "1234", NOW, camera, hour, again)


def found(facts: PlantFacts, **more: object) -> dict[str, Problem]:
    state = PlantState(today=summarise(facts), **more)  # pyright: ignore[reportArgumentType]
    listed = problems(state, AlertSettings(), UI)
    assert len({problem.key for problem in listed}) == len(listed)
    return {problem.key: problem for problem in listed}


def spooled(camera: str, hours: list[Hour]) -> dict[tuple[str, Hour], SpooledHour]:
    return {(camera, hour): SpooledHour(10, hour.start) for hour in (*hours, Hour.of(NOW))}


def test_one_bad_camera_is_one_problem_whatever_failed_of_it() -> None:
    failures = [failed("cam3", hour, what) for hour in HOURS for what in ("hourly_archives", "detections")]
    facts = PlantFacts(now=NOW, expected=("cam3",), spooled=spooled("cam3", HOURS), failures=tuple(failures))
    (one,) = found(facts).values()
    assert one.key == "run_failed/cam3" and one.link == f"{UI}/runs/1234" and one.hold_s == 1800
    assert one.sentence == (
        "cam3: detections, hourly_archives failed in 4 hours, the newest 2026-03-02 08:00: no space left in the "
        "bucket. It is tried again by itself."
    )


def test_a_day_of_one_bad_camera_among_five_is_one_message_and_its_end() -> None:
    """Every hour it fails, is late for the archive, is tried again; the others are archived on time."""
    names, start = [f"cam{number}" for number in range(5)], datetime(2026, 3, 2, 0, tzinfo=UTC)
    settings = AlertSettings.model_validate({"receivers": {"office": {"url_variable": "OFFICE"}}})
    state, messages = AlertState(), []
    for tick in range(0, 30 * 60, 2):
        now = start + timedelta(minutes=tick, seconds=400)
        running, mended = Hour.of(now), tick >= 26 * 60
        bad = list(hours_between(start, min(running.start, start + timedelta(hours=24))))
        closed = [running.next(-back) for back in range(1, 40)]
        archived = {(name, hour) for name in names for hour in closed if name != "cam3" or mended or hour not in bad}
        # For two minutes of each hour its runs are under way and no failure is known of them.
        trying = now.minute < 8
        failures = [] if mended or trying else [failed("cam3", hour) for hour in bad]
        facts = PlantFacts(
            now=now,
            expected=tuple(names),
            spooled={
                **{(name, running): SpooledHour(9, now) for name in names},
                **{("cam3", hour): SpooledHour(9, None) for hour in bad if ("cam3", hour) not in archived},
            },
            archived=archived,
            failures=tuple(failures),
        )
        wrong = problems(PlantState(today=summarise(facts)), settings, UI)
        state = decide(state, wrong, now, settings)
        messages += [(message.news, message.title) for message in state.outbox]
        state = state.model_copy(update={"outbox": ()})
    assert messages == [("new", "cam3 failed"), ("resolved", "Resolved: cam3 failed")]


def test_hours_late_for_the_archive_are_told_unless_their_run_failed() -> None:
    facts = PlantFacts(now=NOW, spooled={**spooled("cam1", HOURS), **spooled("cam2", HOURS)})
    late = found(facts)
    assert set(late) == {"hour_not_archived/cam1", "hour_not_archived/cam2"}
    assert "3 hours, the oldest 2026-03-02 03:00, are not archived in time" in late["hour_not_archived/cam1"].sentence
    assert late["hour_not_archived/cam1"].link.endswith("/assets/hourly_archives?partition=2026-03-02-03%3A00")
    assert late["hour_not_archived/cam1"].hold_s > 0
    away = PlantFacts(now=NOW, spooled=facts.spooled, failures=tuple(failed(None, hour) for hour in HOURS))
    assert set(found(away)) == {"run_failed/hourly_archives"}, "the store is away: one problem, not one a camera"


def test_a_failure_that_will_not_pass_is_told_at_once() -> None:
    (one,) = found(PlantFacts(now=NOW, failures=(failed(None, None, "trained_weights", again=False),))).values()
    assert one.hold_s == 0 and one.about == "trained_weights"
    assert one.sentence.endswith("no space left in the bucket. Correct the cause, then run it again.")


def test_only_expected_cameras_are_absent() -> None:
    old = NOW - timedelta(hours=5)
    facts = PlantFacts(now=NOW, expected=("cam1", "cam2"), seen={"cam1": old, "cam9": old, "cam2": NOW})
    (one,) = found(facts).values()
    assert one.key == "camera_absent/cam1" and one.link == f"{UI}/assets/today"
    assert "No frame since 2026-03-02 04:42 UTC. Check its power" in one.sentence


def test_nothing_is_said_of_cameras_while_the_store_cannot_be_read() -> None:
    facts = PlantFacts(now=NOW, expected=("cam1",), unread={"the heartbeats": "the store is away"})
    assert found(facts) == {}
    of_cameras = {"camera_absent", "camera_sick", "hour_not_archived"}
    assert unknown_causes(summarise(facts)) == of_cameras | {"box_silent", "release_refused"}
    assert unknown_causes(summarise(PlantFacts(now=NOW))) == set()


def heartbeat(device: str, minutes: float, *swaps: SwapEvent) -> Heartbeat:
    at = NOW - timedelta(minutes=minutes)
    return Heartbeat(
        device_id=device, at=at, started_at=at, agent_version="1", engine="onnxruntime", model_version=None, swaps=swaps
    )


def swap(result: str) -> SwapEvent:
    return SwapEvent.model_validate(
        {
            "at": NOW,
            "source": None,
            "target": "line/v2",
            "result": result,
            "reason": "golden frames differ",
            "seconds": 1,
        }
    )


def test_devices_that_are_silent_or_refused_a_release() -> None:
    fleet = FleetHeartbeats(
        (
            heartbeat("box1", 14, swap("refused"), swap("committed")),
            heartbeat("box2", 16),
            heartbeat("box3", 1, swap("committed"), swap("refused")),
        )
    )
    told = found(PlantFacts(now=NOW), fleet=fleet)
    assert set(told) == {"box_silent/box2", "release_refused/box3, line/v2"}
    assert "golden frames differ" in told["release_refused/box3, line/v2"].sentence


def test_refused_by_the_gate_given_up_and_sick() -> None:
    told = found(
        PlantFacts(now=NOW, sick={"cam1": "is blurred since 06:00. Clean the lens."}),
        refused_by_gate={"line/v3": "recall of crack fell by 0.2."},
        given_up=[GivenUp("hourly_archives", ("2026-03-01-02:00", "2026-03-01-03:00"), 32, "77")],
    )
    assert set(told) == {"release_refused/the gate, line/v3", "given_up/hourly_archives", "camera_sick/cam1"}
    assert not told["release_refused/the gate, line/v3"].lasting
    assert "cam1 is blurred since 06:00. Clean the lens. Who knows" in told["camera_sick/cam1"].sentence
    assert "2 hours, the last 2026-03-01-03:00" in told["given_up/hourly_archives"].sentence


def test_without_an_address_of_the_ui_there_is_no_link() -> None:
    state = PlantState(today=summarise(PlantFacts(now=NOW, failures=(failed("cam1", HOURS[0]),))))
    assert [problem.link for problem in problems(state, AlertSettings(), None)] == [""]
