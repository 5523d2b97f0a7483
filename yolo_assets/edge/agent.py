"""Composes the agent, starts it in an order in which nothing is lost, and stops it in the reverse.

Belongs here: wiring and life cycle. Does not belong here: any decision about frames or models.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from yolo_assets.contracts.archiver_figures import read_figures
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.api.app import ApiParts, build_app
from yolo_assets.edge.api.server import ApiServer
from yolo_assets.edge.capture import CameraThread
from yolo_assets.edge.config import AgentConfig
from yolo_assets.edge.control import ModelControl
from yolo_assets.edge.housekeeping import HeartbeatSender, Housekeeper
from yolo_assets.edge.late_store import open_late, store_folder
from yolo_assets.edge.ledger import Ledger
from yolo_assets.edge.loading import LoadedModel, Loader
from yolo_assets.edge.metrics import EdgeMetrics, Sources
from yolo_assets.edge.model_cache import ModelCache
from yolo_assets.edge.queue import FrameQueue
from yolo_assets.edge.restart import restore
from yolo_assets.edge.results import ResultBoard
from yolo_assets.edge.slots import SlotManager
from yolo_assets.edge.sources.open import open_sources
from yolo_assets.edge.staging import Notice, Stager
from yolo_assets.edge.staging_parts import StagingParts
from yolo_assets.edge.state import ModelRef, StateFile
from yolo_assets.edge.status import StatusParts, heartbeat, model, not_ready, status
from yolo_assets.edge.swaps import SwapLog
from yolo_assets.edge.triggers import ChannelWatch
from yolo_assets.edge.truth import TruthWriter
from yolo_assets.edge.verdict import judge
from yolo_assets.edge.worker import Sampler, Worker, WorkerParts
from yolo_assets.spool.files import lock_folder

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
        sources = open_sources(config)
        store = open_late(config.store)
        self.done = threading.Event()
        self._state_lock = _lock_state(config.state_dir)
        self._server = ApiServer(config.listen)
        self.ledger = Ledger(config.spool, config.camera_ids, config.device_id)
        truth = TruthWriter(config)

        self.board = ResultBoard(config.camera_ids)
        slots: SlotManager[LoadedModel] = SlotManager()
        self.swaps = SwapLog(
            config.state_dir / "audit.ndjson", self.board, self.ledger.books, lost_after=config.lease_seconds
        )
        self._housekeeper: Housekeeper
        self._metrics = EdgeMetrics(
            Sources(
                self.ledger.books,
                self.board,
                slots,
                lambda: self._housekeeper.spool_bytes,
                lambda: read_figures(config.archiver_figures),
            )
        )
        self.swaps.on_end = self._metrics.swap
        self.control = ModelControl(slots, StateFile(config.state_dir / "state.json"), self.swaps)
        loader = Loader(config.engine)
        self._staging = StagingParts(
            store=store,
            name=config.model,
            cache=ModelCache(config.state_dir / "models", trusted),
            loader=loader,
            control=self.control,
            swaps=self.swaps,
            on_freed=self._metrics.forget_slot,
        )
        self.stager = Stager(self._staging)
        self.watch = ChannelWatch(
            store,
            config.model,
            config.channel,
            trusted,
            poll_seconds=config.poll_seconds,
            folder=store_folder(config.store),
            on_pointer=self._on_pointer,
            on_refused=self._on_bad_pointer,
        )
        self._queue = FrameQueue(config.camera_ids, config.queue_size)
        self.cameras = [CameraThread(s, self._queue, self.ledger, self.control.model_ready) for s in sources]
        parts = WorkerParts(
            queue=self._queue,
            slots=slots,
            ledger=self.ledger,
            sampler=Sampler(config.sampling),
            truth=truth,
            metrics=self._metrics,
            on_result=(self.board.report, self.swaps.on_result),
            device_id=config.device_id,
            jpeg_quality=config.sampling.jpeg_quality,
            batch_id=config.batch_id,
        )
        self._workers = [Worker(parts, number) for number in range(config.engine.workers)]
        self._housekeeper = Housekeeper(self.cameras, self.ledger, slots, config.spool, config.lease_seconds)
        self._heartbeat = HeartbeatSender(store, config.heartbeat_seconds, lambda: heartbeat(self._status_parts))
        self._status_parts = StatusParts(
            config=config,
            cameras=self.cameras,
            ledger=self.ledger,
            board=self.board,
            control=self.control,
            swaps=self.swaps,
            stager=self.stager,
            loader=loader,
            watch=self.watch,
            housekeeper=self._housekeeper,
            heartbeat=self._heartbeat,
            started_at=utc_now(),
        )
        self._app = build_app(
            ApiParts(
                status=lambda: status(self._status_parts),
                models=lambda: model(self._status_parts),
                not_ready=lambda: not_ready(self._status_parts),
                board=self.board,
                control=self.control,
                swaps=self.swaps,
                want=self.stager.want,
                look_now=self.watch.look_now,
                metrics=self._metrics,
                camera_ids=tuple(config.camera_ids),
                token=token,
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
            recovered = self.ledger.recover(camera.camera_id, camera.source.now())
            if recovered:
                log.info("sealed %d hours of %s that an earlier run left open", recovered, camera.camera_id)
        restore(self._staging)
        self.stager.start()
        self.watch.start()
        for worker in self._workers:
            worker.start()
        for camera in self.cameras:
            camera.start()
        self._housekeeper.start()
        self._heartbeat.start()

    def finished(self) -> bool:
        """Whether every source has ended and every frame has its outcome."""
        return all(camera.state == "finished" for camera in self.cameras) and not self.ledger.books.in_flight()

    def stop(self, drain_seconds: float = 20.0) -> bool:
        """Stop capturing, finish the frames that wait, seal what is over, let go of everything.

        Returns:
            False when a camera or an inference hung and was left behind.
        """
        self.watch.stop()
        for camera in self.cameras:
            camera.stop()
        ended = [camera.join(5.0) for camera in self.cameras]
        self._queue.close()
        ended += [worker.join(drain_seconds) for worker in self._workers]
        for frame in self._queue.take_all():
            self.ledger.drop(frame, "stopped")
        self.stager.stop()
        self._housekeeper.stop()
        self._heartbeat.stop()
        self._server.stop()
        ended.append(self.control.slots.close(timeout=5.0))
        self.ledger.close()
        if self._state_lock >= 0:
            os.close(self._state_lock)
            self._state_lock = -1
        return all(ended)

    def _on_pointer(self, pointer: ChannelPointer) -> None:
        serving = self.control.serving
        verdict = judge(self.control.state, serving.ref if serving else None, pointer)
        if verdict.action == "stage":
            self.stager.want(
                Notice(pointer.version, pointer.manifest_sha256, pointer.release, "channel", verdict.reason)
            )
        elif verdict.action == "adopt":
            self.control.adopt(
                ModelRef(
                    name=pointer.name,
                    version=pointer.version,
                    manifest_sha256=pointer.manifest_sha256,
                    release=pointer.release,
                )
            )
        elif verdict.action == "refuse" and self.control.tell_once(verdict.reason):
            self.control.refuse("channel", pointer.model_version, verdict.reason, pointer.release)

    def _on_bad_pointer(self, reason: str) -> None:
        self.control.refuse("channel", f"{self.config.model}/?", reason, None)


def run_agent(agent: Agent, on_started: Callable[[], None] = lambda: None) -> bool:
    """Run until SIGTERM or SIGINT, or until every source ended when ``exit_when_done`` is set. Main thread only.

    Args:
        agent: not started.
        on_started: called once the page answers.

    Returns:
        Whether everything was drained; False when something hung and was left behind.
    """
    wanted = threading.Event()
    before = {number: signal.signal(number, lambda *_: wanted.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        agent.start()
        on_started()
        while not wanted.wait(0.2):
            if agent.finished():
                agent.done.set()
                if agent.config.exit_when_done:
                    break
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
