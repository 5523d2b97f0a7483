"""Watch windows over new models on live frames: commits a good model and reverts a bad one, without an operator.

One thread for a primary model on trial and one for the canary, both at low priority. A watch ends by itself when its
model is not in its place any more: a rollback, a newer release and the end of a canary need not know of it. Does not
belong here: what counts as a failure (``evaluation``).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Literal

from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.config.rollout import WatchWindow
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.evaluation import CpuShare, Trial
from yolo_assets.edge.rollout.tap import LiveTap
from yolo_assets.edge.rollout.thread_priority import lower_for_good
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import Role
from yolo_assets.runtime.threads import join

log = logging.getLogger(__name__)
WatchedRole = Literal["primary", "canary"]
_TICK = 0.1
_HANG_S = 5.0  # of one inference, at the least


class Watcher:
    """Begins and ends watches. A clean stop is not counted as a death: only what the process did not survive is."""

    def __init__(self, control: ModelControl, tap: LiveTap, limits: WatchWindow, lease_seconds: float) -> None:
        self._control = control
        self._tap = tap
        self._limits = limits
        self._hangs_after = min(lease_seconds, max(_HANG_S, limits.seconds / 2))
        self._cameras: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._watches: dict[WatchedRole, _Watch] = {}

    def watch_trial(self) -> None:
        """Watch the model that the state names as on trial, if there is one and the previous one is warm."""
        slots, primary = self._control.slots, self._control.state.primary
        if not primary.on_trial or slots.current is None:
            return
        subject, reference = slots.current, slots.previous
        if reference is None:
            self._confirm(subject, "there is no other model to compare with or to go back to")
            return
        self._begin("primary", subject, reference, None, primary.model)

    def watch_canary(self, cameras: tuple[str, ...]) -> None:
        """Compare the canary with the model of the other cameras, as long as both are in their places.

        Not with one that is on trial itself: a good canary would look bad against a bad primary model. It begins when
        the trial is over.
        """
        slots, self._cameras = self._control.slots, cameras
        state = self._control.state
        if slots.canary is not None and slots.current is not None and not state.primary.on_trial:
            self._begin("canary", slots.canary, slots.current, frozenset(cameras), state.canary.model)

    def figures(self, role: WatchedRole) -> dict[str, Any] | None:
        """Of the watch over a role, for the status; None when none is watched."""
        watch = self._watches.get(role)
        return watch.figures() if watch is not None and watch.running else None

    def stop(self) -> None:
        """End all watches."""
        self._stop.set()
        for watch in list(self._watches.values()):
            watch.join()

    def uncount_start(self) -> None:
        """After a clean stop: what was on trial starts its trial again, and this start does not count against it."""
        state = self._control.state
        roles: tuple[Role, ...] = ("primary", "canary", "light")
        for role in roles:
            if state.role(role).model is not None and state.role(role).attempts:
                self._control.change_role(role, attempts=state.role(role).attempts - 1)

    def _begin(
        self,
        role: WatchedRole,
        subject: Slot[LoadedModel],
        reference: Slot[LoadedModel],
        cameras: frozenset[str] | None,
        model: ReleasedModel | None,
    ) -> None:
        expected = model.expected if model is not None else None
        if expected is not None and expected.against != reference.label:
            expected = None  # the gate compared it with another one than serves here
        frames = self._tap.open(subject.label, cameras)
        old_ms = self._tap.milliseconds(reference.label)
        watch = _Watch(self, Trial(subject, reference, frames, old_ms, self._limits, expected), role, self._limits)
        self._watches[role] = watch
        watch.start()

    def in_place(self, role: WatchedRole, trial: Trial) -> bool:
        """Whether the watch still has its subject: the agent runs, and both models are where they were."""
        slots = self._control.slots
        if self._stop.is_set():
            return False
        if role == "canary":
            return slots.canary is trial.subject and slots.current is trial.reference
        return slots.current is trial.subject and slots.previous is trial.reference

    def passed(self, role: WatchedRole, trial: Trial, seconds: float) -> bool:
        """The window went well. Returns whether that ends the watch: a canary is watched on."""
        if role == "canary":
            self._control.prove_secondary("canary", trial.subject)
            return False
        compared = trial.comparison
        reason = (
            f"watched for {seconds:g} s: {trial.frames.frames} frames, {trial.frames.failures} errors, agreement "
            f"{compared.agreement:.1%} with {trial.reference.label} on {compared.frames} frames"
        )
        if compared.frames < self._limits.min_frames:
            reason += f"; too few different scenes to compare detections, {self._limits.min_frames} are needed"
        if self._confirm(trial.subject, reason) and not self._stop.is_set():
            self.watch_canary(self._cameras)
        return True

    def failed(self, role: WatchedRole, trial: Trial, reason: str) -> None:
        """Something is outside its limits."""
        if role == "canary":
            self._control.end_secondary("canary", reason, failed=trial.subject)
            return
        attempt = self._control.swaps.begin("watch")
        if not self._control.revert(trial.subject, attempt, reason):
            self._control.swaps.cancel(attempt)
        elif not self._stop.is_set():
            self.watch_canary(self._cameras)  # the model that it was compared with is gone

    def hangs(self, trial: Trial) -> str | None:
        """Whether an inference of the model does not return: no frame and no error would ever show it."""
        hung = trial.subject.older_than(self._hangs_after)
        return f"an inference has been running for {hung[0].seconds:.0f} s" if hung else None

    def pause(self, seconds: float) -> None:
        """Sleep, or return at once when the agent stops."""
        self._stop.wait(seconds)

    def close(self, trial: Trial) -> None:
        """Release the frames of a trial."""
        self._tap.close(trial.frames)

    def _confirm(self, slot: Slot[LoadedModel], reason: str) -> bool:
        attempt = self._control.swaps.begin("watch")
        confirmed = self._control.confirm(slot, attempt, reason)
        if not confirmed:
            self._control.swaps.cancel(attempt)
        return confirmed


class _Watch:
    """One watch and its thread."""

    def __init__(self, watcher: Watcher, trial: Trial, role: WatchedRole, limits: WatchWindow) -> None:
        self._watcher = watcher
        self._trial = trial
        self._role: WatchedRole = role
        self._limits = limits
        self._begin = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"watch-{role}", daemon=True)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        join(self._thread, 10.0)

    def figures(self) -> dict[str, Any]:
        remaining = self._limits.seconds - (time.monotonic() - self._begin)
        return {**self._trial.figures(), "seconds_left": round(max(0.0, remaining), 1)}

    def _run(self) -> None:
        # The reference of a canary serves other cameras: at low priority a comparison could hold what they wait for.
        if self._role != "canary":
            lower_for_good()
        try:
            self._watch()
        except Exception:
            log.exception("watching %s ended unexpectedly; the model continues to serve", self._trial.subject.label)
        finally:
            self._watcher.close(self._trial)

    def _watch(self) -> None:
        trial, share, proven = self._trial, CpuShare(self._limits.share), False
        while self._watcher.in_place(self._role, trial):
            reason = trial.check_failures(trial.frames.take_failures()) or trial.check_latency()
            reason = reason or self._watcher.hangs(trial)
            if reason is None and (wait := share.wait()) > 0:
                self._watcher.pause(min(wait, _TICK))
            elif reason is None:
                result = trial.frames.take(timeout=_TICK)
                if result is not None:
                    begin = time.monotonic()
                    reason = trial.compare(result)
                    share.spent(begin)
            if reason is not None:
                self._watcher.failed(self._role, trial, reason)
                return
            if not proven and time.monotonic() - self._begin >= self._limits.seconds:
                proven = True
                if self._watcher.passed(self._role, trial, self._limits.seconds):
                    return
