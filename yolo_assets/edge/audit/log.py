"""The log on the device: appends durable lines, survives power cuts and full disks, and never edits what it wrote.

``<state>/audit/<log_id>/<first line>.ndjson`` in files of a fixed number of lines, ``head.json`` with the signed end of
the chain, ``device.key`` that signs. A line is durable before the head names it: after a crash the log may be one line
ahead of the head, never behind it. Whatever else is found at the start was done by another program, or by a broken
disk: nothing is repaired, a new log begins and records why. Inference never waits for the audit log.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from yolo_assets.contracts.base import canonical_json, is_json_object
from yolo_assets.contracts.device_audit import GENESIS, AuditEntry, AuditHead, AuditLine
from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.signing import Signer, TrustedKeys, unverified_content
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.chain import ChainLink, digest, signed_line
from yolo_assets.edge.audit.files import HEAD, KEY, check_tail, log_file, read_head, segments, write_head
from yolo_assets.runtime.files import fsync_folder, write_all, write_atomic

log = logging.getLogger(__name__)

RECENT_LINES = 200
"""Of each kind: batches come by the hour, and a change of the model must not be pushed out by them."""
_MOST_WAITING = 1000
_BY_FILE = "the configuration file"
_BY_PEOPLE = "the file of people"
_PEOPLE = "people."
_MOST_NAMED = 12
_LONGEST = 60
_MASK = ".mask"
_AT_START = "the agent at its start"


class AuditLog:
    """Thread-safe; one for the whole agent, which holds the lock of the state folder.

    Args:
        folder: ``<state>/audit``; made when it is missing.
        device_id: stands in every line.
        lines_per_file: a new file begins after so many.
        keep_files: older files that the store holds in full are removed; files that it does not hold never are.

    Raises:
        BadInputError: the folder cannot be used at all.
    """

    def __init__(self, folder: Path, device_id: str, *, lines_per_file: int = 1000, keep_files: int = 100) -> None:
        self.on_append: Callable[[], None] = lambda: None
        """Called after each line; must return at once."""
        self._folder = folder
        self._device_id = device_id
        self._lines_per_file, self._keep_files = lines_per_file, keep_files
        self._lock = threading.Lock()
        self._waiting: deque[AuditEntry] = deque(maxlen=_MOST_WAITING)
        self._recent: dict[str, deque[AuditLine]] = {}
        self._trouble = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._signer, new_key = _signer(folder)
            self._open(new_key)
        except OSError as error:
            raise BadInputError(f"state: cannot keep the audit log in {folder}: {error.strerror}") from None

    @property
    def head(self) -> AuditHead:
        """The end of the chain, and how much of it is shipped."""
        with self._lock:
            return self._head()

    @property
    def signed_head(self) -> Envelope:
        """The same in an envelope, signed by the device."""
        return self._signed(self.head)

    @property
    def signer(self) -> Signer:
        """The device's key."""
        return self._signer

    @property
    def trouble(self) -> str:
        """Why lines wait in memory, or what was wrong with the log at the start; empty when all is well."""
        return self._trouble

    def append(self, entry: AuditEntry) -> None:
        """Write one line, durably. On a full disk it waits in memory, in order, and is tried again with the next.

        What has happened is not undone because it cannot be written down: this never raises.
        """
        with self._lock:
            self._waiting.append(entry)
            self._flush()
        self.on_append()

    def record_settings(self, path: Path, settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Write lines when configuration or people are not those written last; the first start of all makes none.

        Args:
            path: where the settings are kept until the next start; secrets as fingerprints under the device's key.
            settings: every option, as text; ``cameras.<id>.mask`` holds the version of the mask, ``people.<name>`` what
                somebody may do.
            secrets: every option that may hold one.
        """
        now = {**settings, **{name: f"({self._fingerprint(value)})" for name, value in secrets.items()}}
        before = _settings_before(path)
        try:
            write_atomic(path, canonical_json(now))
        except OSError as error:
            log.error("the settings cannot be kept in %s: %s; their next change is not told", path, error.strerror)
        if before is None:
            return
        changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        for name in (name for name in changed if name.endswith(_MASK)):
            reason = f"privacy mask of {name.split('.')[1]}"
            self._changed("mask", _BY_FILE, before.get(name), now.get(name), reason)
        for name in (name for name in changed if name.startswith(_PEOPLE)):
            self._changed(
                "people", _BY_PEOPLE, None, name.removeprefix(_PEOPLE), now.get(name, "is not listed any more")
            )
        others = [name for name in changed if not name.endswith(_MASK) and not name.startswith(_PEOPLE)]
        if others:
            told = [f"{name}: {_short(before, name)} → {_short(now, name)}" for name in others[:_MOST_NAMED]]
            more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
            self._changed("settings", _BY_FILE, None, None, "; ".join(told) + more)

    def record_batch(self, camera_id: str, before: str | None, after: str | None, by: str) -> None:
        """Write a line about another batch in front of a camera. Parts have none: each frame's record names its own."""
        self._changed("lot", by, before, after, f"batch in front of {camera_id}")

    def retry(self) -> None:
        """Try again to write what waits."""
        with self._lock:
            if self._waiting:
                self._flush()

    def recent(self) -> list[AuditLine]:
        """The newest lines of each kind, oldest first; those of earlier runs included."""
        with self._lock:
            lines = [line for kind in self._recent.values() for line in kind]
        return sorted(lines, key=lambda line: line.sequence)

    def _fingerprint(self, secret: str) -> str:
        """Eight characters that differ for another text, and tell nothing about it without the key of this device."""
        return hashlib.sha256(self._signer.private.sign(b"setting " + secret.encode())).hexdigest()[:8]

    def _changed(self, kind: str, who: str, source: str | None, target: str | None, reason: str) -> None:
        entry = AuditEntry(
            at=utc_now(), kind=kind, who=who, source=source, target=target, result="changed", reason=reason
        )
        self.append(entry)

    def _remember(self, line: AuditLine) -> None:
        self._recent.setdefault(line.kind, deque(maxlen=RECENT_LINES)).append(line)

    def unshipped(self, most: int = 1000) -> tuple[int, int, bytes] | None:
        """The oldest lines that the store does not hold, ``(first, last, bytes)``; None when it holds all.

        Raises:
            OSError: the files cannot be read.
        """
        with self._lock:
            begin, end, log_id = self._shipped + 1, self._last.sequence, self._log_id
        if begin > end:
            return None
        end = min(end, begin + most - 1)
        chosen: list[bytes] = []
        files = segments(self._folder / log_id)
        for (first, path), following in zip(files, [*[f for f, _ in files[1:]], None], strict=True):
            if first > end or (following is not None and following <= begin):
                continue
            lines = path.read_bytes().split(b"\n")[:-1]
            chosen += lines[max(0, begin - first) : end - first + 1]
        if len(chosen) != end - begin + 1:
            raise OSError(f"lines {begin} to {end} of the audit log cannot be found in {self._folder / log_id}")
        return begin, end, b"\n".join(chosen) + b"\n"

    def mark_shipped(self, last: int) -> None:
        """The store holds every line up to ``last``: remember it, and remove old files."""
        with self._lock:
            self._shipped = max(self._shipped, last)
            files = segments(self._folder / self._log_id)
            spare = files[: max(0, len(files) - self._keep_files)]
            shipped = [
                path for (_, path), (next_, _) in zip(spare, files[1:], strict=False) if next_ - 1 <= self._shipped
            ]
            if shipped:
                self._first = files[len(shipped)][0]
            self._write_head()
            for path in shipped:  # after the head records it: never a log that begins later than its head
                path.unlink(missing_ok=True)

    def _open(self, new_key: str) -> None:
        try:
            head = read_head(self._folder, TrustedKeys.of(self._signer))
            if head is None:
                self._begin("the first start of this device on this state folder" + new_key, None)
                return
            tail = check_tail(self._folder, head, self._signer)
        except (UserError, OSError) as error:
            log.error("the audit log in %s is damaged: %s; a new one begins", self._folder, error)
            self._trouble = f"the audit log was damaged: {error}; a new one began"
            self._begin(f"the log before it was damaged: {error}{new_key}", _end_by_head(self._folder))
            return
        self._log_id, self._last, self._shipped = head.log_id, tail.last, head.shipped
        self._first, self._file, self._lines = head.first_sequence, tail.path, tail.lines
        for line in tail.recent:
            self._remember(line)
        if tail.torn:
            os.truncate(tail.path, tail.size)
            reason = f"{tail.torn} bytes of a line were cut off that was being written when the agent was ended"
            self.append(AuditEntry(at=utc_now(), kind="recovered", who=_AT_START, result="recovered", reason=reason))

    def _begin(self, reason: str, before: str | None) -> None:
        self._log_id = f"{utc_now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        self._last, self._shipped, self._first, self._lines = ChainLink(0, GENESIS), 0, 1, 0
        (self._folder / self._log_id).mkdir()
        self._file = log_file(self._folder / self._log_id, 1)
        fsync_folder(self._folder)
        self._write_head()  # first, so that a log without a head is never ours
        public_key = self._signer.public_pem().decode()
        begin = AuditEntry(
            at=utc_now(),
            kind="begin",
            who=_AT_START,
            result="begun",
            reason=reason,
            source=before,
            public_key=public_key,
        )
        self.append(begin)

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            log.error("the audit log %s cannot be written: %s", self._file, error)
            self._trouble = f"the audit log cannot be written: {error.strerror}; {len(self._waiting)} lines wait"
            return
        if self._trouble.endswith("lines wait"):
            self._trouble = ""
        self._write_head()

    def _write(self, entry: AuditEntry) -> None:
        if self._lines >= self._lines_per_file:
            self._file, self._lines = log_file(self._file.parent, self._last.sequence + 1), 0
        line = AuditLine(
            device_id=self._device_id,
            log_id=self._log_id,
            sequence=self._last.sequence + 1,
            previous=self._last.sha256,
            **dict(entry),
        )
        raw = signed_line(line, self._signer)
        _append_durably(self._file, raw + b"\n", new=not self._lines)
        self._lines += 1
        self._last = ChainLink(line.sequence, digest(raw))
        self._remember(line)

    def _head(self) -> AuditHead:
        return AuditHead(
            device_id=self._device_id,
            log_id=self._log_id,
            sequence=self._last.sequence,
            sha256=self._last.sha256,
            first_sequence=self._first,
            shipped=self._shipped,
            at=utc_now(),
        )

    def _signed(self, head: AuditHead) -> Envelope:
        return self._signer.seal(head.payload(), "device-audit-head")

    def _write_head(self) -> None:
        try:
            write_head(self._folder / HEAD, self._signed(self._head()))
        except (UserError, OSError) as error:  # the log is ahead of its head then, which a start understands
            log.error("the head of the audit log cannot be written: %s", error)


def _short(settings: Mapping[str, str], name: str) -> str:
    value = settings.get(name, "–")
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"


def _settings_before(path: Path) -> dict[str, str] | None:
    """The settings of the last start; None where there are none that can be read."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return {name: str(value) for name, value in found.items()} if is_json_object(found) else None


def _append_durably(path: Path, data: bytes, *, new: bool) -> None:
    """Append all bytes and fsync, or leave the file as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if new:
        fsync_folder(path.parent)


def _signer(folder: Path) -> tuple[Signer, str]:
    """The key of the device, and a remark when it had to be made anew: a device must start, whatever became of it."""
    path = folder / KEY
    try:
        existed = path.exists()
        signer = Signer.load_or_create(path)
        if not existed:
            fsync_folder(folder)
        return signer, ""
    except SignatureError as error:
        aside = f".unreadable-{utc_now():%Y%m%dT%H%M%SZ}"
        for old in (path, path.with_name(f"{KEY}.pub")):
            if old.exists():
                old.rename(old.with_name(old.name + aside))
        return Signer.load_or_create(path), f"; a new key was made: {error}"


def _end_by_head(folder: Path) -> str | None:
    """The end that a damaged log's head names, unverified: ``<log_id> line <n> <sha256>``, or only a folder's name."""
    try:
        head = unverified_content((folder / HEAD).read_bytes(), HEAD).record(AuditHead, HEAD)
        return f"{head.log_id} line {head.sequence} {head.sha256}"
    except (OSError, BadInputError, SignatureError):
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        return names[-1] if names else None
