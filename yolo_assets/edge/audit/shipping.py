"""Ships the log: new lines go to the store within seconds, as objects that are never written again.

What is in the store cannot be changed with access to the device alone. A store that is unreachable or hangs delays
nothing else: the lines wait on the device, and are sent when it is back.
"""

from __future__ import annotations

import logging
import threading

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import device_audit_key
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.threads import join
from yolo_assets.storage.base import AlreadyExistsError, ObjectStore

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 300.0
_CHECK_EVERY_S = 30.0


class AuditShipper:
    """A thread that sends new lines.

    Args:
        audit: the log.
        store: the store root.
    """

    def __init__(self, audit: AuditLog, store: ObjectStore) -> None:
        self._audit = audit
        self._store = store
        self._wake = threading.Event()
        self._stop = False
        self.error: str | None = None
        """Why the newest lines are not in the store; None when they are, or nothing was tried yet."""
        self._thread = threading.Thread(target=self._run, name="audit-shipper", daemon=True)
        audit.on_append = self._wake.set

    def start(self) -> None:
        """Begin; lines of earlier runs that wait go first."""
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """Try once more and end; a store that hangs is not waited for."""
        self._stop = True
        self._wake.set()
        join(self._thread, 3.0)

    def _run(self) -> None:
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            self._wake.wait(_CHECK_EVERY_S)
            self._wake.clear()
            self._audit.retry()
            try:
                self.ship()
            except (UserError, OSError) as error:
                if self.error is None:
                    log.warning("the audit log cannot be shipped: %s", error)
                self.error = str(error)
                pause = backoff.failed()
                if not self._stop:
                    self._wake.wait(pause)
                self._wake.set()
            except Exception:
                log.exception("shipping the audit log failed; it continues")
            else:
                self.error = None
                backoff.succeeded()
            if self._stop:
                return

    def ship(self) -> int:
        """Send everything that the store does not hold.

        Returns:
            How many lines were sent.

        Raises:
            UserError: the store is away, or holds something else in the place of our lines.
            OSError: the log cannot be read.
        """
        sent = 0
        while (lines := self._audit.unshipped()) is not None:
            first, last, data = lines
            head = self._audit.head
            key = device_audit_key(head.device_id, head.log_id, first, last)
            try:
                self._store.put_if_absent(key, data)
            except AlreadyExistsError:  # ours, when a crash came between the object and the note of it
                if self._store.get(key) != data:
                    raise UserError(
                        f"the store holds other lines under {key}; the copy there was changed, or two devices are "
                        f"called {head.device_id}"
                    ) from None
            self._audit.mark_shipped(last)
            sent += last - first + 1
        return sent
