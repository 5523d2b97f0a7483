"""Brings a wanted model in, apart from the workers: one at a time, the newest wins, a broken one is never tried twice.

::

    notice ─► fetch (verified) ─► compare ─► load ─► warm ─► golden ─► shadow ─► switch ─► watch
                 │                    │        │       │        │         │
                 └── store away,      └── anything else: refused or failed, in quarantine
                     no room: again later

Whatever happens here, the serving model goes on serving. Does not belong here: the steps (``preparing``), the switch
itself (``control``), what follows it (``watching``).
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import Any

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.config.freeze import FreezeTable
from yolo_assets.edge.rollout import beside
from yolo_assets.edge.rollout.loading import RefusedError, UnfitError
from yolo_assets.edge.rollout.notice import FrozenError, Notice, Role, SupersededError
from yolo_assets.edge.rollout.preparing import fetch, prepare
from yolo_assets.edge.rollout.restart import warm_beside, warm_previous
from yolo_assets.edge.rollout.retry import Retries
from yolo_assets.edge.rollout.room import NoRoomError, no_room_left
from yolo_assets.edge.rollout.staging_parts import StagingParts, in_words
from yolo_assets.edge.rollout.state import Candidate
from yolo_assets.edge.rollout.swaps import Attempt, Outcome
from yolo_assets.edge.rollout.watching import Watcher
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.threads import join
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.storage.base import ObjectNotFoundError, StoreUnavailableError

log = logging.getLogger(__name__)
_LOOK_EVERY = 1.0  # at the clock, while something waits for a freeze window to end


class Stager:
    """The staging thread, and the watches over what it brought in."""

    def __init__(self, parts: StagingParts) -> None:
        self.parts = parts
        self.watcher = Watcher(parts.control, parts.swaps, parts.live, parts.config.watch, parts.config.lease_seconds)
        self._freeze = FreezeTable(parts.config.freeze.windows, parts.config.freeze.timezone)
        self._changed = threading.Condition()
        self._wanted: dict[Role, Notice] = {}
        self._working: Notice | None = None
        self._stopping = False
        self._retries = Retries()
        self.shadow: dict[str, Any] | None = None
        """Figures of the latest shadow run."""
        self._thread = threading.Thread(target=self._run, name="stager", daemon=True)

    @property
    def working(self) -> Notice | None:
        """What is being prepared now."""
        return self._working

    @property
    def frozen_until(self) -> datetime | None:
        """When the freeze window ends that keeps the model as it is; None when there is none now."""
        return self._freeze.until(utc_now())

    @property
    def waiting(self) -> Notice | None:
        """What waits for its turn or for the end of a freeze window."""
        return next(iter(self._wanted.copy().values()), None)

    def want(self, notice: Notice) -> bool:
        """Ask for a model; replaces an older wish of its kind that has not begun.

        Returns:
            False when just this is being prepared already, or waits for its next try; or when a poll would displace
            what a person asked for by name: the channel is asked again anyway once that has ended.
        """
        with self._changed:
            if self._working is not None and self._working.key == notice.key:
                return False
            if notice.trigger == "channel" and (self._retries.waits(notice) or self._asked_by_hand(notice.role)):
                return False
            self._wanted[notice.role] = notice
            self._changed.notify_all()
            return True

    def start(self) -> None:
        """Make the previous model ready again, then wait for notices."""
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
        self.watcher.forgive()
        candidate = self.parts.control.state.candidate
        if self._working is not None and candidate is not None:  # still loading: a clean stop is not held against it
            fewer = candidate.model_copy(update={"attempts": max(0, candidate.attempts - 1)})
            self.parts.control.change(candidate=fewer)

    def idle(self) -> bool:
        """Nothing is being prepared and nothing waits."""
        with self._changed:
            return self._working is None and not self._wanted

    def _run(self) -> None:
        warm_previous(self.parts)
        self.watcher.on_trial()
        if not self._stopping:
            warm_beside(self.parts, "canary")
            warm_beside(self.parts, "light")
            self.watcher.on_canary(self.parts.canary_cameras)
        while (notice := self._next()) is not None:
            try:
                self._stage(notice)
            except Exception:
                log.exception("staging %s ended unexpectedly", notice.version)
            finally:
                with self._changed:
                    self._working = None
                    self._changed.notify_all()

    def _next(self) -> Notice | None:
        """Wait for the next notice that may be worked on; None at the end. The whole box goes first."""
        with self._changed:
            while not self._stopping:
                if self._wanted and not self._frozen():
                    self._working = self._wanted.pop(min(self._wanted))  # box, canary, light
                    return self._working
                self._changed.wait(_LOOK_EVERY if self._wanted else None)
            return None

    def _frozen(self) -> bool:
        """A line without any model takes one at any time."""
        return self.parts.control.serving is not None and self.frozen_until is not None

    def _stage(self, notice: Notice) -> None:
        attempt = self.parts.swaps.begin(notice.trigger, notice.pinned_by, asked_at=notice.at)
        ref = notice.ref(self.parts.name)
        try:
            if ref is not None and (warm := self.parts.control.warm_slot(ref.manifest_sha256)) is not None:
                if warm is self.parts.control.slots.current and notice.role == "box":
                    self.parts.control.adopt(ref)
                    self.parts.swaps.cancel(attempt)
                else:
                    self._switch(warm, ref, attempt, notice, notice.reason)
                return
            if ref is not None:
                self._note_candidate(ref)
            bundle = fetch(self.parts, notice, attempt)
            self._check_still_wanted(notice)
            ref = ref or self._ref_of(bundle)
            if notice.pinned_by is not None:
                self.parts.control.forgive(ref)
            self._prepare_and_switch(bundle, ref, attempt, notice)
        except (StoreUnavailableError, SpoolFullError, NoRoomError) as error:
            self._fail_for_now(notice, attempt, ref, str(error))
        except FrozenError:
            self.parts.control.change(candidate=None)
            self.parts.swaps.cancel(attempt)
            with self._changed:
                self._wanted.setdefault(notice.role, notice)
        except SupersededError as error:
            self.parts.control.change(candidate=None)
            self.parts.end(attempt, ref or self._unknown(notice), "refused", str(error))
        except UnfitError as error:
            self._give_up(notice, attempt, ref, "failed", str(error))
        except (RefusedError, SignatureError, IntegrityError, BadInputError, ObjectNotFoundError) as error:
            self._give_up(notice, attempt, ref, "refused", str(error))
        except Exception as error:  # a runtime may raise anything while it loads or runs a model
            if no_room_left(error):
                self._fail_for_now(notice, attempt, ref, in_words(error))
            else:
                self._give_up(notice, attempt, ref, "failed", in_words(error))

    def _prepare_and_switch(self, bundle: VerifiedBundle, ref: ReleasedModel, attempt: Attempt, notice: Notice) -> None:
        def still_wanted() -> None:
            self._check_still_wanted(notice)

        def report(figures: dict[str, Any]) -> None:
            self.shadow = {"model": ref.model_version, **figures}

        slot, words = prepare(self.parts, bundle, ref, attempt, still_wanted, report, notice.role)
        try:
            if self._frozen():
                raise FrozenError(f"the model is frozen until {self.frozen_until}")
            self._switch(slot, ref, attempt, notice, f"{notice.reason}; {words}" if words else notice.reason)
        except BaseException:
            if slot not in [used for _, used in self.parts.control.slots.loaded()]:
                slot.retire()
            raise

    def _switch(
        self, slot: Slot[LoadedModel], ref: ReleasedModel, attempt: Attempt, notice: Notice, reason: str
    ) -> None:
        control, watch = self.parts.control, self.parts.config.watch
        if notice.role != "box":
            cameras = self.parts.canary_cameras if notice.role == "canary" else ()
            event = beside.start(control, notice.role, slot, ref, cameras, attempt, reason)
        else:
            pinned_by = notice.pinned_by
            event = control.commit(slot, ref, attempt, reason, pinned_by=pinned_by, watch=watch.seconds > 0)
        self._retries.done(notice)
        log.info("%s serves after %.2f s: %s", ref.model_version, event.seconds, reason)
        try:  # it serves: nothing that follows may count against it
            if notice.role == "box":
                self.watcher.on_trial()
            self.watcher.on_canary(self.parts.canary_cameras)  # a canary is compared with what serves now
            self.parts.cache.prune(control.state.needed)
            self.parts.live.forget_all_but(loaded.label for _, loaded in control.slots.loaded())
        except Exception:
            log.exception("after the switch to %s, which stays", ref.model_version)

    def _asked_by_hand(self, role: Role) -> bool:
        wished = self._wanted.get(role)
        if wished is None and self._working is not None and self._working.role == role:
            wished = self._working
        return wished is not None and wished.pinned_by is not None

    def _note_candidate(self, ref: ReleasedModel) -> None:
        before = self.parts.control.state.candidate
        attempts = 1
        if before is not None and (before.manifest_sha256, before.release) == (ref.manifest_sha256, ref.release):
            attempts = before.attempts + 1
        self.parts.control.change(candidate=Candidate(**ref.model_dump(), attempts=attempts))

    def _check_still_wanted(self, notice: Notice) -> None:
        with self._changed:
            if self._stopping:
                raise SupersededError("the agent is stopping")
            newer = self._wanted.get(notice.role)
        if newer is not None and newer.key != notice.key:
            raise SupersededError(f"{newer.version} was asked for meanwhile")

    def _fail_for_now(self, notice: Notice, attempt: Attempt, ref: ReleasedModel | None, reason: str) -> None:
        """Nothing is wrong with the model: try again, each time after a longer wait, and log it once."""
        self.parts.control.change(candidate=None)
        if self._retries.failed(notice, reason):
            self.parts.end(attempt, ref or self._unknown(notice), "failed", f"{reason}; it is tried again")
        else:
            self.parts.swaps.cancel(attempt)

    def _give_up(
        self, notice: Notice, attempt: Attempt, ref: ReleasedModel | None, result: Outcome, reason: str
    ) -> None:
        self._retries.done(notice)
        if ref is not None and notice.trigger == "channel":
            self.parts.control.quarantine(ref, reason)
        else:
            self.parts.control.change(candidate=None)
        self.parts.end(attempt, ref or self._unknown(notice), result, reason)

    def _ref_of(self, bundle: VerifiedBundle) -> ReleasedModel:
        return ReleasedModel(
            name=self.parts.name, version=bundle.manifest.version, manifest_sha256=bundle.manifest_sha256
        )

    def _unknown(self, notice: Notice) -> ReleasedModel:
        return ReleasedModel(
            name=self.parts.name,
            version=notice.version,
            manifest_sha256=notice.manifest_sha256 or "0" * 64,
            release=notice.release,
        )
