"""Writing the trail, and reading it back verified.

An entry is written before what it tells of begins: what cannot be noted is not done. A second entry has the result. So
a process that was killed leaves an entry without a result, and never an act without an entry.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from yolo_assets.contracts.device_audit import GENESIS
from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.names import TRAIL, parse_trail_key, trail_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys, is_signed, unverified_content
from yolo_assets.contracts.times import utc_now
from yolo_assets.contracts.trail import TrailActor, TrailEntry, TrailHead, TrailTarget
from yolo_assets.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore, StoreUnavailableError
from yolo_assets.storage.open import folder_of, open_store

_PAGE = 1000
"""Keys that a store gives in one listing."""
_TRIES = 100
_READERS = 16
_CLOCKS_DIFFER = timedelta(hours=1)
"""By how much an entry may be dated before the one in front of it: machines write it, each with its own clock."""

BEGUN = "begun"


class NotNotedError(UserError):
    """The audit trail cannot be written; what was to be done is refused.

    Attributes:
        why: what the store said.
    """

    may_pass = True

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why


@dataclass
class Act:
    """Something that is being done.

    Attributes:
        entry: its entry.
        result: what the entry of its end will say.
    """

    entry: TrailEntry
    result: str = "done"


@dataclass(frozen=True)
class ReadEntry:
    """An entry as it was read.

    Attributes:
        entry: what it says.
        sha256: of its stored bytes.
        signed_by: the trusted key that signed it; None: no trusted key did.
    """

    entry: TrailEntry
    sha256: str
    signed_by: str | None


@dataclass
class TrailReading:
    """What the trail says, and whether it is as it was written.

    Attributes:
        entries: in their order.
        findings: what is wrong, one sentence each; empty: nothing is.
        unsigned: how many entries no key signed.
        strangers: ids of keys that signed entries and are not trusted here.
    """

    entries: list[ReadEntry] = field(default_factory=list[ReadEntry])
    findings: list[str] = field(default_factory=list[str])
    unsigned: int = 0
    strangers: set[str] = field(default_factory=set[str])


class AuditTrail:
    """The trail of one store root.

    Args:
        store: the store root.
        actor: who acts; needed to write.
        signer: signs entries where the machine has a key.
        trusted: keys whose signatures count when it is read.
    """

    def __init__(
        self,
        store: ObjectStore,
        actor: TrailActor | None = None,
        signer: Signer | None = None,
        trusted: TrustedKeys | None = None,
    ) -> None:
        self._store = store
        self._actor = actor
        self._signer = signer
        self._trusted = trusted
        self._seen = 0

    @classmethod
    def of(cls, settings: Settings, by: str | None = None, *, role: str | None = None) -> AuditTrail:
        """The trail of an installation, written by whoever runs this process.

        Args:
            settings: with the store root; its default folder in the home is made when it is missing.
            by: the name that the person gave; None: the login name.
            role: in which capacity, where that is known.

        Raises:
            NotNotedError: there is no such store, or it is away.
        """
        folder = folder_of(settings.store_url)
        if folder is not None and not folder.is_dir():
            if folder != settings.home / "store":
                raise NotNotedError(
                    f"this is noted in the audit trail first, and there is no store at {folder}; correct --store or "
                    "YOLO_ASSETS_STORE, or mount it"
                )
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                raise _not_noted(settings.store_url, error.strerror or str(error)) from None
        # A key that this user may not read is another's; then the entry is not signed, and chained all the same.
        private = [key for key in (settings.archiver_key, settings.promotion_key) if os.access(key, os.R_OK)]
        try:
            return cls(
                open_store(settings.store_url, memory=settings.known_stores, remember=False),
                this_actor(by, role),
                Signer.load(private[0]) if private else None,
            )
        except (StoreUnavailableError, SignatureError) as error:
            raise _not_noted(settings.store_url, str(error)) from None

    @contextmanager
    def recording(self, what: str, target: TrailTarget, *, meaning: str = "", reason: str = "") -> Iterator[Act]:
        """Note that something begins, let it happen, and note how it ended.

        Args:
            what: the command, like ``restore``.
            target: what it touches.
            meaning: of a signature.
            reason: why.

        Yields:
            The act; set its ``result`` to say more than "done".

        Raises:
            NotNotedError: its beginning cannot be noted and nothing was done, or its end cannot be noted.
        """
        act = Act(self.append(what, target, BEGUN, meaning=meaning, reason=reason))
        number = act.entry.number
        try:
            yield act
        except BaseException as error:
            failed = f"failed: {str(error) or type(error).__name__}"
            with suppress(NotNotedError):  # the failure itself is what must be told
                self.append(what, target, failed, meaning=meaning, reason=reason, closes=number)
            raise
        try:
            self.append(what, target, act.result, meaning=meaning, reason=reason, closes=number)
        except NotNotedError as error:
            raise NotNotedError(
                f"it is done, and begun in entry {number} of the audit trail, but its end could not be noted there: "
                f"{error.why}"
            ) from None

    def append(
        self,
        what: str,
        target: TrailTarget,
        result: str,
        *,
        meaning: str = "",
        reason: str = "",
        closes: int | None = None,
    ) -> TrailEntry:
        """Write one entry at the end of the trail.

        Raises:
            NotNotedError: the store is away, or refuses it.
        """
        if self._actor is None:
            raise BadInputError("an entry of the audit trail needs somebody who acts")
        try:
            for _ in range(_TRIES):
                head = self.head()
                entry = TrailEntry(
                    **self._actor.model_dump(),
                    number=head.number + 1,
                    entry_id=secrets.token_hex(8),
                    previous=head.sha256,
                    at=utc_now(),
                    what=what,
                    target=target,
                    result=result,
                    meaning=meaning,
                    reason=reason,
                    closes=closes,
                )
                data = entry.to_json()
                if self._signer is not None:
                    data = self._signer.seal(data, "audit-trail").to_json()
                try:
                    self._store.put_if_absent(trail_key(entry.number), data)
                except AlreadyExistsError:
                    continue  # somebody else was quicker: ours comes after it
                self._seen = entry.number
                return entry
        except (StoreUnavailableError, OSError) as error:
            raise _not_noted(self._store.url, str(error)) from None
        raise _not_noted(self._store.url, "too many others write at the same time")

    def head(self) -> TrailHead:
        """The newest entry, whoever wrote it."""
        number = self._newest()
        if number == 0:
            return TrailHead(0, GENESIS)
        return TrailHead(number, hashlib.sha256(self._store.get(trail_key(number))).hexdigest())

    def cut_off(self, ends: Iterable[tuple[str, TrailHead]]) -> list[str]:
        """What lacks of the ends of the trail that others signed, one sentence each. What is before an end is chained.

        Args:
            ends: as checkpoints of the archive hold them, each with what to call it, like "checkpoint 3 of …".
        """

        def compared(end: tuple[str, TrailHead]) -> str | None:
            label, head = end
            try:
                data = self._store.get(trail_key(head.number))
            except ObjectNotFoundError:
                return f"{label} has entry {head.number}, and it is gone; the end of the trail was cut off"
            if hashlib.sha256(data).hexdigest() != head.sha256:
                return f"{label} has another entry {head.number}; the trail was written anew"
            return None

        with ThreadPoolExecutor(_READERS) as pool:
            return [finding for finding in pool.map(compared, ends) if finding is not None]

    def read(self, since: datetime | None = None) -> TrailReading:
        """Read and verify.

        Args:
            since: only entries from then on; the one before them is read, too, because they follow from it.
        """
        reading = TrailReading()
        numbers = list(self._numbers(0, reading.findings))
        first = self._first_since(numbers, since) if since is not None else 0
        expected, before = (numbers[first - 1] + 1, "") if first else (1, GENESIS)
        wanted = numbers[max(first - 1, 0) :]
        with ThreadPoolExecutor(_READERS) as pool:
            stored = pool.map(lambda number: self._store.get(trail_key(number)), wanted)
            for number, data in zip(wanted, stored, strict=True):
                digest = hashlib.sha256(data).hexdigest()
                if first and number == wanted[0]:
                    before = digest
                    continue
                if number > expected:
                    gone = (
                        f"entry {expected} is" if number == expected + 1 else f"entries {expected} to {number - 1} are"
                    )
                    reading.findings.append(f"{gone} missing before entry {number}; somebody deleted them")
                one = self._read(number, data, reading)
                if one is not None:
                    if number == expected and one.entry.previous != before:
                        reading.findings.append(
                            f"entry {number} does not follow from entry {number - 1}: one of them was replaced"
                        )
                    if since is None or one.entry.at >= since:
                        reading.entries.append(one)
                expected, before = number + 1, digest
        return reading

    def _read(self, number: int, data: bytes, reading: TrailReading) -> ReadEntry | None:
        label, digest = f"entry {number}", hashlib.sha256(data).hexdigest()
        signed_by = None
        try:
            if is_signed(data, label):
                content = unverified_content(data, label)
                signer = content.signature.key_id
                if self._trusted is not None and signer in self._trusted.keys:
                    content, signed_by = self._trusted.open_document(data, "audit-trail", label), signer
                else:
                    reading.strangers.add(signer)
                entry = TrailEntry.from_json(content.payload, label)
            else:
                reading.unsigned += 1
                entry = TrailEntry.from_json(data, label)
        except (SignatureError, BadInputError) as error:
            reading.findings.append(f"{label} cannot be trusted: {error}")
            return None
        if entry.number != number:
            reading.findings.append(f"{label} is entry {entry.number}; it was copied there")
        return ReadEntry(entry, digest, signed_by)

    def _first_since(self, numbers: list[int], since: datetime) -> int:
        """The place among the numbers of the first entry that may be of then or later."""
        low, high = 0, len(numbers)
        while low < high:
            middle = (low + high) // 2
            try:
                data = self._store.get(trail_key(numbers[middle]))
                payload = unverified_content(data, "it").payload if is_signed(data, "it") else data
                early = TrailEntry.from_json(payload).at < since - _CLOCKS_DIFFER
            except (UserError, ObjectNotFoundError):
                early = False  # it is looked at and told
            low, high = (middle + 1, high) if early else (low, middle)
        return low

    def _newest(self) -> int:
        """The number of the newest entry. A few listings, however long the trail is and whatever lacks in it."""
        low, jump = self._seen, _PAGE
        while self._any_after(low + jump):
            low, jump = low + jump, jump * 2
        while jump > _PAGE:
            jump //= 2
            low += jump if self._any_after(low + jump) else 0
        return max(self._numbers(low), default=low)

    def _any_after(self, number: int) -> bool:
        return next(self._numbers(number), None) is not None

    def _numbers(self, after: int, strange: list[str] | None = None) -> Iterator[int]:
        """Numbers of entries in their order; what else lies there is told."""
        for info in self._store.list(TRAIL, start_after=trail_key(after) if after else None):
            number = parse_trail_key(info.key)
            if number is not None:
                yield number
            elif strange is not None:
                strange.append(f"{info.key} is no entry; somebody put it there")


def public_keys(settings: Settings) -> list[Path]:
    """The keys whose signatures an installation trusts in the trail: of archivers and promotion, old and new."""
    return [*settings.archiver_public_keys(), *settings.promotion_public_keys()]


def this_actor(by: str | None = None, role: str | None = None) -> TrailActor:
    """Whoever runs this process."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        login = "unknown"
    return TrailActor(who=by or login, os_user=login, host=socket.gethostname(), role=role)


def _not_noted(url: str, why: str) -> NotNotedError:
    return NotNotedError(f"nothing was done, because the audit trail in {url} cannot be written: {why}", why)
