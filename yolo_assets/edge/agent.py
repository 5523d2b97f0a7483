"""The agent: composed in one place, started in an order in which nothing is lost, stopped in the reverse.

Belongs here: wiring, life cycle, and the agent as the main program of a process. Does not belong here: any decision
about frames or models.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastapi import Depends, FastAPI

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.edge.announcements import Announcements
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.edge.balancing.balancer import Balancer, BalancerMetrics
from yolo_assets.edge.cameras.open import open_sources
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.http import cameras, changes, infer, lots, reading
from yolo_assets.edge.http.access import RoleGuard
from yolo_assets.edge.http.app import new_app
from yolo_assets.edge.http.cameras import Viewers
from yolo_assets.edge.http.drawing import Pictures
from yolo_assets.edge.http.people import PeopleBook
from yolo_assets.edge.http.server import ApiServer
from yolo_assets.edge.http.texts import PageTexts
from yolo_assets.edge.image_service import ImageService
from yolo_assets.edge.lots.book import LotBook
from yolo_assets.edge.lots.mqtt import LotListener
from yolo_assets.edge.maintenance import Maintenance
from yolo_assets.edge.outputs.hub import OutputMetrics, Outputs
from yolo_assets.edge.pipeline.frame_pipeline import FramePipeline
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout.history import SwapLog
from yolo_assets.edge.rollout.updates import ModelUpdates
from yolo_assets.edge.supervision import Pulse, Supervisor
from yolo_assets.edge.telemetry import metrics as sources
from yolo_assets.edge.telemetry.heartbeat import HeartbeatSender
from yolo_assets.edge.telemetry.machine import Machine
from yolo_assets.edge.telemetry.metrics import EdgeMetrics
from yolo_assets.edge.telemetry.model_report import ModelReport
from yolo_assets.edge.telemetry.status import (
    HeartbeatReport,
    Readiness,
    StatusReport,
    archiver_status,
    audit_status,
)
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.files import lock_folder
from yolo_assets.storage.open import open_store
from yolo_assets.storage.retrying import PROCESS_COUNTS, QUICK

log = logging.getLogger(__name__)


class Agent:
    """One agent in this process.

    ``Agent(config)`` checks and opens everything that can be wrong and starts nothing. ``start`` runs it, ``stop``
    drains and closes it; ``done`` is set when every source has ended.
    """

    def __init__(self, config: AgentConfig) -> None:
        """Open what the configuration names, each part with what exists by then; listeners are added last.

        Raises:
            UserError: the first thing that cannot work, in one line.
        """
        self.config = config
        self.done = threading.Event()
        trusted = TrustedKeys.load(config.trusted_keys)
        self.people = PeopleBook(config.people, config.secret())
        if not self.people.anybody and not config.listen.loopback:
            raise BadInputError(
                f"listen: {config.listen.host} is reachable from other machines; set token_file first, or add people "
                f"to {config.people}"
            )
        self.outputs = Outputs(config.outputs, config.alarms, config.camera_ids, config.device_id, config.state_dir)
        self.clock = DeviceClock(config.state_dir / "clock.json", config.clock)
        configured = open_sources(config, self.clock)
        store = open_store(config.store, create=False, lazy=True, retries=QUICK)
        self._texts = PageTexts(config.page)
        for problem in self._texts.problems:
            log.warning("%s", problem)
        self._state_lock = _lock_state(config.state_dir)
        self._server = ApiServer(config.listen)
        self.audit = AuditLog(
            config.state_dir / "audit",
            config.device_id,
            lines_per_file=config.audit.lines_per_file,
            keep_files=config.audit.keep_files,
        )
        self.recorder = FrameRecorder(
            config.spool,
            config.camera_ids,
            config.device_id,
            journal=config.state_dir / "frames.tally",
            fsync=config.disk.fsync,
            signer=self.audit.signer,
        )
        self.board = ResultBoard(config.camera_ids)
        self._record_settings()
        self.people.on_change = self._record_settings
        self._audit_shipper = AuditShipper(self.audit, store)
        self.swaps = SwapLog(self.audit, self.board, self.recorder.journal, lost_after=config.lease_seconds)
        self.updates = ModelUpdates(config, Registry(store, trusted), self.swaps)
        self.control, self.stager, slots = self.updates.control, self.updates.stager, self.updates.slots
        self.announcements = Announcements(config, self.updates.poll_now)
        times = [(each.source.camera_id, each.clock.now if each.clock else each.source.now) for each in configured]
        self.lots = LotBook(times, config.state_dir / "lots.json")
        self.lots.on_batch = self.audit.record_batch
        self._lot_listener = (
            LotListener(config.lots.mqtt, config.device_id, config.camera_ids, self.lots) if config.lots.mqtt else None
        )
        self.pipeline = FramePipeline(config, configured, self.recorder, slots, self.control.model_ready, self.lots)
        self.cameras = self.pipeline.cameras
        self._maintenance = Maintenance(self.cameras, self.recorder, slots, config, self.pipeline.sampler, self.clock)
        self.balancer = Balancer.of(config, self.control, self.recorder.journal)
        self._images = ImageService(slots, self.pipeline.queue, config)
        self.readiness = Readiness(config.ready_seconds, self.cameras, self.board, self.control)
        heartbeat = HeartbeatReport(
            config, self.recorder.journal, self.board, self.control, self._maintenance, self.audit
        )
        self._heartbeat = HeartbeatSender(store, config.heartbeat_seconds, heartbeat.heartbeat)
        models = ModelReport(config, self.control, self.stager, self.updates.loader, self._maintenance, self.balancer)
        metrics, status = self._metrics(), self._status(models)
        self.app = self._application(status, models, metrics)
        self._add_listeners(metrics)

    def _record_settings(self) -> None:
        """Write into the audit log what differs from what it knows of the configuration and of the people."""
        told, secrets = self.config.flat()
        self.audit.record_settings(self.config.state_dir / "settings.json", {**told, **self.people.told()}, secrets)

    def _metrics(self) -> EdgeMetrics:
        metrics = EdgeMetrics(self.updates.slots)
        metrics.read(partial(sources.frame_metrics, self.recorder.journal, self.board))
        metrics.read(partial(sources.camera_metrics, self.pipeline.cameras))
        metrics.read(partial(sources.slot_metrics, self.updates.slots))
        metrics.read(partial(sources.disk_metrics, self._maintenance))
        metrics.read(partial(sources.health_metrics, self.clock, self.readiness, self.audit))
        metrics.read(partial(sources.release_metrics, self.updates.freshness))
        metrics.read(partial(sources.store_metrics, PROCESS_COUNTS))
        metrics.read(partial(sources.archiver_metrics, self.config.archiver_figures))
        metrics.register(OutputMetrics(self.outputs))
        metrics.register(self._images.requests)
        metrics.register(self.announcements.metrics)
        if self.balancer is not None:
            metrics.register(BalancerMetrics(self.balancer))
        return metrics

    def _status(self, models: ModelReport) -> StatusReport:
        status = StatusReport(self.config, self.cameras, self.recorder.journal, self.board, self.readiness, self.lots)
        status.sections = {
            "model": models.document,
            "spool": self._maintenance.status,
            "clock": self.clock.status,
            "store": self._store_status,
            "audit": partial(audit_status, self.audit, self._audit_shipper),
            "outputs": self.outputs.status,
            "machine": Machine().status,
            "archiver": partial(archiver_status, self.config.archiver_figures),
            "swaps": self.swaps.status,
            "warnings": self._warnings,
            "lots": self._lot_listener.status if self._lot_listener else lambda: None,
        }
        return status

    def _application(self, status: StatusReport, models: ModelReport, metrics: EdgeMetrics) -> FastAPI:
        config, guard = self.config, RoleGuard(self.people)
        admitted = [Depends(guard.admit)]
        pictures, viewers = Pictures(self.control), Viewers(config.listen.viewers)
        metrics.count_viewers(viewers.count)
        app = new_app(config.listen, {infer.PATH: config.infer.max_bytes}, self._texts)
        app.include_router(reading.health_routes(self.readiness, guard))
        app.include_router(reading.routes(status, models, metrics, self.audit, guard))
        app.include_router(cameras.routes(self.board, config.camera_ids, pictures, viewers, admitted))
        app.include_router(
            changes.routes(config.model, self.control, self.stager, self.updates.poller, self.board, admitted)
        )
        app.include_router(lots.routes(self.lots, config.camera_ids, admitted))
        app.include_router(infer.routes(self._images, admitted))
        return app

    def _add_listeners(self, metrics: EdgeMetrics) -> None:
        self.swaps.on_end = metrics.swap
        self._maintenance.chores.append(self.control.persist_pending)
        self._maintenance.on_sealed.append(self.announcements.on_sealed)
        processor, tap = self.pipeline.processor, self.updates.tap
        processor.on_stage.append(metrics.stage)
        processor.on_result += [self.board.report, self.swaps.on_result, tap.observe, self.outputs.on_result]
        processor.on_error.append(tap.failed)
        if self.balancer is not None:
            processor.on_result.append(self.balancer.on_result)
            processor.on_error.append(self.balancer.on_error)
            processor.on_batch.append(self.balancer.on_batch)

    @property
    def url(self) -> str:
        """Of the live page."""
        return self._server.url

    def start(self) -> None:
        """Serve the page, bring back the last good model, then let frames in."""
        self._server.start(self.app)
        for camera in self.cameras:
            recovered = self.recorder.recover(camera.camera_id, camera.source.now())
            if recovered:
                log.info("sealed %d hours of %s that an earlier run left open", recovered, camera.camera_id)
        self.updates.start()
        if self.balancer is not None:
            self.balancer.start()
        self._maintenance.start()  # measures the disk before the first frame comes
        if self._lot_listener is not None:
            self._lot_listener.start()
        self.pipeline.start()
        self._audit_shipper.start()
        self._heartbeat.start()
        self.outputs.start()
        self.announcements.start()

    def pulse(self) -> Pulse:
        """What the frames do now, for the supervisor."""
        counts = self.recorder.journal.counts().values()
        ages = [figures.last_result_age_s for figures in self.board.figures().values()]
        return Pulse(
            captured=sum(count.offered for count in counts),
            in_flight=sum(count.in_flight for count in counts),
            serves=self.control.serving is not None,
            result_age_s=min((age for age in ages if age is not None), default=None),
        )

    def stop(self, drain_seconds: float = 20.0) -> bool:
        """Stop capturing, finish the frames that wait, seal what is over, close everything.

        Returns:
            False when a camera or an inference hung and was left behind.
        """
        self.updates.ask_to_stop()  # first: no model changes any more while the last frames are processed
        if self.balancer is not None:
            self.balancer.stop()
        drained = self.pipeline.stop(drain_seconds)
        self.stager.stop()
        self._maintenance.stop()
        self.announcements.stop()
        if self._lot_listener is not None:
            self._lot_listener.stop()
        self._audit_shipper.stop()
        self._heartbeat.stop()
        self.outputs.stop()
        self._images.close()
        self._server.stop()
        freed = self.updates.slots.close(timeout=5.0)
        self.recorder.close()
        if self._state_lock >= 0:
            os.close(self._state_lock)
            self._state_lock = -1
        return drained and freed

    def _warnings(self) -> list[str]:
        """What works and yet cannot be meant: for the status and the page."""
        serving = self.control.serving
        missing = self.updates.poller.missing if serving is None else None
        alarms = self.config.alarms_without_class(serving.manifest) if serving else []
        stale = self.updates.freshness.problem
        return [*filter(None, [missing, stale]), *alarms]

    def _store_status(self) -> dict[str, str | None]:
        return {"url": self.config.store, "error": self.updates.poller.store_error or self._heartbeat.error}


def run_agent(agent: Agent, on_started: Callable[[], None] = lambda: None) -> bool:
    """Run until SIGTERM or SIGINT, or until every source ended when ``exit_when_done`` is set. Main thread only.

    Args:
        agent: not started.
        on_started: called once the page answers.

    Returns:
        Whether everything was drained; False when something hung and was left behind.
    """
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda _number, _frame: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        agent.start()
        on_started()
        supervisor = Supervisor(agent.pulse, agent.readiness.reasons, agent.config.ready_seconds)
        supervisor.ready()
        while not stop.wait(0.2):
            supervisor.tick()
            if agent.pipeline.finished():
                agent.done.set()
                if agent.config.exit_when_done:
                    break
        supervisor.stopping()
        return agent.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lock_state(folder: Path) -> int:
    """Hold the state folder for this process: two agents on one state would undo each other's work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return lock_folder(folder, f"another agent runs on {folder}; stop it first, or give this one its own state")
    except OSError as error:
        raise BadInputError(f"state: cannot use the folder {folder}: {error.strerror}") from None
