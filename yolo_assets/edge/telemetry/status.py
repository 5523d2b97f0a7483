"""What the agent says about itself: the status document, the heartbeat, readiness. Only reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from yolo_assets import __version__
from yolo_assets.contracts.archiver_figures import read_figures
from yolo_assets.contracts.fleet import CameraHeartbeat, Heartbeat
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.edge.balancing.balancer import Balancer
from yolo_assets.edge.box_clock import BoxClock
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.housekeeping import Housekeeper
from yolo_assets.edge.outputs.hub import Outputs
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.results import CameraFigures, ResultBoard
from yolo_assets.edge.rollout.channel_poller import ChannelPoller
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.history import SwapLog, as_json
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.rollout.staging import Stager
from yolo_assets.edge.telemetry.heartbeat import HeartbeatSender
from yolo_assets.edge.telemetry.machine import Machine
from yolo_assets.edge.telemetry.model_states import model_states
from yolo_assets.spool.frame_journal import FrameCounts


@dataclass(frozen=True)
class StatusParts:
    """Where the status is read from."""

    config: AgentConfig
    cameras: list[CameraThread]
    recorder: FrameRecorder
    board: ResultBoard
    control: ModelControl
    swaps: SwapLog
    stager: Stager
    loader: Loader
    watch: ChannelPoller
    balancer: Balancer | None
    housekeeper: Housekeeper
    clock: BoxClock
    heartbeat: HeartbeatSender
    audit: AuditLog
    audit_shipper: AuditShipper
    outputs: Outputs
    machine: Machine
    started_at: datetime


def status(parts: StatusParts) -> dict[str, Any]:
    """``GET /v1/status``."""
    figures = parts.board.figures()
    counts = parts.recorder.journal.counts()
    reasons = not_ready(parts)
    return {
        "device_id": parts.config.device_id,
        "agent_version": __version__,
        "at": format_time(utc_now()),
        "started_at": format_time(parts.started_at),
        "ready": not reasons,
        "not_ready": reasons,
        "ready_seconds": parts.config.ready_seconds,
        "model": model(parts),
        "cameras": {c.camera_id: _camera(c, counts[c.camera_id], figures[c.camera_id]) for c in parts.cameras},
        "totals": _totals(counts),
        "fps": round(sum(figure.fps for figure in figures.values()), 2),
        "longest_gap": _gap(parts.board),
        "spool": _spool(parts),
        "clock": {"trusted": parts.clock.trusted, "jumps": parts.clock.jumps},
        "store": {
            "url": parts.config.store,
            "error": parts.watch.store_error or parts.heartbeat.error,
        },
        "audit": _audit(parts),
        "outputs": parts.outputs.status(),
        "machine": asdict(parts.machine.load()),
        "archiver": _archiver(parts),
        "swaps": [as_json(swap) for swap in parts.swaps.swaps()],
    }


def model(parts: StatusParts) -> dict[str, Any]:
    """The serving model and everything that decides about the next one."""
    state, serving, working = parts.control.state, parts.control.serving, parts.stager.working
    previous = parts.control.slots.previous
    document: dict[str, Any] = {
        "name": parts.config.model,
        "channel": parts.config.channel,
        "version": serving.identity.model_version if serving else None,
        "release": state.primary.model.release if serving and state.primary.model else None,
        "engine": serving.engine if serving else None,
        "engine_choice": parts.loader.choice.model_dump(mode="json") if parts.loader.choice else None,
        "threads": parts.config.engine.threads,
        "workers": parts.config.engine.workers,
        "classes": list(serving.manifest.class_names) if serving else [],
        "display_names": dict(serving.manifest.display_names) if serving else {},
        "previous": previous.label if previous else None,
        "pinned": state.pinned.model_dump(mode="json") if state.pinned else None,
        "preparing": f"{parts.config.model}/{working.version}" if working else None,
        "last_release": state.primary.release,
        "trial": parts.stager.watcher.figures("primary"),
        "canary": _canary(parts),
        "light": parts.balancer.figures() if parts.balancer else None,
        "shadow": parts.stager.shadow,
        "waiting": _waiting(parts),
        "frozen_until": format_time(until) if (until := parts.stager.frozen_until) else None,
        "quarantine": [entry.model_dump(mode="json") for entry in state.quarantine],
        "loaded": [
            {"version": slot.label, "role": role, "leases": slot.leases} for role, slot in parts.control.slots.loaded()
        ],
        "hung": [
            {"version": hung.label, "holder": hung.holder, "seconds": round(hung.seconds, 1)}
            for hung in parts.housekeeper.hung
        ],
    }
    return {**document, "states": model_states(document)}


def _canary(parts: StatusParts) -> dict[str, Any] | None:
    """The cameras that run a candidate, and how it compares with the model of the others."""
    slot, settings = parts.control.slots.canary, parts.config.canary
    if settings is None:
        return None
    return {
        "cameras": list(settings.cameras),
        "channel": settings.channel,
        "version": slot.label if slot else None,
        "watch": parts.stager.watcher.figures("canary"),
    }


def _waiting(parts: StatusParts) -> str | None:
    waiting = parts.stager.waiting
    return f"{parts.config.model}/{waiting.version}" if waiting else None


def not_ready(parts: StatusParts) -> list[str]:
    """Why the agent is not ready, one sentence each; empty when every live camera had a result just now.

    A camera whose file has ended needs no further result. An agent whose cameras have all ended is ready.
    """
    if parts.control.serving is None:
        return ["no model serves yet"]
    figures = parts.board.figures()
    limit = parts.config.ready_seconds
    reasons = []
    for camera in parts.cameras:
        age = figures[camera.camera_id].last_result_age_s
        if camera.state != "finished" and (age is None or age > limit):
            since = "no result yet" if age is None else f"no result for {age:.0f} s"
            reasons.append(f"camera {camera.camera_id}: {since}{': ' + camera.message if camera.message else ''}")
    return reasons


def heartbeat(parts: StatusParts) -> Heartbeat:
    """What goes to ``fleet/<device_id>.json``."""
    figures, counts = parts.board.figures(), parts.recorder.journal.counts()
    state, serving, previous = parts.control.state, parts.control.serving, parts.control.slots.previous
    return Heartbeat(
        device_id=parts.config.device_id,
        at=utc_now(),
        started_at=parts.started_at,
        agent_version=__version__,
        engine=serving.engine if serving else parts.config.engine.kind,
        model_version=serving.identity.model_version if serving else None,
        previous_version=previous.label if previous else None,
        release=state.primary.model.release if serving and state.primary.model else None,
        channel=parts.config.channel,
        pinned=state.pinned.version if state.pinned else None,
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
        spool_bytes=parts.housekeeper.spool_bytes,
        spool_used=parts.housekeeper.disk.used,
        swaps=tuple(parts.swaps.events()[-20:]),
        audit=parts.audit.head,
    )


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


def _audit(parts: StatusParts) -> dict[str, Any]:
    head = parts.audit.head
    return {
        "log_id": head.log_id,
        "lines": head.sequence,
        "shipped": head.shipped,
        "sha256": head.sha256,
        "trouble": parts.audit.trouble,
        "ship_error": parts.audit_shipper.error,
    }


def _archiver(parts: StatusParts) -> dict[str, Any] | None:
    """How the archiver of this box stands; None where none has run."""
    figures = read_figures(parts.config.archiver_figures)
    if figures is None:
        return None
    age = (utc_now() - figures.last_round_at).total_seconds() if figures.last_round_at else None
    return {
        **figures.model_dump(mode="json", exclude={"counters"}),
        "archives": sum(figures.counters.get("archives", {}).values()),
        "failures": sum(figures.counters.get("failures", {}).values()),
        "last_round_age_s": round(max(0.0, age), 1) if age is not None else None,
    }


def _spool(parts: StatusParts) -> dict[str, Any]:
    disk = parts.housekeeper.disk
    return {
        "path": str(parts.config.spool),
        "bytes": disk.spool_bytes,
        "disk_used": disk.used,
        "stage": disk.stage_name,
        "stage_since": format_time(disk.since),
        "reason": disk.reason,
        "images_withheld": disk.withheld,
        "trouble": parts.recorder.trouble or disk.alarm,
        "sealed_hours": parts.housekeeper.sealed,
        "lifetime": {
            camera: {"captured": row.captured, "processed": row.processed, "dropped": row.dropped}
            for camera, row in parts.recorder.lifetime().items()
        },
    }


def _gap(board: ResultBoard) -> dict[str, Any]:
    gap = board.longest_gap()
    return {**gap, "since": format_time(gap["since"])}
