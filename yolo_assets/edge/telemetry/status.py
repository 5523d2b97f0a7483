"""What the agent reports about itself: readiness, the status document, the heartbeat. Only reads.

Each part reports its own section; what concerns several parts is put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolo_assets import __version__
from yolo_assets.contracts.archiver_figures import read_figures
from yolo_assets.contracts.fleet import CameraHeartbeat, Heartbeat
from yolo_assets.contracts.signing import fingerprint
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.lots.book import LotBook
from yolo_assets.edge.maintenance import Maintenance
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.results import CameraFigures, ResultBoard
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.spool.frame_journal import FrameCounts, FrameJournal


class Readiness:
    """Whether the agent is ready, and why not."""

    def __init__(
        self, seconds: float, cameras: Sequence[CameraThread], board: ResultBoard, control: ModelControl
    ) -> None:
        self._seconds = seconds
        self._cameras = cameras
        self._board = board
        self._control = control

    def reasons(self) -> list[str]:
        """Why the agent is not ready, one sentence each; empty when every live camera had a result just now.

        A camera whose file has ended, or that has no new picture, needs no further result. An agent whose cameras have
        all ended is ready.
        """
        if self._control.serving is None:
            return ["no model serves yet"]
        figures = self._board.figures()
        reasons: list[str] = []
        for camera in self._cameras:
            age = figures[camera.camera_id].last_result_age_s
            if camera.state not in ("finished", "waiting") and (age is None or age > self._seconds):
                since = "no result yet" if age is None else f"no result for {age:.0f} s"
                reasons.append(f"camera {camera.camera_id}: {since}{': ' + camera.message if camera.message else ''}")
        return reasons


class StatusReport:
    """``GET /v1/status``. Parts add their sections; the document is made when it is asked for."""

    def __init__(
        self,
        config: AgentConfig,
        cameras: Sequence[CameraThread],
        journal: FrameJournal,
        board: ResultBoard,
        readiness: Readiness,
        lots: LotBook,
    ) -> None:
        self._config = config
        self._cameras = cameras
        self._journal = journal
        self._board = board
        self._readiness = readiness
        self._lots = lots
        self.started_at = utc_now()
        self.sections: dict[str, Callable[[], Any]] = {}
        """What each part reports, by the name of its section."""

    def document(self) -> dict[str, Any]:
        """All that the page shows."""
        figures, counts, reasons = self._board.figures(), self._journal.counts(), self._readiness.reasons()
        gap = self._board.longest_gap()
        return {
            "device_id": self._config.device_id,
            "agent_version": __version__,
            "at": format_time(utc_now()),
            "started_at": format_time(self.started_at),
            "ready": not reasons,
            "not_ready": reasons,
            "ready_seconds": self._config.ready_seconds,
            "cameras": {
                camera.camera_id: {
                    **_camera(camera, counts[camera.camera_id], figures[camera.camera_id]),
                    "lot": lot_status(self._lots, camera.camera_id),
                }
                for camera in self._cameras
            },
            "totals": _totals(counts),
            "fps": round(sum(figure.fps for figure in figures.values()), 2),
            "longest_gap": {**gap, "since": format_time(gap["since"])},
            **{name: report() for name, report in self.sections.items()},
        }


class HeartbeatReport:
    """What goes to ``fleet/<device_id>.json``."""

    def __init__(
        self,
        config: AgentConfig,
        journal: FrameJournal,
        board: ResultBoard,
        control: ModelControl,
        maintenance: Maintenance,
        audit: AuditLog,
    ) -> None:
        self._config = config
        self._journal = journal
        self._board = board
        self._control = control
        self._maintenance = maintenance
        self._audit = audit
        self._started_at = utc_now()

    def heartbeat(self) -> Heartbeat:
        """As of now."""
        figures, counts = self._board.figures(), self._journal.counts()
        state, serving, previous = self._control.state, self._control.serving, self._control.slots.previous
        return Heartbeat(
            device_id=self._config.device_id,
            at=utc_now(),
            started_at=self._started_at,
            agent_version=__version__,
            engine=serving.engine if serving else self._config.engine.kind,
            model_version=serving.identity.model_version if serving else None,
            previous_version=previous.label if previous else None,
            release=state.primary.model.release if serving and state.primary.model else None,
            channel=self._config.channel,
            pinned=state.pinned.version if state.pinned else None,
            page=self._config.listen.page,
            cameras={
                camera: CameraHeartbeat(
                    captured=count.captured,
                    processed=count.processed,
                    dropped=dict(count.dropped),
                    in_flight=count.in_flight,
                    last_result_at=figures[camera].last_result_at,
                )
                for camera, count in counts.items()
            },
            fps=round(sum(figure.fps for figure in figures.values()), 2),
            spool_bytes=self._maintenance.spool_bytes,
            spool_used=self._maintenance.disk.used,
            swaps=tuple(self._control.swaps.events()[-20:]),
            audit=self._audit.signed_head,
        )


def audit_status(audit: AuditLog, shipper: AuditShipper) -> dict[str, Any]:
    """The section ``audit``."""
    head = audit.head
    return {
        "log_id": head.log_id,
        "lines": head.sequence,
        "shipped": head.shipped,
        "sha256": head.sha256,
        "trouble": audit.trouble,
        "fingerprint": fingerprint(audit.signer.private.public_key()),
        "public_key": audit.signer.public_pem().decode(),
        "ship_error": shipper.error,
    }


def lot_status(lots: LotBook, camera_id: str) -> dict[str, Any] | None:
    """What is in front of a camera now; None where nobody gave it a lot."""
    change = lots.current(camera_id)
    return change.model_dump(mode="json") if change is not None else None


def archiver_status(path: Path) -> dict[str, Any] | None:
    """The section ``archiver``: what the archiver of this device did; None where none has run."""
    figures = read_figures(path)
    if figures is None:
        return None
    age = (utc_now() - figures.last_round_at).total_seconds() if figures.last_round_at else None
    return {
        **figures.model_dump(mode="json", exclude={"counters"}),
        "archives": sum(figures.counters.get("archives", {}).values()),
        "failures": sum(figures.counters.get("failures", {}).values()),
        "last_round_age_s": round(max(0.0, age), 1) if age is not None else None,
    }


def _camera(camera: CameraThread, counts: FrameCounts, figures: CameraFigures) -> dict[str, Any]:
    return {
        "kind": camera.kind,
        "simulated": camera.kind == "simulated",
        "state": camera.state,
        **camera.details(),
        "restarts": camera.restarts,
        **_counts(counts),
        "fps": figures.fps,
        "latency_ms_p50": figures.latency_ms_p50,
        "latency_ms_p99": figures.latency_ms_p99,
        "inference_ms_p50": figures.inference_ms_p50,
        "last_result_at": format_time(figures.last_result_at) if figures.last_result_at else None,
        "last_result_age_s": round(figures.last_result_age_s, 3) if figures.last_result_age_s is not None else None,
        "longest_gap_s": figures.longest_gap_s,
        "clock": format_time(camera.source.now()),
    }


def _counts(counts: FrameCounts) -> dict[str, Any]:
    return {
        "captured": counts.captured,
        "processed": counts.processed,
        "dropped": dict(counts.dropped),
        "in_flight": counts.in_flight,
        "balanced": counts.balanced,
    }


def _totals(counts: dict[str, FrameCounts]) -> dict[str, Any]:
    dropped: dict[str, int] = {}
    for count in counts.values():
        for reason, number in count.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + number
    total = FrameCounts(
        captured=sum(count.captured for count in counts.values()),
        processed=sum(count.processed for count in counts.values()),
        dropped=dropped,
        in_flight=sum(count.in_flight for count in counts.values()),
    )
    return _counts(total)
