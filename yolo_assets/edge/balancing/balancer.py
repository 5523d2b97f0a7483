"""Moves cameras to the light model and back, twice a second, and ends a light model that fails.

Belongs here: the thread, and the metrics of what it does. Does not belong here: the decision (``balance``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from yolo_assets.edge.balancing.balance import FrameCosts, FrameRates, InferenceLoad, LightBalance, demand
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.rollout import Light
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.types import Frame, Result
from yolo_assets.runtime.threads import join
from yolo_assets.spool.frame_journal import FrameJournal

log = logging.getLogger(__name__)
_PERIOD_S = 0.5
_FAILURES = 5  # frames in a row on which the light model raises, before it is withdrawn
_PROVEN_S = 60.0


class Balancer:
    """One thread; without a light model it only measures.

    Args:
        control: slots and state.
        journal: frame accounting of the cameras.
        rules: limits and times.
        cameras: of the device, in the order of the configuration.
        canary_cameras: stay with the canary.
        workers: of the device.
    """

    def __init__(
        self,
        control: ModelControl,
        journal: FrameJournal,
        rules: Light,
        cameras: Sequence[str],
        canary_cameras: Sequence[str],
        workers: int,
    ) -> None:
        self._control = control
        self._journal = journal
        self._costs = FrameCosts()
        self._rates = FrameRates()
        self._workers = workers
        self._balance = LightBalance(rules, [c for c in rules.cameras or cameras if c not in canary_cameras])
        self._failures = 0
        self._began: tuple[object, float] | None = None
        self.demand = 0.0
        """As last computed, with the cameras as they are now."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="balancer", daemon=True)

    @classmethod
    def of(cls, config: AgentConfig, control: ModelControl, journal: FrameJournal) -> Balancer | None:
        """The balancer of an agent; None where no light model is configured."""
        if config.light is None:
            return None
        tried = config.canary.cameras if config.canary is not None else ()
        return cls(control, journal, config.light, config.camera_ids, tried, config.engine.workers)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; cameras keep the models that they have."""
        self._stop.set()
        join(self._thread, 5.0)

    def on_result(self, result: Result) -> None:
        """Take note of a frame that was inferred."""
        if self._failures and self._is_light(result.model_version):
            self._failures = 0

    def on_error(self, frame: Frame, label: str, error: BaseException) -> None:
        """Take note of a frame on which a model raised."""
        if self._is_light(label):
            self._failures += 1

    def on_batch(self, label: str, seconds: float, frames: int) -> None:
        """Take note of how long a worker was busy with frames of one model."""
        self._costs.add(label, seconds, frames)

    def figures(self) -> dict[str, Any]:
        """For the status."""
        slots = self._control.slots
        return {
            "version": slots.light.label if slots.light else None,
            "cameras": sorted(slots.light_cameras),
            "demand": round(self.demand, 3),
        }

    def _is_light(self, label: str) -> bool:
        light, current = self._control.slots.light, self._control.slots.current
        return light is not None and light is not current and light.label == label

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            try:
                self._update(time.monotonic())
            except Exception:
                log.exception("balancing failed; it continues")

    def _update(self, now: float) -> None:
        slots = self._control.slots
        rates = self._rates.update(self._journal.counts(), now)
        primary, light = slots.current, slots.light
        if primary is None:
            return
        self._costs.forget_all_but(slot.label for _, slot in slots.loaded())
        load = InferenceLoad(
            rates,
            self._costs.seconds(primary.label),
            self._costs.seconds(light.label) if light is not None else None,
            self._workers,
        )
        self.demand = demand(load, sorted(slots.light_cameras))
        if light is None or light is primary:
            self._balance.reset()
            self._began = None
            return
        if self._failures >= _FAILURES:
            self._failures = 0
            self._control.end_secondary("light", f"it failed on {_FAILURES} frames in a row", failed=light)
            return
        if self._began is None or self._began[0] is not light:
            self._began = (light, now)
        elif now - self._began[1] >= _PROVEN_S:
            self._began = (light, float("inf"))  # once
            self._control.prove_secondary("light", light)
        before = self._balance.light_cameras
        self._balance.update(load, now)
        after = self._balance.light_cameras
        if frozenset(after) != slots.light_cameras:
            slots.assign_light(light, after)
        if after != before:
            log.info(
                "%s serves %s now: the frames would take %.0f %% of the workers' time",
                light.label,
                ", ".join(after) or "no camera",
                self.demand * 100,
            )


class BalancerMetrics(Collector):
    """The balance in Prometheus' terms, read at scrape time."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def collect(self) -> Iterator[Metric]:
        """The series."""
        figures = self._balancer.figures()
        yield GaugeMetricFamily(
            "yolo_edge_demand_ratio",
            "Share of the workers' time that all frames take, those dropped for lack of it included.",
            value=figures["demand"],
        )
        yield GaugeMetricFamily("yolo_edge_light_cameras", "Cameras on the light model.", value=len(figures["cameras"]))
