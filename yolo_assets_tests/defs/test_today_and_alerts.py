"""The plant now and who is told of it, in the real graph: a real instance, real hours, a receiver on loopback."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from yolo_assets.alerts.state import FILE, AlertState
from yolo_assets.contracts.camera_states import CameraState, CameraStates, StandingFault
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.fleet import CameraHeartbeat, Heartbeat
from yolo_assets.contracts.names import fleet_key, today_page_key
from yolo_assets.contracts.plant import Plant
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.definitions import defs
from yolo_assets.defs.alerts.sensors import alerts_sensor
from yolo_assets.defs.lanes import HourRange
from yolo_assets.defs.release.sensors import fleet_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.today import look as look_module
from yolo_assets.defs.today.sensors import today_sensor
from yolo_assets.defs.today.shown import CAUSES
from yolo_assets.local.driver import Graph
from yolo_assets.monitoring.states import keep_camera_states
from yolo_assets.storage import open_store
from yolo_assets.today.summary import ReasonKey
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.listeners import Web, web

PLANT = """
cameras: [cam01, cam02, cam03]
ui: https://ui.plant/
alerts:
  well_minutes: 0
  receivers:
    office: {url_variable: OFFICE}
    broken: {url_file: /nowhere/at/all}
"""


@pytest.fixture
def receiver(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    (home / "plant.yaml").write_text(PLANT)
    with web() as kept:
        monkeypatch.setenv("OFFICE", f"json://127.0.0.1:{kept.port}/")
        yield kept


def tick(graph: Graph, sensor: dg.SensorDefinition, cursor: str | None = None) -> Any:
    loaded = defs()
    with dg.build_sensor_context(
        instance=graph.instance,
        cursor=cursor,
        repository_def=loaded.get_repository_def(),
        resources=dict(loaded.resources or {}),
    ) as context:
        return sensor.evaluate_tick(context)


def rows(metadata: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(row.data["camera"]): dict(row.data) for row in metadata["cameras"].records}


def test_the_table_shows_good_and_absent_cameras_and_there_is_a_page(home: Path, graph: Graph, receiver: Web) -> None:
    running = Hour.of(utc_now())
    for hour in (running.next(-2), running.next(-1)):
        write_hour(home / "spool", "cam01", hour)
    write_hour(home / "spool", "cam01", running, frames=2)
    made = graph.run(["today"])["today"]
    shown = rows(made)
    assert [(shown[name]["status"], shown[name]["frames"]) for name in ("cam01", "cam02", "cam03")] == [
        ("good", 8),
        ("absent", 0),
        ("absent", 0),
    ]
    assert "never sent a frame" in shown["cam02"]["cause"]
    assert (made["absent"], made["good"], made["frames"]) == (2, 1, 8)
    page = open_store((home / "store").as_uri()).get(today_page_key()).decode()
    assert "cam02" in page and "Absent" in page
    key = dg.AssetCheckKey(dg.AssetKey("today"), "every_camera_well")
    (verdict,) = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
    assert verdict.evaluation is not None and not verdict.evaluation.passed
    assert verdict.evaluation.severity is dg.AssetCheckSeverity.WARN
    assert verdict.evaluation.description == "cam02 (absent), cam03 (absent)"


def test_what_is_wrong_is_in_place_and_leads_on(
    home: Path, graph: Graph, receiver: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_ASSETS_PAGES", "https://ui.plant/pages")
    hour = Hour.of(utc_now()).next(-1)
    write_hour(home / "spool", "cam02", hour)
    blocked = home / "archive" / "archives" / "camera=cam02"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder must be")
    with pytest.raises(UserError, match=f"cam02 {hour.key}"):
        graph.run(["hourly_archives"], HourRange(hour, hour))
    beat = Heartbeat(
        device_id="box7",
        at=utc_now(),
        started_at=utc_now(),
        agent_version="1",
        engine="e",
        model_version=None,
        page="https://box7.plant",
        cameras={"cam02": CameraHeartbeat(captured=1, processed=1, in_flight=0, last_result_at=utc_now())},
    )
    open_store((home / "store").as_uri()).put(fleet_key("box7"), beat.to_json())
    (failed,) = graph.instance.get_runs()
    with Graph() as fresh:
        made = fresh.run(["today"])["today"]
    (line,) = [line for line in made["wrong"].splitlines() if "cam02" in line]
    assert "**cam02** failed: hourly\\_archives" not in line and "**cam02** failed: hourly_archives failed" in line
    sentence = line.partition(" · ")[0]
    assert "folder" in sentence and "…" + f"{home}/archive/archives/camera=cam02"[-40:] in sentence, (
        "a path is cut, not its cause"
    )
    assert max(map(len, sentence.split())) <= 42, "a longer word makes the panel wider than the page"
    assert f"[run](https://ui.plant/runs/{failed.run_id})" in line
    assert f"[frames](https://ui.plant/pages/hours/{hour.key}#cam02)" in line
    assert "[live page](https://box7.plant)" in line
    assert made["page"] == "https://ui.plant/pages/today" and len(made["wrong"]) < 1000


def test_a_camera_whose_picture_is_bad_is_in_the_table_and_its_sentence_stands_above(
    home: Path, graph: Graph, receiver: Web
) -> None:
    hour = Hour.of(utc_now()).next(-1)
    write_hour(home / "spool", "cam01", hour)
    write_hour(home / "spool", "cam01", hour.next(), frames=2)
    fault = StandingFault(kind="blurred", sentence="cam01 is blurred since today. Clean the lens.", since=hour.start)
    sick = CameraState(camera_id="cam01", last_hour=hour.start, frames=4, faults=(fault,))
    keep_camera_states(open_store((home / "store").as_uri()), CameraStates(hour=hour.start, cameras=(sick,)))
    made, _ = tick(graph, today_sensor).asset_events
    shown = {name: getattr(value, "value", value) for name, value in made.metadata.items()}
    row = rows(shown)["cam01"]
    assert (row["status"], row["cause"], shown["sick"]) == ("sick", "its picture is bad", 1)
    assert "Clean the lens" in shown["wrong"]


def test_every_cause_has_a_short_form_for_the_table() -> None:
    assert set(CAUSES) == set(get_args(ReasonKey))


def test_today_is_a_view_that_newer_inputs_do_not_make_stale(home: Path, graph: Graph, receiver: Web) -> None:
    events = tick(graph, today_sensor).asset_events
    for event in events:
        graph.instance.report_runless_asset_event(event)
    graph.instance.report_runless_asset_event(dg.AssetMaterialization("archive_catalog"))
    resolver = CachingStaleStatusResolver(
        graph.instance, defs().resolve_asset_graph(), LoadingContextForTest(graph.instance)
    )
    assert resolver.get_status(dg.AssetKey("today")) is StaleStatus.FRESH


def test_the_sensor_reports_a_change_and_then_only_once_an_hour(home: Path, graph: Graph, receiver: Web) -> None:
    first = tick(graph, today_sensor)
    assert [type(event).__name__ for event in first.asset_events] == ["AssetMaterialization", "AssetCheckEvaluation"]
    again = tick(graph, today_sensor, first.cursor)
    assert not again.asset_events and "no verdict changed: 3 absent" in again.skip_message
    write_hour(home / "spool", "cam01", Hour.of(utc_now()), frames=1)
    changed = tick(graph, today_sensor, again.cursor)
    assert rows(changed.asset_events[0].metadata)["cam01"]["frames"] == 1
    assert len(first.cursor) < 100


def test_what_is_wrong_is_told_once_and_again_when_it_is_well(home: Path, graph: Graph, receiver: Web) -> None:
    with pytest.raises(UserError, match="there is no candidate yet"):
        graph.run(["promoted_model"])
    told = tick(graph, alerts_sensor)
    assert "2 messages left" in told.skip_message
    titles = {document["title"]: document["message"] for document in receiver.taken()}
    assert set(titles) == {"promoted_model failed", "3 cameras send no frames"}
    (run,) = graph.instance.get_runs()
    assert f"https://ui.plant/runs/{run.run_id}" in titles["promoted_model failed"]
    assert "materialize trained_weights first. Correct the cause" in titles["promoted_model failed"]
    assert "cam02: It never sent a frame." in titles["3 cameras send no frames"]
    receiver.requests.clear()
    tick(graph, alerts_sensor)
    assert receiver.requests == [], "told once"
    graph.instance.report_runless_asset_event(dg.AssetMaterialization("promoted_model"))
    write_hour(home / "spool", "cam02", Hour.of(utc_now()), frames=1)
    tick(graph, alerts_sensor)
    assert [(document["title"], document["type"]) for document in receiver.taken()] == [
        ("Resolved: promoted_model failed", "success"),
        ("Resolved: cam02 sends no frames", "success"),
    ]
    state = AlertState.load(home)
    assert (
        state is not None and state.trouble["broken"].failures > 0 and all(m.receiver == "broken" for m in state.outbox)
    )


def test_a_camera_whose_archive_fails_is_one_row_and_one_message(home: Path, graph: Graph, receiver: Web) -> None:
    hours = [Hour.of(utc_now()).next(-back) for back in (2, 1)]
    for hour in hours:
        for camera in ("cam01", "cam02", "cam03"):
            write_hour(home / "spool", camera, hour)
    blocked = home / "archive" / "archives" / "camera=cam02"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder must be")
    for hour in hours:
        with pytest.raises(UserError, match=f"cam02 {hour.key}"):
            graph.run(["hourly_archives"], HourRange(hour, hour))
    (row,) = [row for row in rows(graph.run(["today"])["today"]).values() if row["status"] == "failed"]
    assert (row["camera"], row["hours"]) == ("cam02", "0 archived, 2 failed")
    assert row["cause"] == "hourly archives failed", "words that the UI can break"
    tick(graph, alerts_sensor)
    ((title, message),) = [(document["title"], document["message"]) for document in receiver.taken()]
    assert title == "cam02 failed" and "hourly_archives failed in 2 hours" in message and "Correct the cause" in message
    receiver.requests.clear()
    blocked.unlink()
    for hour in hours:
        graph.run(["hourly_archives"], HourRange(hour, hour))
    tick(graph, alerts_sensor)
    assert [document["title"] for document in receiver.taken()] == ["Resolved: cam02 failed"]


def test_a_receiver_that_was_away_gets_it_after_its_pause(home: Path, graph: Graph, receiver: Web) -> None:
    receiver.status = 503
    tick(graph, alerts_sensor)
    waiting = AlertState.load(home)
    assert waiting is not None
    assert len([m for m in waiting.outbox if m.receiver == "office"]) == 1 and waiting.trouble["office"].failures == 1
    receiver.status = 200
    receiver.requests.clear()
    tick(graph, alerts_sensor)
    assert receiver.requests == [], "not before its pause is over"
    trouble = {name: known.model_copy(update={"next_at": utc_now()}) for name, known in waiting.trouble.items()}
    waiting.model_copy(update={"trouble": trouble}).save(home)
    tick(graph, alerts_sensor)
    assert [document["title"] for document in receiver.taken()] == ["3 cameras send no frames"]


def test_a_home_that_is_lost_begins_with_the_copy_in_the_store(home: Path, graph: Graph, receiver: Web) -> None:
    tick(graph, alerts_sensor)
    assert len(receiver.taken()) == 1
    (home / FILE).unlink()
    tick(graph, alerts_sensor)
    assert len(receiver.taken()) == 1, "a new pod does not tell everything again"


def test_a_silent_device_is_told(home: Path, graph: Graph, receiver: Web) -> None:
    at = utc_now() - timedelta(minutes=20)
    beat = Heartbeat(
        device_id="box7", at=at, started_at=at, agent_version="1", engine="openvino", model_version="line/v1"
    )
    open_store((home / "store").as_uri()).put(fleet_key("box7"), beat.to_json())
    tick(graph, alerts_sensor)
    assert "box7 is silent" in {document["title"] for document in receiver.taken()}


def test_the_fleet_is_compared_once_a_day_although_nothing_changed(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = utc_now()
    beat = Heartbeat(device_id="box7", at=at, started_at=at, agent_version="1", engine="e", model_version="line/v1")
    open_store((home / "store").as_uri()).put(fleet_key("box7"), beat.to_json())
    first = tick(graph, fleet_sensor)
    assert len(first.run_requests) == 1 and not tick(graph, fleet_sensor, first.cursor).run_requests
    monkeypatch.setattr("yolo_assets.defs.release.sensors.utc_now", lambda: at + timedelta(days=1))
    (request,) = tick(graph, fleet_sensor, first.cursor).run_requests
    assert request.run_key != first.run_requests[0].run_key


def test_a_device_that_goes_back_to_its_model_is_compared_again(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, cursor, keys = utc_now(), None, list[str | None]()
    store = open_store((home / "store").as_uri())
    for version in ("line/v1", "line/v2", "line/v1"):
        at += timedelta(minutes=5)
        beat = Heartbeat(device_id="box7", at=at, started_at=at, agent_version="1", engine="e", model_version=version)
        store.put(fleet_key("box7"), beat.to_json())
        monkeypatch.setattr("yolo_assets.defs.release.sensors.utc_now", lambda at=at: at)
        data = tick(graph, fleet_sensor, cursor)
        cursor = data.cursor
        keys += [request.run_key for request in data.run_requests]
    assert len(set(keys)) == 3, "Dagster starts a run key once"


def test_the_sensors_for_people_share_a_look(
    home: Path, graph: Graph, receiver: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[datetime] = []
    real, now = look_module.look, utc_now()

    def counted(locations: Locations, plant: Plant, instance: dg.DagsterInstance, at: datetime) -> Any:
        looks.append(at)
        return real(locations, plant, instance, at)

    def later(minutes: int) -> None:
        moment = now + timedelta(minutes=minutes)
        for stage in ("alerts", "today"):
            monkeypatch.setattr(f"yolo_assets.defs.{stage}.sensors.utc_now", lambda: moment)

    monkeypatch.setattr(look_module, "look", counted)
    later(0)
    tick(graph, alerts_sensor)
    first = tick(graph, today_sensor)
    assert len(looks) == 1
    write_hour(home / "spool", "cam02", Hour.of(utc_now()), frames=1)
    second = tick(graph, today_sensor, first.cursor)
    assert len(looks) == 2
    assert second.asset_events, "its next tick sees what changed"
    tick(graph, alerts_sensor)
    assert len(looks) == 2
    later(4)
    tick(graph, alerts_sensor)
    later(8)
    tick(graph, today_sensor)
    assert len(looks) == 4, "one that is old is not shown as new"


def test_without_a_receiver_the_plant_is_not_looked_at(home: Path, graph: Graph) -> None:
    assert tick(graph, alerts_sensor).skip_message == "plant.yaml names no receiver"
    assert not (home / FILE).exists() and not (home / "store").exists()
