"""The demo's steps, in order. Each does one thing with the real parts and notes what it measured."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from yolo_assets.archive.restore.writing import restore
from yolo_assets.catalog.read import query
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.model import Interval
from yolo_assets.contracts.names import fleet_key
from yolo_assets.contracts.times import Hour, format_time, parse_time
from yolo_assets.learning.dataset import Dataset, latest_dataset
from yolo_assets.local.demo.loop import GRACE_SECONDS, Loop
from yolo_assets.local.demo.screen import training_shown
from yolo_assets.local.services import DEVICE, WATCH_SECONDS, AgentService, SimulatedLine
from yolo_assets.models.registry import Registry
from yolo_assets.simulator.simulation import simulate
from yolo_assets.spool.hours import list_hours
from yolo_assets.training.candidates import evaluate_candidate

CHANNEL = "stable"


def record_without_model(loop: Loop) -> None:
    """One hour of images, before anybody has a model; archived, catalogued and taken off the disk by the graph."""
    plan = loop.plan
    total = plan.cameras * plan.starter_frames
    with loop.screen.bar("drawing", total) as bar:
        report = simulate(
            loop.settings.spool,
            cameras=plan.cameras,
            hours=1,
            fps=plan.starter_frames / 3600,
            seed=plan.seed,
            start=plan.first,
            truth=loop.settings.home / "truth",
            progress=bar.advance,
        )
    loop.screen.say(f"{report.frames} frames of {plan.cameras} SIMULATED cameras, hour {plan.first}")
    loop.carry()


def make_starter(loop: Loop) -> str:
    """Label, train, evaluate and release the first model; the conditions of the graph carry it from the labels on."""
    hour = loop.plan.first
    loop.ask_and_label(loop.plan.starter_labels, format_time(hour.start), format_time(hour.end))
    with training_shown(loop.screen, loop.settings.home):
        loop.carry()
    trained = loop.graph.latest("trained_weights")
    loop.figures.starter_map50 = _interval(trained)
    version = _released(loop)
    loop.screen.say(
        f"{version} released after {trained['training_s']:.0f} s of training, mAP50 {trained['map50']:.3f} "
        f"on {trained['test_frames']} unseen frames of its own line"
    )
    return version


def start_line(loop: Loop) -> AgentService:
    """The edge agent over the simulated cameras; simulated time runs faster, and the line changes after an hour."""
    plan = loop.plan
    line = SimulatedLine(
        cameras=tuple(f"lineA_cam{number:02d}" for number in range(1, plan.cameras + 1)),
        seed=plan.seed,
        start=plan.agent_start,
        speed=plan.speed,
        fps=plan.fps,
        change_at=plan.change_at,
        truth=loop.settings.home / "truth",
    )
    agent = AgentService(loop.settings, line)
    loop.screen.say(f"live page {agent.url}/  (simulated time runs {plan.speed:.0f} times as fast)")
    return agent


def wait_for_hour(loop: Loop, agent: AgentService, hour: Hour, what: str) -> None:
    """Wait until every camera has sealed an hour, then let the graph take it."""
    with loop.screen.bar(what, loop.plan.hour_seconds) as bar:
        deadline = time.monotonic() + 4 * loop.plan.hour_seconds + 60
        while True:
            status = agent.status()
            clocks = [parse_time(camera["clock"]) for camera in status["cameras"].values()]
            done = (min(clocks) - hour.start).total_seconds() / loop.plan.speed
            bar.to(max(0.0, done), f"{status['fps']:.1f} frames/s")
            spooled = [found for found in list_hours(loop.settings.spool) if found.hour == hour]
            if len(spooled) == loop.plan.cameras and all(found.seal() is not None for found in spooled):
                break
            if time.monotonic() > deadline:
                raise UserError(f"hour {hour} was not sealed in time; see {agent.process.log}")
            time.sleep(0.25)
    loop.carry()
    status = agent.status()
    totals = status["totals"]
    loop.screen.say(
        f"hour {hour} is archived, catalogued and deleted locally; the agent has processed {totals['processed']} frames"
    )
    loop.figures.longest_gap_before = status["longest_gap"]["overall_s"]


def make_better(loop: Loop, agent: AgentService, starter: str) -> str:
    """Sample the changed line, label, train on, pass the gate, promote: while the agent goes on with the old model."""
    change = loop.plan.change_at
    loop.ask_and_label(loop.plan.changed_labels, format_time(change), format_time(Hour.of(change).end))
    with training_shown(loop.screen, loop.settings.home, agent):
        loop.carry()
    verdict = loop.graph.latest("promoted_model")
    loop.screen.say(f"gate: {verdict['verdict']}")
    version = _released(loop)
    if version == starter:
        raise UserError("the gate refused the new model, so nothing was switched; its report is in the Dagster UI")
    return version


def watch_switch(loop: Loop, agent: AgentService, version: str) -> None:
    """What the running agent did when the channel moved, from its own records."""
    deadline = time.monotonic() + 60
    while True:
        found = [swap for swap in _swaps(agent, "channel") if swap["target"] == version]
        if found and found[-1]["lost"] is not None and found[-1]["first_result_at"] is not None:
            break
        if found and found[-1]["result"] in ("refused", "failed"):
            raise UserError(f"the agent did not switch to {version}: {found[-1]['reason']}")
        if time.monotonic() > deadline:
            raise UserError(f"the agent did not switch to {version} within a minute; see {agent.process.log}")
        time.sleep(0.2)
    swap = found[-1]
    pointer = loop.registry.channel(loop.settings.model_name, CHANNEL).pointer()
    assert pointer is not None
    moved, first = pointer.moved_at, parse_time(swap["first_result_at"])
    loop.figures.promotion_to_first_result = (first - moved).total_seconds()
    loop.figures.lost_in_switch = swap["lost"]
    loop.figures.longest_gap = max(swap["longest_gap_seconds"].values(), default=None)
    loop.screen.say(
        f"{version} serves; first result {loop.figures.promotion_to_first_result:.2f} s after the promotion, "
        f"{swap['in_flight_at_switch']} frames were in flight, {swap['lost']} lost"
    )


def watch_window(loop: Loop, agent: AgentService, version: str) -> None:
    """Whether the agent keeps the new model: it compares it with the old one on live frames, and would take it back."""
    deadline = time.monotonic() + WATCH_SECONDS + 60
    while True:
        ended = [swap for swap in _swaps(agent, "watch") if version in (swap["source"], swap["target"])]
        if ended:
            break
        if time.monotonic() > deadline:
            raise UserError(f"the watch window of {version} did not end in time; see {agent.process.log}")
        time.sleep(0.2)
    loop.figures.kept_after_watch = ended[-1]["result"] == "committed"
    loop.screen.say(f"watch window: {ended[-1]['result']}; {ended[-1]['reason']}")


def evaluate_both(loop: Loop, version: str, starter: str) -> None:
    """Both exported files on the changed line alone."""
    comparison = compare_after(loop.registry, version, starter, loop.plan.change_at, loop.settings.home / "training")
    assert comparison.champion is not None
    figures = loop.figures
    figures.changed_frames = comparison.candidate.frames
    figures.new_on_changed, figures.old_on_changed = comparison.candidate.map50, comparison.champion.map50
    figures.gain_on_changed = comparison.map50_gain
    loop.screen.say(
        f"on {comparison.candidate.frames} unseen frames of the changed line: "
        f"{comparison.champion.map50.value:.3f} became {comparison.candidate.map50.value:.3f}"
    )


def compare_after(registry: Registry, new: str, old: str, moment: datetime, work: Path) -> PairedEvaluation:
    """Evaluate the exported files of both models on the test frames captured from ``moment`` on.

    Args:
        registry: where both models lie.
        new: ``<name>/<version>``.
        old: ``<name>/<version>``.
        moment: the change of the line.
        work: local folder.
    """
    dataset = latest_dataset(registry.store)
    if dataset is None:
        raise UserError("there is no dataset to evaluate on; the demo's labels did not arrive")
    items = tuple(
        item
        for item in dataset.manifest.items
        if item.split == "test" and item.captured_at is not None and item.captured_at >= moment
    )
    part = dataset.manifest.model_copy(update={"items": items})
    only_changed = Dataset(hashlib.sha256(part.to_json()).hexdigest(), part)
    return evaluate_candidate(registry, only_changed, new, old, work).comparison


def stop_line(loop: Loop, agent: AgentService) -> None:
    """Stop the agent; its last counts are the run's, and what it left is archived once it is quiet."""
    with agent:
        pass
    # The last heartbeat is sent when every frame has its outcome.
    beat = Heartbeat.from_json(loop.registry.store.get(fleet_key(DEVICE)), fleet_key(DEVICE))
    figures, cameras = loop.figures, beat.cameras.values()
    figures.captured = sum(camera.captured for camera in cameras)
    figures.processed = sum(camera.processed for camera in cameras)
    figures.dropped = dict(sum((Counter(camera.dropped) for camera in cameras), Counter()))
    open_frames = sum(camera.in_flight for camera in cameras)
    if figures.captured != figures.processed + sum(figures.dropped.values()) + open_frames or open_frames:
        raise UserError(f"the agent's frame accounting does not add up: {beat.cameras}")
    time.sleep(GRACE_SECONDS + 0.5)  # an hour without a seal closes when it was quiet for so long
    loop.carry()
    loop.screen.say(
        f"{figures.captured} frames captured = {figures.processed} processed + {figures.dropped or 0} dropped"
    )


def get_everything_back(loop: Loop) -> None:
    """Restore every frame of every camera out of the archive and hold it against what the camera left."""
    figures, out = loop.figures, loop.settings.home / "restored"
    receipts = [loop.archive.receipt(name) for name in loop.archive.names()]
    figures.archives, figures.archived = len(receipts), sum(receipt.frame_count for receipt in receipts)
    figures.bytes_in = sum(receipt.total_size for receipt in receipts)
    figures.archive_bytes = sum(receipt.archive_size for receipt in receipts)
    start, end = min(r.start_time for r in receipts), max(r.end_time for r in receipts)
    for camera in sorted({receipt.camera_id for receipt in receipts}):
        restore(loop.archive, camera, start, end, out, frames_only=True)
    figures.restored, figures.restored_identical = loop.frames.identical(out)
    packed = [run for run in loop.graph.history("hourly_archives") if "bytes_archived" in run]
    seconds = sum(run["seconds"] for run in packed)
    figures.archive_mb_per_s = sum(run["bytes_archived"] for run in packed) / 1e6 / seconds if seconds else None
    figures.reclaimed_bytes = sum(run["bytes"] for run in loop.graph.history("reclaimed_spool"))
    rows = query(
        loop.registry.store, "SELECT count(*) AS archives, sum(frame_count)::BIGINT AS frames FROM archives"
    ).row(0)
    loop.screen.say(f"the catalog has {rows[0]} archives with {rows[1]} frames; all of them restored and compared")


def _swaps(agent: AgentService, trigger: str) -> list[dict[str, Any]]:
    agent.process.check()
    return [swap for swap in agent.status()["swaps"] if swap["trigger"] == trigger]


def _released(loop: Loop) -> str:
    pointer = loop.registry.channel(loop.settings.model_name, CHANNEL).pointer()
    if pointer is None:
        decision = loop.graph.latest("promoted_model").get("verdict", "it was not evaluated")
        raise UserError(f"no model was released: {decision}")
    return pointer.model_version


def _interval(metadata: dict[str, Any]) -> Interval:
    return Interval(value=metadata["map50"], low=metadata["map50_low"], high=metadata["map50_high"])
