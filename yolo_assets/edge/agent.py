"""Composes the agent, starts it in an order in which nothing is lost, and stops it in the reverse.

Belongs here: wiring and life cycle. Does not belong here: any decision about frames or models.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from pathlib import Path

from yolo_assets.contracts.archiver_figures import read_figures
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.edge.balancing.balancer import Balancer, BalancerMetrics
from yolo_assets.edge.box_clock import BoxClock
from yolo_assets.edge.cameras.open import open_sources
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.housekeeping import Housekeeper
from yolo_assets.edge.http.app import build_app
from yolo_assets.edge.http.parts import ApiParts
from yolo_assets.edge.http.server import ApiServer
from yolo_assets.edge.image_service import ImageService
from yolo_assets.edge.outputs.hub import OutputMetrics, Outputs
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.pipeline.sampling import Sampler
from yolo_assets.edge.pipeline.truth import TruthWriter
from yolo_assets.edge.pipeline.worker import FrameProcessor, Worker
from yolo_assets.edge.rollout.cache import ModelCache
from yolo_assets.edge.rollout.channel_poller import ChannelPoller
from yolo_assets.edge.rollout.controller import SECONDARY_ROLES, ModelControl
from yolo_assets.edge.rollout.decision import follow
from yolo_assets.edge.rollout.history import SwapLog
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.rollout.prepare import Preparer
from yolo_assets.edge.rollout.restart import restore
from yolo_assets.edge.rollout.staging import Stager
from yolo_assets.edge.rollout.state import StateFile
from yolo_assets.edge.rollout.tap import LiveTap
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import Role, SlotManager
from yolo_assets.edge.supervision import Pulse
from yolo_assets.edge.telemetry.heartbeat import HeartbeatSender
from yolo_assets.edge.telemetry.machine import Machine
from yolo_assets.edge.telemetry.metrics import EdgeMetrics, Sources
from yolo_assets.edge.telemetry.status import StatusParts, heartbeat, model, not_ready, status
from yolo_assets.models.channels import Channel
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.files import lock_folder
from yolo_assets.storage.open import folder_of, open_store
from yolo_assets.storage.retrying import QUICK

log = logging.getLogger(__name__)


class Agent:
    """One agent in this process.

    ``Agent(config)`` checks and opens everything that can be wrong and starts nothing. ``start`` runs it, ``stop``
    drains and closes it; ``done`` is set when every source has ended.
    """

    def __init__(self, config: AgentConfig) -> None:
        """Open what the configuration names.

        Raises:
            UserError: the first thing that cannot work, in one line.
        """
        self.config = config
        trusted = TrustedKeys.load(config.trusted_keys)
        token = config.secret()
        if token is None and not config.listen.loopback:
            raise BadInputError(f"listen: {config.listen.host} is reachable from other machines; set token_file first")
        self.outputs = Outputs(config.outputs, config.alarms, config.camera_ids, config.device_id, config.state_dir)
        self.clock = BoxClock(config.state_dir / "clock.json", config.clock)
        sources = open_sources(config, self.clock)
        store = open_store(config.store, create=False, lazy=True, retries=QUICK)
        registry = Registry(store, trusted)
        self.done = threading.Event()
        self._state_lock = _lock_state(config.state_dir)
        self._server = ApiServer(config.listen)
        self.recorder = FrameRecorder(
            config.spool,
            config.camera_ids,
            config.device_id,
            journal=config.state_dir / "frames.tally",
            fsync=config.disk.fsync,
        )
        sampler = Sampler(config.sampling, config.disk.fewer)
        truth = TruthWriter(config)

        self.board = ResultBoard(config.camera_ids)
        slots: SlotManager[LoadedModel] = SlotManager()
        self.audit = AuditLog(
            config.state_dir / "audit",
            config.device_id,
            lines_per_file=config.audit.lines_per_file,
            keep_files=config.audit.keep_files,
        )
        self._audit_shipper = AuditShipper(self.audit, store)
        self.swaps = SwapLog(self.audit, self.board, self.recorder.journal, lost_after=config.lease_seconds)
        self._housekeeper: Housekeeper
        self._metrics = EdgeMetrics(
            Sources(
                self.recorder.journal,
                self.board,
                slots,
                lambda: self._housekeeper.disk,
                lambda: read_figures(config.archiver_figures),
                self.audit,
                lambda: not_ready(self._status_parts),
                lambda: self.clock.trusted,
            )
        )
        self.swaps.on_end = self._metrics.swap
        self._metrics.register(OutputMetrics(self.outputs))
        self.control = ModelControl(slots, StateFile(config.state_dir / "state.json"), self.swaps)
        self._live = LiveTap()
        loader = Loader(config.engine, config.state_dir / "engines")
        cache = ModelCache(config.state_dir / "models", registry)
        self._preparer = Preparer(config, cache, loader, self.control, self._live)
        self.stager = Stager(config, self._preparer, self.control)
        self.watch = self._follow("primary", registry.channel(config.model, config.channel))
        self._watches = [self.watch] + [
            self._follow(role, registry.channel(config.model, section.channel))
            for role in SECONDARY_ROLES
            if (section := config.secondary(role)) is not None
        ]
        self.balancer: Balancer | None = None
        if config.light is not None:
            tried = config.canary.cameras if config.canary is not None else ()
            self.balancer = Balancer(
                self.control,
                self.recorder.journal,
                config.light,
                config.camera_ids,
                tried,
                config.engine.workers,
            )
            self._metrics.register(BalancerMetrics(self.balancer))
        self._queue = FrameQueue(config.camera_ids, config.queue_size)
        self.cameras = [CameraThread(s, self._queue, self.recorder, self.control.model_ready) for s in sources]
        self.processor = processor = FrameProcessor(config, self._queue, slots, self.recorder, sampler, truth)
        processor.on_stage.append(self._metrics.stage)
        processor.on_result += [self.board.report, self.swaps.on_result, self._live.observe, self.outputs.on_result]
        processor.on_error.append(self._live.failed)
        if self.balancer is not None:
            processor.on_result.append(self.balancer.on_result)
            processor.on_error.append(self.balancer.on_error)
            processor.on_batch.append(self.balancer.on_batch)
        self._workers = [Worker(processor, number) for number in range(config.engine.workers)]
        self._housekeeper = Housekeeper(
            self.cameras, self.recorder, slots, config, sampler, self.clock, (self.control.persist_pending,)
        )
        self._heartbeat = HeartbeatSender(store, config.heartbeat_seconds, lambda: heartbeat(self._status_parts))
        self._status_parts = StatusParts(
            config=config,
            cameras=self.cameras,
            recorder=self.recorder,
            board=self.board,
            control=self.control,
            swaps=self.swaps,
            stager=self.stager,
            loader=loader,
            watch=self.watch,
            balancer=self.balancer,
            housekeeper=self._housekeeper,
            clock=self.clock,
            heartbeat=self._heartbeat,
            audit=self.audit,
            audit_shipper=self._audit_shipper,
            outputs=self.outputs,
            machine=Machine(),
            started_at=utc_now(),
        )
        self._images = ImageService(slots, lambda: len(self._queue), config.infer, config.device_id, config.batch_id)
        self._metrics.register(self._images.requests)
        self._app = build_app(
            ApiParts(
                status=lambda: status(self._status_parts),
                models=lambda: model(self._status_parts),
                not_ready=lambda: not_ready(self._status_parts),
                board=self.board,
                control=self.control,
                audit=self.audit,
                want=self.stager.request,
                look_now=self.watch.poll_now,
                metrics=self._metrics,
                images=self._images,
                camera_ids=tuple(config.camera_ids),
                token=token,
                listen=config.listen,
            )
        )
        self._token = token is not None

    @property
    def url(self) -> str:
        """Of the live page."""
        return self._server.url

    @property
    def has_token(self) -> bool:
        """Whether the model can be changed over the API."""
        return self._token

    def start(self) -> None:
        """Serve the page, bring back the last good model, then let frames in."""
        self._server.start(self._app)
        for camera in self.cameras:
            recovered = self.recorder.recover(camera.camera_id, camera.source.now())
            if recovered:
                log.info("sealed %d hours of %s that an earlier run left open", recovered, camera.camera_id)
        restore(self.control, self._preparer)
        self.stager.start()
        for watch in self._watches:
            watch.start()
        if self.balancer is not None:
            self.balancer.start()
        self._housekeeper.start()  # looks at the disk before the first frame comes
        for worker in self._workers:
            worker.start()
        for camera in self.cameras:
            camera.start()
        self._audit_shipper.start()
        self._heartbeat.start()
        self.outputs.start()

    def not_ready(self) -> list[str]:
        """Why the agent is not ready; empty when every live camera had a result just now."""
        return not_ready(self._status_parts)

    def pulse(self) -> Pulse:
        """How the line is, for the supervisor."""
        counts = self.recorder.journal.counts().values()
        ages = [figures.last_result_age_s for figures in self.board.figures().values()]
        return Pulse(
            captured=sum(count.offered for count in counts),
            in_flight=sum(count.in_flight for count in counts),
            serves=self.control.serving is not None,
            result_age_s=min((age for age in ages if age is not None), default=None),
        )

    def finished(self) -> bool:
        """Whether every source has ended and every frame has its outcome."""
        return all(camera.state == "finished" for camera in self.cameras) and not self.recorder.journal.in_flight()

    def stop(self, drain_seconds: float = 20.0) -> bool:
        """Stop capturing, finish the frames that wait, seal what is over, let go of everything.

        Returns:
            False when a camera or an inference hung and was left behind.
        """
        self.stager.ask_to_stop()  # first: no model changes any more while the last frames are judged
        for watch in self._watches:
            watch.stop()
        if self.balancer is not None:
            self.balancer.stop()
        for camera in self.cameras:
            camera.stop()
        ended = [camera.join(5.0) for camera in self.cameras]
        self._queue.close()
        ended += [worker.join(drain_seconds) for worker in self._workers]
        for frame in self._queue.take_all():
            self.recorder.drop(frame, "stopped")
        self.stager.stop()
        self._housekeeper.stop()
        self._audit_shipper.stop()
        self._heartbeat.stop()
        self.outputs.stop()
        self._images.close()
        self._server.stop()
        ended.append(self.control.slots.close(timeout=5.0))
        self.recorder.close()
        if self._state_lock >= 0:
            os.close(self._state_lock)
            self._state_lock = -1
        return all(ended)

    def _follow(self, role: Role, channel: Channel) -> ChannelPoller:
        return ChannelPoller(
            channel,
            poll_seconds=self.config.poll_seconds,
            folder=folder_of(self.config.store),
            on_pointer=partial(follow, self.control, self.stager.request, role),
            on_refused=self._on_bad_pointer,
        )

    def _on_bad_pointer(self, reason: str) -> None:
        self.control.refuse("channel", f"{self.config.model}/?", reason, None)


def _lock_state(folder: Path) -> int:
    """Hold the state folder for this process: two agents on one state would undo each other's work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return lock_folder(folder, f"another agent runs on {folder}; stop it first, or give this one its own state")
    except OSError as error:
        raise BadInputError(f"state: cannot use the folder {folder}: {error.strerror}") from None
