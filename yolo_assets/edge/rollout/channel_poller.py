"""Notices that a release channel moved: by polling the store, and for a folder also by the kernel's file events.

Belongs here: when to read the channel, and passing a verified pointer on. Does not belong here: what the pointer means
(``decision``). A store that is unreachable delays new releases and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.edge.rollout.freshness import PointerFreshness
from yolo_assets.models.channels import Channel, StoredPointer
from yolo_assets.runtime.threads import join

log = logging.getLogger(__name__)
_EXPLAIN_EVERY = 30.0


class ChannelPoller:
    """Two threads: one polls every ``poll_seconds``, one waits for the folder to change.

    Args:
        on_pointer: called with every verified pointer read, also an unchanged one: what was postponed is tried again.
        explain: says in words that the channel has no release, and which there are.
        on_refused: called once for each pointer that cannot be verified, with the reason.
        freshness: told of each look; None for a channel whose age nobody watches.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        poll_seconds: float,
        folder: Path | None,
        explain: Callable[[], str],
        on_pointer: Callable[[ChannelPointer], None],
        on_refused: Callable[[str], None],
        freshness: PointerFreshness | None = None,
    ) -> None:
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._folder = folder
        self._explain = explain
        self._explained = float("-inf")
        self._on_pointer = on_pointer
        self._on_refused = on_refused
        self._freshness = freshness
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pointer: StoredPointer | None = None
        self._refused: str | None = None
        self.store_error: str | None = None
        """Why the store did not answer last time; None when it did."""
        self.missing: str | None = None
        """Why there is nothing to serve: the channel has no release, and which there are; None when it has one."""
        self._threads = [threading.Thread(target=self._poll, name="channel-poll", daemon=True)]
        if folder is not None:
            self._threads.append(threading.Thread(target=self._watch, name="channel-watch", daemon=True))

    def start(self) -> None:
        """Poll once now, then periodically."""
        for thread in self._threads:
            thread.start()

    def poll_now(self) -> None:
        """Read the channel without waiting for the next poll."""
        self._wake.set()

    def stop(self) -> None:
        """End both threads; they are daemons, so a store that hangs does not hold the process."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            join(thread, 2.0)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.poll()
            except Exception:
                log.exception("reading the channel failed unexpectedly")
            self._wake.wait(self._poll_seconds)

    def poll(self) -> None:
        """Read the channel once and pass on what it holds."""
        try:
            pointer = self._read()
            if pointer is None:
                self._tell_missing()
        except (SignatureError, BadInputError) as error:
            self.store_error = None
            if str(error) != self._refused:  # reported once, verified again every time: the signature may still come
                self._refused = str(error)
                self._on_refused(str(error))
            return
        except UserError as error:
            if self.store_error is None:
                log.warning("the store does not answer, the present model continues to serve: %s", error)
            self.store_error = str(error)
            if self._freshness is not None:
                self._freshness.look(None)
            return
        if self._freshness is not None:
            self._freshness.look(pointer)
        if self.store_error is not None:
            log.info("the store answers again")
            self.store_error = None
        self._refused = None
        if pointer is not None:
            self.missing = None
            self._on_pointer(pointer)

    def _tell_missing(self) -> None:
        """Once in the log, and for the status as of the last half minute."""
        if time.monotonic() - self._explained < _EXPLAIN_EVERY:
            return
        self._explained = time.monotonic()
        words = self._explain()
        if self.missing is None:
            log.warning("%s", words)
        self.missing = words

    def _read(self) -> ChannelPointer | None:
        """The verified pointer; fetched and verified again only when its etag changed."""
        etag = self._channel.etag()
        if etag is None:
            return None
        if self._pointer is None or self._pointer.etag != etag:
            stored = self._channel.stored()
            if stored.pointer is None:
                return None
            self._pointer = stored
        return self._pointer.pointer

    def _watch(self) -> None:
        """Poll as soon as the folder changes. Network file systems report no changes: there the period must do."""
        import watchfiles

        assert self._folder is not None
        pointer = self._folder / self._channel.key
        while not self._stop.is_set():
            if not pointer.parent.is_dir():
                self._stop.wait(min(1.0, self._poll_seconds))
                continue
            self.poll_now()  # what changed before the watch began
            try:
                for _ in watchfiles.watch(
                    pointer.parent, stop_event=self._stop, debounce=50, step=10, rust_timeout=1000, recursive=False
                ):
                    self.poll_now()
            except OSError as error:
                log.warning("cannot watch %s, it is polled only: %s", pointer.parent, error)
                self._stop.wait(30.0)
