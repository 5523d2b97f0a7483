"""Brings a wanted model in, apart from the workers: one at a time, the newest wins, a broken one is never tried twice.

::

    notice ─► fetch (verified) ─► compare ─► load ─► warm ─► golden ─► commit (switch)
                 │                    │        │       │        │
                 └── store away: again later   └── anything else: refused or failed, in quarantine

Whatever happens here, the serving model goes on serving. Does not belong here: what a step does (``loading``,
``model_cache``), the switch itself (``control``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.edge.control import ModelControl
from yolo_assets.edge.loading import LoadedModel, Loader, RefusedError, UnfitError, check_contract
from yolo_assets.edge.model_cache import ModelCache
from yolo_assets.edge.slots import Slot
from yolo_assets.edge.state import Candidate, EdgeState, ModelRef
from yolo_assets.edge.swaps import Attempt, Outcome, SwapLog, Trigger
from yolo_assets.edge.threads import join
from yolo_assets.release.bundle import VerifiedBundle
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""Starts of a candidate's staging that may end without a result (power cut, crash) before it is put in quarantine."""
_FIRST_RETRY, _LAST_RETRY = 2.0, 120.0


class SupersededError(RefusedError):
    """A newer notice arrived while this one was being prepared."""


@dataclass(frozen=True)
class Notice:
    """A model that somebody wants to serve.

    Attributes:
        manifest_sha256: from the signed pointer; None when a person named the version.
        release: of the pointer; None when a person named the version.
        pinned_by: who named the version; the device stays on it until a release newer than the last accepted one.
    """

    version: str
    manifest_sha256: str | None
    release: int | None
    trigger: Trigger
    reason: str
    pinned_by: str | None = None

    @property
    def key(self) -> tuple[str, str | None, int | None]:
        """Two notices with one key want the same."""
        return (self.version, self.manifest_sha256, self.release)


class Stager:
    """The staging thread."""

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        cache: ModelCache,
        loader: Loader,
        control: ModelControl,
        swaps: SwapLog,
        on_freed: Callable[[str], None] = lambda label: None,
    ) -> None:
        self._store = store
        self._name = name
        self._cache = cache
        self._loader = loader
        self._control = control
        self._swaps = swaps
        self._on_freed = on_freed
        self._changed = threading.Condition()
        self._wanted: Notice | None = None
        self._working: Notice | None = None
        self._stopping = False
        self._retry: tuple[Notice, float, float, str] | None = None  # what, not before, wait, why
        self._thread = threading.Thread(target=self._run, name="stager", daemon=True)

    @property
    def working(self) -> Notice | None:
        """What is being prepared now."""
        return self._working

    def want(self, notice: Notice) -> bool:
        """Ask for a model; replaces an older wish that has not begun.

        Returns:
            False when just this is being prepared already, or waits for its next try.
        """
        with self._changed:
            if self._working is not None and self._working.key == notice.key:
                return False
            if self._retry is not None:
                waiting, not_before, _, _ = self._retry
                if waiting.key == notice.key and notice.trigger == "channel" and time.monotonic() < not_before:
                    return False
            self._wanted = notice
            self._changed.notify_all()
            return True

    def start(self) -> None:
        """Bring back the models of before the restart, then wait for notices."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Give up what is being prepared and end. A load that cannot be interrupted ends with the process."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        join(self._thread, timeout)

    def idle(self) -> bool:
        """Nothing is being prepared and nothing waits."""
        with self._changed:
            return self._working is None and self._wanted is None

    def restore(self) -> None:
        """Serve from the cache what served before the restart, the one before it when that fails. Needs no network."""
        state = self._control.state
        self._judge_interrupted(state)
        for ref in (state.current, state.previous):
            if ref is None:
                continue
            attempt = self._swaps.begin("start")
            try:
                slot = self._load_cached(ref, attempt)
            except Exception as error:
                self._end(attempt, ref, "failed", f"start from the cache: {_words(error)}")
                continue
            attempt.mark_switch(self._control.slots.switch(slot))
            self._control.model_ready.set()
            self._end(attempt, ref, "committed", "start from the cache", source=None)
            if ref != state.current:
                self._control.change(current=ref, previous=None)
            return

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # on Linux this is the thread's own
        self._warm_previous()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._stopping)
                if self._stopping:
                    return
                notice, self._wanted = self._wanted, None
                self._working = notice
            assert notice is not None
            try:
                self._stage(notice)
            except Exception:
                log.exception("staging %s ended unexpectedly", notice.version)
            finally:
                with self._changed:
                    self._working = None
                    self._changed.notify_all()

    def _warm_previous(self) -> None:
        """After a restart, load the previous model too, so that a rollback is at hand again."""
        ref = self._control.state.previous
        current = self._control.slots.current
        if ref is None or current is None or ref.manifest_sha256 == current.model.ref.manifest_sha256:
            return
        attempt = self._swaps.begin("start")
        try:
            self._control.slots.keep_as_previous(self._load_cached(ref, attempt))
        except Exception as error:
            log.warning("previous model %s cannot be kept ready: %s", ref.label, _words(error))
        finally:
            self._swaps.cancel(attempt)

    def _load_cached(self, ref: ModelRef, attempt: Attempt) -> Slot[LoadedModel]:
        with attempt.step("read"):
            bundle = self._cache.load(ref.name, ref.version, ref.manifest_sha256)
        return self._slot(self._loader.load(bundle, ref, attempt))

    def _slot(self, loaded: LoadedModel) -> Slot[LoadedModel]:
        return Slot(loaded, loaded.ref.label, lambda slot: self._on_freed(slot.label))

    def _judge_interrupted(self, state: EdgeState) -> None:
        """A candidate that is still in the state never ended: the process died while it was being prepared."""
        candidate = state.candidate
        if candidate is None or candidate.attempts < ATTEMPTS:
            return
        reason = f"the agent died {candidate.attempts} times while this release was being prepared"
        self._control.quarantine(candidate, reason)
        self._control.refuse("start", candidate.label, reason, candidate.release)

    def _stage(self, notice: Notice) -> None:
        attempt = self._swaps.begin(notice.trigger)
        ref: ModelRef | None = None
        if notice.manifest_sha256 is not None:
            ref = ModelRef(
                name=self._name, version=notice.version, manifest_sha256=notice.manifest_sha256, release=notice.release
            )
        try:
            if ref is not None and (warm := self._control.warm_slot(ref.manifest_sha256)) is not None:
                self._commit(warm, ref, attempt, notice)
                return
            if ref is not None:
                self._note_candidate(ref)
            with attempt.step("fetch"):
                bundle = self._cache.fetch(self._store, self._name, notice.version, notice.manifest_sha256)
            self._check_still_wanted(notice)
            ref = ref or self._ref_of(bundle)
            self._prepare_and_commit(bundle, ref, attempt, notice)
        except (StoreUnavailableError, SpoolFullError) as error:
            self._fail_for_now(notice, attempt, ref, str(error))
        except SupersededError as error:
            self._control.change(candidate=None)
            self._end(attempt, ref or self._unknown(notice), "refused", str(error))
        except UnfitError as error:
            self._give_up(notice, attempt, ref, "failed", str(error))
        except (RefusedError, SignatureError, IntegrityError, BadInputError, ObjectNotFoundError) as error:
            self._give_up(notice, attempt, ref, "refused", str(error))
        except Exception as error:  # a runtime may raise anything while it loads or runs a model
            self._give_up(notice, attempt, ref, "failed", _words(error))

    def _prepare_and_commit(self, bundle: VerifiedBundle, ref: ModelRef, attempt: Attempt, notice: Notice) -> None:
        serving = self._control.serving
        with attempt.step("compare"):
            check_contract(serving.manifest if serving else None, bundle.manifest)
        loaded = self._loader.load(bundle, ref, attempt)
        try:
            if serving is not None:  # a line without any model takes what is ready, and the newer one after it
                self._check_still_wanted(notice)
            self._commit(self._slot(loaded), ref, attempt, notice)
        except BaseException:
            loaded.close()
            raise

    def _commit(self, slot: Slot[LoadedModel], ref: ModelRef, attempt: Attempt, notice: Notice) -> None:
        event = self._control.commit(slot, ref, attempt, notice.reason, pinned_by=notice.pinned_by)
        self._retry = None
        log.info("%s serves after %.2f s: %s", ref.label, event.seconds, notice.reason)
        state = self._control.state
        self._cache.prune((kept.name, kept.version) for kept in (state.current, state.previous) if kept)

    def _note_candidate(self, ref: ModelRef) -> None:
        before = self._control.state.candidate
        attempts = 1
        if before is not None and (before.manifest_sha256, before.release) == (ref.manifest_sha256, ref.release):
            attempts = before.attempts + 1
        self._control.change(candidate=Candidate(**ref.model_dump(), attempts=attempts))

    def _check_still_wanted(self, notice: Notice) -> None:
        with self._changed:
            if self._stopping:
                raise SupersededError("the agent is stopping")
            newer = self._wanted
        if newer is not None and newer.key != notice.key:
            raise SupersededError(f"{newer.version} was asked for meanwhile")

    def _fail_for_now(self, notice: Notice, attempt: Attempt, ref: ModelRef | None, reason: str) -> None:
        """Nothing is wrong with the model: try again, each time after a longer wait, and log it once."""
        self._control.change(candidate=None)
        before = self._retry if self._retry is not None and self._retry[0].key == notice.key else None
        wait = min(_LAST_RETRY, before[2] * 2) if before else _FIRST_RETRY
        self._retry = (notice, time.monotonic() + wait, wait, reason)
        if before is not None and before[3] == reason:
            self._swaps.cancel(attempt)
            return
        self._end(attempt, ref or self._unknown(notice), "failed", f"{reason}; it is tried again")

    def _give_up(self, notice: Notice, attempt: Attempt, ref: ModelRef | None, result: Outcome, reason: str) -> None:
        self._retry = None
        if ref is not None and notice.trigger == "channel":
            self._control.quarantine(ref, reason)
        else:
            self._control.change(candidate=None)
        self._end(attempt, ref or self._unknown(notice), result, reason)

    def _ref_of(self, bundle: VerifiedBundle) -> ModelRef:
        return ModelRef(name=self._name, version=bundle.manifest.version, manifest_sha256=bundle.manifest_sha256)

    def _unknown(self, notice: Notice) -> ModelRef:
        return ModelRef(
            name=self._name,
            version=notice.version,
            manifest_sha256=notice.manifest_sha256 or "0" * 64,
            release=notice.release,
        )

    def _end(
        self, attempt: Attempt, ref: ModelRef, result: Outcome, reason: str, source: str | None = "serving"
    ) -> None:
        current = self._control.slots.current
        if source == "serving":
            source = current.label if current else None
        self._swaps.end(attempt, source=source, target=ref.label, result=result, reason=reason, release=ref.release)
        if result != "committed":
            log.warning("%s: %s %s", ref.label, result, reason)


def _words(error: BaseException) -> str:
    """One line; the type too where the text alone would not say what happened."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) and text else f"{type(error).__name__}: {text}"[:500]
