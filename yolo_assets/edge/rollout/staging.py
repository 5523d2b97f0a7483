"""Brings a requested model in, apart from the workers: one at a time, the newest wins, a broken one is tried once.

::

    request ─► fetch (verified) ─► compare ─► load ─► warm ─► golden ─► shadow ─► switch ─► watch
                  │                    │        │       │        │         │
                  └── unreachable,     └── anything else: refused or failed, in quarantine
                      no headroom: again later

Whatever happens here, the serving model continues to serve. Does not belong here: the steps (``prepare``), the switch
itself (``controller``), what follows it (``watch``).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.freeze import FreezeTable
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.headroom import NoHeadroomError, lacked_resources
from yolo_assets.edge.rollout.history import Outcome, SwapAttempt
from yolo_assets.edge.rollout.prepare import Preparer, in_words
from yolo_assets.edge.rollout.request import FrozenError, RefusedError, SupersededError, UnfitError, UpdateRequest
from yolo_assets.edge.rollout.restart import warm_previous, warm_secondary
from yolo_assets.edge.rollout.state import PreparedModel
from yolo_assets.edge.rollout.watch import WatchedRole, Watcher
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import Role
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.threads import join
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.storage.base import ObjectNotFoundError, StoreUnavailableError

log = logging.getLogger(__name__)
_CHECK_CLOCK_S = 1.0  # while a request waits for a freeze window to end
_FIRST_RETRY_S, _LONGEST_RETRY_S = 2.0, 120.0
_ORDER: tuple[Role, ...] = ("primary", "canary", "light")


@dataclass
class _Postponed:
    """A request that failed through no fault of its model, and when it may be tried again."""

    request: UpdateRequest
    reason: str
    backoff: Backoff
    not_before: float


class Stager:
    """The staging thread, and the watches over what it brought in.

    Args:
        config: freeze windows, watch window, cameras of the canary.
        preparer: gets candidates ready.
        control: slots and state.
    """

    def __init__(self, config: AgentConfig, preparer: Preparer, control: ModelControl) -> None:
        self._config = config
        self.preparer = preparer
        self._control = control
        self.watcher = Watcher(control, preparer.tap, config.watch, config.lease_seconds)
        self._freeze = FreezeTable(config.freeze.windows, config.freeze.timezone)
        self._changed = threading.Condition()
        self._requests: dict[Role, UpdateRequest] = {}
        self._working: UpdateRequest | None = None
        self._postponed: dict[Role, _Postponed] = {}
        self._stopping = False
        self.shadow: dict[str, Any] | None = None
        """Figures of the latest shadow run."""
        self._thread = threading.Thread(target=self._run, name="stager", daemon=True)

    @property
    def working(self) -> UpdateRequest | None:
        """What is being prepared now."""
        return self._working

    @property
    def frozen_until(self) -> datetime | None:
        """When the freeze window ends that keeps the model as it is; None when there is none now."""
        return self._freeze.until(utc_now())

    @property
    def waiting(self) -> UpdateRequest | None:
        """What waits for its turn or for the end of a freeze window."""
        return next(iter(self._requests.copy().values()), None)

    def request(self, request: UpdateRequest) -> bool:
        """Ask for a model; replaces an older request for its role that has not begun.

        Returns:
            False when just this is being prepared already, or waits for its next try; or when a poll would displace
            what an operator asked for by name: the channel is read again anyway once that has ended.
        """
        with self._changed:
            if self._working is not None and self._working.same_as(request):
                return False
            if request.trigger == "channel" and (self._is_postponed(request) or self._operator_asked(request.role)):
                return False
            self._requests[request.role] = request
            self._changed.notify_all()
            return True

    def start(self) -> None:
        """Make the previous model ready again, then wait for requests."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin no other model, and switch to none any more; returns at once."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def stop(self, timeout: float = 10.0) -> None:
        """Give up what is being prepared and end. A load that cannot be interrupted ends with the process."""
        self.ask_to_stop()
        self.watcher.stop()
        join(self._thread, timeout)
        self.watcher.uncount_start()
        prepared = self._control.state.prepared
        if self._working is not None and prepared is not None:  # still loading: a clean stop does not count against it
            self._control.set_prepared(_counted(prepared, max(0, prepared.attempts - 1)))

    def watch_figures(self, role: WatchedRole) -> dict[str, Any] | None:
        """Of the watch over a role's model, for the status; None when there is none now."""
        return self.watcher.figures(role)

    def idle(self) -> bool:
        """Nothing is being prepared and nothing waits."""
        with self._changed:
            return self._working is None and not self._requests

    @property
    def _canary_cameras(self) -> tuple[str, ...]:
        return self._config.canary.cameras if self._config.canary else ()

    def _run(self) -> None:
        warm_previous(self._control, self.preparer)
        self.watcher.watch_trial()
        if not self._stopping:
            warm_secondary(self._control, self.preparer, self._config, "canary")
            warm_secondary(self._control, self.preparer, self._config, "light")
            self.watcher.watch_canary(self._canary_cameras)
        while (request := self._next()) is not None:
            try:
                self._stage(request)
            except Exception:
                log.exception("staging %s ended unexpectedly", request.version)
            finally:
                with self._changed:
                    self._working = None
                    self._changed.notify_all()

    def _next(self) -> UpdateRequest | None:
        """Wait for the next request that may be worked on; None at the end. The primary model goes first."""
        with self._changed:
            while not self._stopping:
                if self._requests and not self._frozen():
                    self._working = self._requests.pop(min(self._requests, key=_ORDER.index))
                    return self._working
                self._changed.wait(_CHECK_CLOCK_S if self._requests else None)
            return None

    def _frozen(self) -> bool:
        """A line without any model takes one at any time."""
        return self._control.serving is not None and self.frozen_until is not None

    def _stage(self, request: UpdateRequest) -> None:
        control, model = self._control, request.model
        attempt = control.swaps.begin(request.trigger, request.requested_by, requested_at=request.at)
        try:
            if model is not None and (warm := control.warm_slot(model.manifest_sha256)) is not None:
                if warm is control.slots.current and request.role == "primary":
                    control.adopt("primary", model)
                    control.swaps.cancel(attempt)
                else:
                    self._switch(warm, model, attempt, request, request.reason)
                return
            if model is not None:
                self._count_attempt(model)
            bundle = self.preparer.fetch(request, attempt)
            self._check_requested(request)
            model = model or ReleasedModel(
                name=self._config.model, version=bundle.manifest.version, manifest_sha256=bundle.manifest_sha256
            )
            if request.requested_by is not None:
                control.lift_quarantine(model)
            self._prepare_and_switch(bundle, model, attempt, request)
        except (StoreUnavailableError, SpoolFullError, NoHeadroomError) as error:
            self._postpone(request, attempt, str(error))
        except FrozenError:
            control.set_prepared(None)
            control.swaps.cancel(attempt)
            with self._changed:
                self._requests.setdefault(request.role, request)
        except SupersededError as error:
            control.set_prepared(None)
            self._end(request, attempt, "refused", str(error))
        except UnfitError as error:
            self._give_up(request, attempt, model, "failed", str(error))
        except (RefusedError, SignatureError, IntegrityError, BadInputError, ObjectNotFoundError) as error:
            self._give_up(request, attempt, model, "refused", str(error))
        except Exception as error:  # a runtime may raise anything while it loads or runs a model
            if lacked_resources(error):
                self._postpone(request, attempt, in_words(error))
            else:
                self._give_up(request, attempt, model, "failed", in_words(error))

    def _prepare_and_switch(
        self, bundle: VerifiedBundle, model: ReleasedModel, attempt: SwapAttempt, request: UpdateRequest
    ) -> None:
        def report(figures: dict[str, Any]) -> None:
            self.shadow = {"model": model.model_version, **figures}

        ready = self.preparer.prepare(
            bundle, model, attempt, lambda: self._check_requested(request), report, request.role
        )
        try:
            if self._frozen():
                raise FrozenError(f"the model must not change until {self.frozen_until}")
            reason = f"{request.reason}; {ready.shadow}" if ready.shadow else request.reason
            self._switch(ready.slot, model, attempt, request, reason)
        except BaseException:
            if ready.slot not in [used for _, used in self._control.slots.loaded()]:
                ready.slot.retire()
            raise

    def _switch(
        self, slot: Slot[LoadedModel], model: ReleasedModel, attempt: SwapAttempt, request: UpdateRequest, reason: str
    ) -> None:
        control, role = self._control, request.role
        if role == "primary":
            watched = self._config.watch.seconds > 0
            event = control.commit(slot, model, attempt, reason, pinned_by=request.requested_by, watch=watched)
        else:
            cameras = self._canary_cameras if role == "canary" else ()
            event = control.start_secondary(role, slot, model, cameras, attempt, reason)
        self._postponed.pop(role, None)
        log.info("%s serves after %.2f s: %s", model.model_version, event.seconds, reason)
        try:  # it serves: nothing that follows may count against it
            if role == "primary":
                self.watcher.watch_trial()
            self.watcher.watch_canary(self._canary_cameras)  # a canary is compared with what serves now
            self.preparer.cache.prune(control.state.cached)
            self.preparer.tap.forget_all_but(loaded.label for _, loaded in control.slots.loaded())
        except Exception:
            log.exception("a step after the switch to %s failed; the model stays", model.model_version)

    def _operator_asked(self, role: Role) -> bool:
        request = self._requests.get(role)
        if request is None and self._working is not None and self._working.role == role:
            request = self._working
        return request is not None and request.requested_by is not None

    def _count_attempt(self, model: ReleasedModel) -> None:
        before, attempts = self._control.state.prepared, 1
        if before is not None and (before.manifest_sha256, before.release) == (model.manifest_sha256, model.release):
            attempts = before.attempts + 1
        self._control.set_prepared(_counted(model, attempts))

    def _check_requested(self, request: UpdateRequest) -> None:
        with self._changed:
            if self._stopping:
                raise SupersededError("the agent is stopping")
            newer = self._requests.get(request.role)
        if newer is not None and not newer.same_as(request):
            raise SupersededError(f"{newer.version} was requested meanwhile")

    def _is_postponed(self, request: UpdateRequest) -> bool:
        """Whether it is too early to try this one again."""
        postponed = self._postponed.get(request.role)
        return postponed is not None and postponed.request.same_as(request) and time.monotonic() < postponed.not_before

    def _postpone(self, request: UpdateRequest, attempt: SwapAttempt, reason: str) -> None:
        """Nothing is wrong with the model: try again, each time after a longer wait, and log it once."""
        self._control.set_prepared(None)
        before = self._postponed.get(request.role)
        if before is not None and not before.request.same_as(request):
            before = None
        backoff = before.backoff if before else Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
        not_before = time.monotonic() + backoff.failed()
        self._postponed[request.role] = _Postponed(request, reason, backoff, not_before)
        if before is None or before.reason != reason:
            self._end(request, attempt, "failed", f"{reason}; it is tried again")
        else:
            self._control.swaps.cancel(attempt)

    def _give_up(
        self, request: UpdateRequest, attempt: SwapAttempt, model: ReleasedModel | None, result: Outcome, reason: str
    ) -> None:
        self._postponed.pop(request.role, None)
        if model is not None and request.trigger == "channel":
            self._control.quarantine(model, reason)
        else:
            self._control.set_prepared(None)
        self._end(request, attempt, result, reason)

    def _end(self, request: UpdateRequest, attempt: SwapAttempt, result: Outcome, reason: str) -> None:
        self._control.end_unchanged(attempt, f"{self._config.model}/{request.version}", result, reason, request.model)


def _counted(model: ReleasedModel, attempts: int) -> PreparedModel:
    return PreparedModel(**dict(model.released), attempts=attempts)
