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
from dataclasses import dataclass

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.edge.loading import LoadedModel, RefusedError, UnfitError, check_contract
from yolo_assets.edge.restart import warm_previous
from yolo_assets.edge.slots import Slot
from yolo_assets.edge.staging_parts import StagingParts, in_words
from yolo_assets.edge.state import Candidate, ModelRef
from yolo_assets.edge.swaps import Attempt, Outcome, Trigger
from yolo_assets.edge.threads import join
from yolo_assets.release.bundle import VerifiedBundle
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.storage.base import ObjectNotFoundError, StoreUnavailableError

log = logging.getLogger(__name__)

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

    def __init__(self, parts: StagingParts) -> None:
        self.parts = parts
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
        """Make the previous model ready again, then wait for notices."""
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

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # on Linux this is the thread's own
        warm_previous(self.parts)
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

    def _stage(self, notice: Notice) -> None:
        attempt = self.parts.swaps.begin(notice.trigger)
        ref: ModelRef | None = None
        if notice.manifest_sha256 is not None:
            ref = ModelRef(
                name=self.parts.name,
                version=notice.version,
                manifest_sha256=notice.manifest_sha256,
                release=notice.release,
            )
        try:
            if ref is not None and (warm := self.parts.control.warm_slot(ref.manifest_sha256)) is not None:
                self._commit(warm, ref, attempt, notice)
                return
            if ref is not None:
                self._note_candidate(ref)
            with attempt.step("fetch"):
                bundle = self.parts.cache.fetch(
                    self.parts.store, self.parts.name, notice.version, notice.manifest_sha256
                )
            self._check_still_wanted(notice)
            ref = ref or self._ref_of(bundle)
            self._prepare_and_commit(bundle, ref, attempt, notice)
        except (StoreUnavailableError, SpoolFullError) as error:
            self._fail_for_now(notice, attempt, ref, str(error))
        except SupersededError as error:
            self.parts.control.change(candidate=None)
            self.parts.end(attempt, ref or self._unknown(notice), "refused", str(error))
        except UnfitError as error:
            self._give_up(notice, attempt, ref, "failed", str(error))
        except (RefusedError, SignatureError, IntegrityError, BadInputError, ObjectNotFoundError) as error:
            self._give_up(notice, attempt, ref, "refused", str(error))
        except Exception as error:  # a runtime may raise anything while it loads or runs a model
            self._give_up(notice, attempt, ref, "failed", in_words(error))

    def _prepare_and_commit(self, bundle: VerifiedBundle, ref: ModelRef, attempt: Attempt, notice: Notice) -> None:
        serving = self.parts.control.serving
        with attempt.step("compare"):
            check_contract(serving.manifest if serving else None, bundle.manifest)
        loaded = self.parts.loader.load(bundle, ref, attempt)
        try:
            if serving is not None:  # a line without any model takes what is ready, and the newer one after it
                self._check_still_wanted(notice)
            self._commit(self.parts.slot(loaded), ref, attempt, notice)
        except BaseException:
            loaded.close()
            raise

    def _commit(self, slot: Slot[LoadedModel], ref: ModelRef, attempt: Attempt, notice: Notice) -> None:
        event = self.parts.control.commit(slot, ref, attempt, notice.reason, pinned_by=notice.pinned_by)
        self._retry = None
        log.info("%s serves after %.2f s: %s", ref.label, event.seconds, notice.reason)
        state = self.parts.control.state
        self.parts.cache.prune((kept.name, kept.version) for kept in (state.current, state.previous) if kept)

    def _note_candidate(self, ref: ModelRef) -> None:
        before = self.parts.control.state.candidate
        attempts = 1
        if before is not None and (before.manifest_sha256, before.release) == (ref.manifest_sha256, ref.release):
            attempts = before.attempts + 1
        self.parts.control.change(candidate=Candidate(**ref.model_dump(), attempts=attempts))

    def _check_still_wanted(self, notice: Notice) -> None:
        with self._changed:
            if self._stopping:
                raise SupersededError("the agent is stopping")
            newer = self._wanted
        if newer is not None and newer.key != notice.key:
            raise SupersededError(f"{newer.version} was asked for meanwhile")

    def _fail_for_now(self, notice: Notice, attempt: Attempt, ref: ModelRef | None, reason: str) -> None:
        """Nothing is wrong with the model: try again, each time after a longer wait, and log it once."""
        self.parts.control.change(candidate=None)
        before = self._retry if self._retry is not None and self._retry[0].key == notice.key else None
        wait = min(_LAST_RETRY, before[2] * 2) if before else _FIRST_RETRY
        self._retry = (notice, time.monotonic() + wait, wait, reason)
        if before is not None and before[3] == reason:
            self.parts.swaps.cancel(attempt)
            return
        self.parts.end(attempt, ref or self._unknown(notice), "failed", f"{reason}; it is tried again")

    def _give_up(self, notice: Notice, attempt: Attempt, ref: ModelRef | None, result: Outcome, reason: str) -> None:
        self._retry = None
        if ref is not None and notice.trigger == "channel":
            self.parts.control.quarantine(ref, reason)
        else:
            self.parts.control.change(candidate=None)
        self.parts.end(attempt, ref or self._unknown(notice), result, reason)

    def _ref_of(self, bundle: VerifiedBundle) -> ModelRef:
        return ModelRef(name=self.parts.name, version=bundle.manifest.version, manifest_sha256=bundle.manifest_sha256)

    def _unknown(self, notice: Notice) -> ModelRef:
        return ModelRef(
            name=self.parts.name,
            version=notice.version,
            manifest_sha256=notice.manifest_sha256 or "0" * 64,
            release=notice.release,
        )
