"""What is wrong now, as problems a person can act on: pure, from how the plant is and what Dagster knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

from yolo_assets.alerts.problem import Problem
from yolo_assets.contracts.alerting import AlertSettings, Cause
from yolo_assets.contracts.times import Hour
from yolo_assets.models.fleet_status import FleetHeartbeats
from yolo_assets.today.summary import Failure, Today
from yolo_assets.today.wording import TodayWording

ARCHIVES = "hourly_archives"
LATE_HOLD_S = 900.0
"""An hour that waits for the archive is told when it waits so long on: meanwhile it may be with a run that begins."""
_REFUSED = ("refused", "failed", "reverted")


@dataclass(frozen=True)
class GivenUp:
    """Work that nothing requests again by itself.

    Attributes:
        what: the asset.
        parts: partitions, sorted; empty for an asset without any.
        failures: failed runs in a row, at most.
        run_id: of the last run.
    """

    what: str
    parts: tuple[str, ...]
    failures: int
    run_id: str


@dataclass(frozen=True)
class PlantState:
    """Everything that causes are found in.

    Attributes:
        today: the plant now.
        fleet: the heartbeats of its devices.
        given_up: by asset.
        refused_by_gate: the gate's sentence by the model version that it refused last; empty when it passed.
    """

    today: Today
    fleet: FleetHeartbeats = field(default_factory=lambda: FleetHeartbeats(()))
    given_up: Sequence[GivenUp] = ()
    refused_by_gate: Mapping[str, str] = field(default_factory=dict)


def unknown_causes(today: Today) -> set[Cause]:
    """Causes of which nothing can be said, because something could not be read."""
    unknown: set[Cause] = set()
    if today.unread:
        unknown |= {"camera_absent", "camera_sick", "hour_not_archived"}
    if "the heartbeats" in today.unread:
        unknown |= {"box_silent", "release_refused"}
    return unknown


def problems(state: PlantState, settings: AlertSettings, ui: str | None) -> list[Problem]:
    """Everything that is wrong now, each cause and place once.

    Args:
        state: of the plant.
        settings: from when on something is wrong.
        ui: base address of the Dagster UI.
    """
    links = _Links(ui)
    found: list[Problem] = []
    found += _failed_runs(state.today, settings, links)
    found += _given_up(state.given_up, links)
    found += _absent(state.today, links)
    found += _not_archived(state.today, links)
    found += _silent(state.fleet, state.today.now, settings, links)
    found += _refused(state, links)
    found += _sick(state.today, links)
    return found


@dataclass(frozen=True)
class _Links:
    ui: str | None

    def run(self, run_id: str) -> str:
        return f"{self.ui}/runs/{quote(run_id)}" if self.ui else ""

    def asset(self, asset: str, hour: Hour | None = None) -> str:
        partition = f"?partition={quote(hour.partition_key)}" if hour is not None else ""
        return f"{self.ui}/assets/{quote(asset)}{partition}" if self.ui else ""


def _failed_runs(today: Today, settings: AlertSettings, links: _Links) -> Iterator[Problem]:
    """One problem for each camera, whatever failed of it in however many hours; else one for each asset."""
    groups: dict[str, list[Failure]] = {}
    for failure in (*today.failures, *today.troubles):
        groups.setdefault(failure.camera_id or failure.what, []).append(failure)
    for about, group in groups.items():
        newest = max(group, key=lambda failure: failure.at)
        hours = sorted({failure.hour for failure in group if failure.hour is not None})
        again = all(failure.again for failure in group)
        where = ""
        if hours:
            where = f" in {len(hours)} hours, the newest {_of(hours[-1])}" if len(hours) > 1 else f" in {_of(hours[0])}"
        of = f"{about}: " if newest.camera_id is not None else ""
        what = ", ".join(sorted({failure.what for failure in group}))
        follows = "It is tried again by itself." if again else "Correct the cause, then run it again."
        yield Problem(
            cause="run_failed",
            about=about,
            sentence=f"{of}{what} failed{where}: {newest.reason.rstrip('.')}. {follows}",
            link=links.run(newest.run_id),
            hold_s=settings.failure_minutes * 60 if again else 0,
        )


def _given_up(given_up: Sequence[GivenUp], links: _Links) -> Iterator[Problem]:
    for work in given_up:
        hours = f" for {len(work.parts)} hours, the last {work.parts[-1]}" if work.parts else ""
        yield Problem(
            cause="given_up",
            about=work.what,
            sentence=(
                f"{work.what} was given up{hours} after {work.failures} failed runs in a row: nothing tries it again. "
                "Correct the cause, then run it by hand."
            ),
            link=links.run(work.run_id),
        )


def _absent(today: Today, links: _Links) -> Iterator[Problem]:
    words = TodayWording("en")
    for camera in today.having("absent"):
        yield Problem(
            cause="camera_absent",
            about=camera.camera_id,
            sentence=f"{camera.camera_id}: {words.reason(camera)}",
            link=links.asset("today"),
        )


def _sick(today: Today, links: _Links) -> Iterator[Problem]:
    for camera_id, what in today.sick.items():
        sentence = f"{camera_id} {what} Who knows of it says so: yolo-assets health ack {camera_id} --by NAME"
        yield Problem(cause="camera_sick", about=camera_id, sentence=sentence, link=links.asset("camera_health"))


def _not_archived(today: Today, links: _Links) -> Iterator[Problem]:
    """Hours that wait too long; those whose run failed are told as that."""
    failed = {failure.hour for failure in today.troubles if failure.what == ARCHIVES}
    for camera in today.cameras:
        hours = sorted(set(camera.late) - set(camera.failed) - failed)
        if hours:
            many = f"{len(hours)} hours, the oldest {_of(hours[0])}, are" if len(hours) > 1 else f"{_of(hours[0])} is"
            yield Problem(
                cause="hour_not_archived",
                about=camera.camera_id,
                sentence=(
                    f"{camera.camera_id}: {many} not archived in time; the frames are still in the spool. "
                    f"Check that the daemon runs and look at {ARCHIVES}."
                ),
                link=links.asset(ARCHIVES, hours[0]),
                hold_s=LATE_HOLD_S,
            )


def _silent(fleet: FleetHeartbeats, now: datetime, settings: AlertSettings, links: _Links) -> Iterator[Problem]:
    limit = timedelta(minutes=settings.box_silent_minutes)
    for beat in fleet.heartbeats:
        if now - beat.at > limit:
            yield Problem(
                cause="box_silent",
                about=beat.device_id,
                sentence=(
                    f"{beat.device_id} has sent no heartbeat since {beat.at:%Y-%m-%d %H:%M} UTC "
                    f"({len(beat.cameras)} cameras). Check its power and network; delete "
                    f"fleet/{beat.device_id}.json in the store if it was taken away."
                ),
                link=links.asset("deployed_model"),
            )


def _refused(state: PlantState, links: _Links) -> Iterator[Problem]:
    for version, sentence in state.refused_by_gate.items():
        yield Problem(
            cause="release_refused",
            about=f"the gate, {version}",
            sentence=f"The gate refused {version}: {sentence.rstrip('.')}. The old model serves; see the report.",
            link=links.asset("promoted_model"),
            lasting=False,
        )
    for beat in state.fleet.heartbeats:
        last = beat.swaps[-1] if beat.swaps else None
        if last is not None and last.result in _REFUSED:
            yield Problem(
                cause="release_refused",
                about=f"{beat.device_id}, {last.target}",
                sentence=(
                    f"{beat.device_id} does not run {last.target} ({last.result}): {last.reason.rstrip('.')}. "
                    "Its page and audit log say more."
                ),
                link=links.asset("deployed_model"),
                lasting=False,
            )


def _of(hour: Hour) -> str:
    return f"{hour.date} {hour.hh}:00"


def receivers_of(cause: Cause, settings: AlertSettings) -> Collection[str]:
    """Names of those who are told of a cause."""
    return [name for name, receiver in settings.receivers.items() if cause in receiver.causes]
