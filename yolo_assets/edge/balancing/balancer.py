"""Gives cameras to the light model and takes them back, twice a second; withdraws a light model that fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from yolo_assets.edge.balancing.balance import Balance, Load, demand
from yolo_assets.edge.balancing.effort import Effort, Rates
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.rollout import Light
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.threads import join
from yolo_assets.edge.types import Frame, Result
from yolo_assets.spool.frame_journal import FrameJournal

log = logging.getLogger(__name__)
_EVERY = 0.5
_FAILURES = 5  # frames in a row on which the light model raises, before it is withdrawn
_PROVEN_S = 60.0


class Balancer:
    """One thread; without a light model it only measures.

    Args:
        control: slots and state.
        books: of the frames.
        effort: what workers measured.
        rules: bands and times.
        cameras: of the box, in the order of the configuration.
        tried: those of the canary, which stay with it.
        workers: of the box.
    """

    def __init__(
        self,
        control: ModelControl,
        books: FrameJournal,
        effort: Effort,
        rules: Light,
        cameras: Sequence[str],
        tried: Sequence[str],
        workers: int,
    ) -> None:
        self._control = control
        self._books = books
        self._effort = effort
        self._rates = Rates()
        self._workers = workers
        self._balance = Balance(rules, [c for c in rules.cameras or cameras if c not in tried])
        self._failures = 0
        self._began: tuple[object, float] | None = None
        self.demand = 0.0
        """As last computed, with the cameras as they are now."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="balancer", daemon=True)

    @classmethod
    def of(cls, config: AgentConfig, control: ModelControl, journal: FrameJournal, effort: Effort) -> Balancer | None:
        """The balancer of an agent; None where no light model is configured."""
        if config.light is None:
            return None
        tried = config.canary.cameras if config.canary is not None else ()
        return cls(control, journal, effort, config.light, config.camera_ids, tried, config.engine.workers)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; cameras stay where they are."""
        self._stop.set()
        join(self._thread, 5.0)

    def on_result(self, result: Result) -> None:
        """A frame went well."""
        if self._failures and self._is_light(result.model_version):
            self._failures = 0

    def on_error(self, frame: Frame, label: str, error: BaseException) -> None:
        """A frame did not."""
        if self._is_light(label):
            self._failures += 1

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
        while not self._stop.wait(_EVERY):
            try:
                self._look(time.monotonic())
            except Exception:
                log.exception("balancing failed; it goes on")

    def _look(self, now: float) -> None:
        slots = self._control.slots
        rates = self._rates.look(self._books.counts(), now)
        heavy, light = slots.current, slots.light
        if heavy is None:
            return
        self._effort.forget_all_but(slot.label for _, slot in slots.loaded())
        load = Load(
            rates,
            self._effort.seconds(heavy.label),
            self._effort.seconds(light.label) if light is not None else None,
            self._workers,
        )
        self.demand = demand(load, sorted(slots.light_cameras))
        if light is None or light is heavy:
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
            self._began = (light, float("inf"))  # told once
            self._control.prove_secondary("light", light)
        before = self._balance.eased
        self._balance.look(load, now)
        after = self._balance.eased
        if set(after) != slots.light_cameras:
            slots.assign_light(light, after)
        if after != before:
            log.info(
                "%s has %s now: the frames would take %.0f %% of the workers' time",
                light.label,
                ", ".join(after) or "no camera",
                self.demand * 100,
            )
