"""Watches over new models on live frames: commits what does well, takes back what does not, by itself.

One thread for the model on trial and one for the canary, both at low priority. A watch ends by itself when its model is
not in its place any more: a rollback, a newer release and the end of a canary need not know of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.config.rollout import WatchWindow
from yolo_assets.edge.rollout import beside
from yolo_assets.edge.rollout.background import lower_for_good
from yolo_assets.edge.rollout.control import ModelControl
from yolo_assets.edge.rollout.live import LiveTap
from yolo_assets.edge.rollout.swaps import SwapLog
from yolo_assets.edge.rollout.trial import Pace, Trial
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.threads import join

log = logging.getLogger(__name__)
_TICK = 0.1
_HANGS = 5.0  # seconds of one inference that are a hang at the earliest


class Watcher:
    """Begins and ends watches. ``stop`` counts a clean end: only what the process did not survive is an attempt."""

    def __init__(
        self, control: ModelControl, swaps: SwapLog, live: LiveTap, limits: WatchWindow, lease_seconds: float
    ) -> None:
        self._control = control
        self._swaps = swaps
        self._live = live
        self._limits = limits
        self._hangs_after = min(lease_seconds, max(_HANGS, limits.seconds / 2))
        self._cameras: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._watches: dict[str, _Watch] = {}

    def on_trial(self) -> None:
        """Watch the model that the state says is on trial, if there is one and the previous one is warm."""
        slots, trial = self._control.slots, self._control.state.trial
        if trial is None or slots.current is None:
            return
        subject, reference = slots.current, slots.previous
        if reference is None:
            attempt = self._swaps.begin("watch")
            if not self._control.keep(subject, attempt, "there is no other model to compare with or to go back to"):
                self._swaps.cancel(attempt)
            return
        self._begin("trial", subject, reference, None, trial)

    def on_canary(self, cameras: tuple[str, ...]) -> None:
        """Compare the canary with the model of the other cameras, as long as both are in their places.

        Not with one that is on trial itself: a good canary would look bad beside it. It begins when the trial is over.
        """
        slots, self._cameras = self._control.slots, cameras
        state = self._control.state
        if slots.canary is not None and slots.current is not None and state.trial is None:
            self._begin("canary", slots.canary, slots.current, frozenset(cameras), state.canary)

    def figures(self, kind: str) -> dict[str, Any] | None:
        """Of ``trial`` or ``canary``, for the status; None when nothing of that kind is watched."""
        watch = self._watches.get(kind)
        return watch.figures() if watch is not None and watch.running else None

    def stop(self) -> None:
        """End all watches."""
        self._stop.set()
        for watch in list(self._watches.values()):
            watch.join()

    def forgive(self) -> None:
        """After a clean stop: what was on trial starts its trial again, and this start is not held against it."""
        state = self._control.state
        fields = {
            kind: known.model_copy(update={"attempts": max(0, known.attempts - 1)})
            for kind, known in (("trial", state.trial), ("canary", state.canary), ("light", state.light))
            if known is not None
        }
        if fields:
            self._control.change(**fields)

    def _begin(
        self,
        kind: str,
        subject: Slot[LoadedModel],
        reference: Slot[LoadedModel],
        cameras: frozenset[str] | None,
        known: ReleasedModel | None,
    ) -> None:
        expected = known.expected if known is not None else None
        if expected is not None and expected.against != reference.label:
            expected = None  # the gate compared it with another one than serves here
        tap = self._live.open(subject.label, cameras)
        trial = Trial(subject, reference, tap, self._live.milliseconds(reference.label), self._limits, expected)
        watch = _Watch(self, trial, kind, self._limits.seconds)
        self._watches[kind] = watch
        watch.start()

    def in_place(self, kind: str, trial: Trial) -> bool:
        """Whether the watch still has its subject: the agent runs, and both models are where they were."""
        slots = self._control.slots
        if self._stop.is_set():
            return False
        if kind == "canary":
            return slots.canary is trial.subject and slots.current is trial.reference
        return slots.current is trial.subject and slots.previous is trial.reference

    def passed(self, kind: str, trial: Trial, seconds: float) -> bool:
        """The window went well. Whether that ends the watch: a canary is watched on."""
        if kind == "canary":
            beside.prove(self._control, "canary", trial.subject)
            return False
        compared = trial.comparison
        reason = (
            f"watched for {seconds:g} s: {trial.tap.frames} frames, {trial.tap.failures} errors, agreement "
            f"{compared.agreement:.1%} with {trial.reference.label} on {compared.frames} frames"
        )
        if compared.frames < self._limits.min_frames:
            reason += f"; too few to judge detections, {self._limits.min_frames} are needed"
        attempt = self._swaps.begin("watch")
        if not self._control.keep(trial.subject, attempt, reason):
            self._swaps.cancel(attempt)
        elif not self._stop.is_set():
            self.on_canary(self._cameras)
        return True

    def failed(self, kind: str, trial: Trial, reason: str) -> None:
        """Something left its band."""
        if kind == "canary":
            beside.end(self._control, "canary", reason, failed=trial.subject)
            return
        attempt = self._swaps.begin("watch")
        if not self._control.revert(trial.subject, attempt, reason):
            self._swaps.cancel(attempt)
        elif not self._stop.is_set():
            self.on_canary(self._cameras)  # the model that it was compared with is gone

    def hangs(self, trial: Trial) -> str | None:
        """Whether an inference of the model does not return: no frame and no error would ever tell."""
        hung = trial.subject.older_than(self._hangs_after)
        return f"an inference has been running for {hung[0].seconds:.0f} s" if hung else None

    @property
    def share(self) -> float:
        """Of one core, for comparing."""
        return self._limits.share

    def pause(self, seconds: float) -> None:
        """Sleep, or return at once when the agent stops."""
        self._stop.wait(seconds)

    def closing(self, trial: Trial) -> Callable[[], None]:
        """What lets go of the trial's frames."""
        return lambda: self._live.close(trial.tap)


class _Watch:
    """One watch and its thread."""

    def __init__(self, watcher: Watcher, trial: Trial, kind: str, seconds: float) -> None:
        self._watcher = watcher
        self._trial = trial
        self._kind = kind
        self._seconds = seconds
        self._begin = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"watch-{kind}", daemon=True)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        join(self._thread, 10.0)

    def figures(self) -> dict[str, Any]:
        left = self._seconds - (time.monotonic() - self._begin)
        return {**self._trial.figures(), "seconds_left": round(max(0.0, left), 1)}

    def _run(self) -> None:
        # The reference of a canary serves other cameras: at low priority a comparison could hold what they wait for.
        if self._kind != "canary":
            lower_for_good()
        try:
            self._watch()
        except Exception:
            log.exception("watching %s ended unexpectedly; the model goes on serving", self._trial.subject.label)
        finally:
            self._watcher.closing(self._trial)()

    def _watch(self) -> None:
        trial, pace, proven = self._trial, Pace(self._watcher.share), False
        while self._watcher.in_place(self._kind, trial):
            reason = trial.judge_failures(trial.tap.take_failures()) or trial.judge_latency()
            reason = reason or self._watcher.hangs(trial)
            if reason is None and (wait := pace.wait()) > 0:
                self._watcher.pause(min(wait, _TICK))
            elif reason is None:
                result = trial.tap.take(timeout=_TICK)
                if result is not None:
                    begin = time.monotonic()
                    reason = trial.compare(result)
                    pace.spent(begin)
            if reason is not None:
                self._watcher.failed(self._kind, trial, reason)
                return
            if not proven and time.monotonic() - self._begin >= self._seconds:
                proven = True
                if self._watcher.passed(self._kind, trial, self._seconds):
                    return
