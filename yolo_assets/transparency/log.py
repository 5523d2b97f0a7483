"""The log as it lies below ``checkpoints/`` of an archive root: checkpoints, and the list of receipts of each.

An entry of the log is the SHA-256 of a receipt as it is stored. A list is a text that ``sha256sum --check`` reads, with
a comment where the time begins until which receipts are kept; the checkpoint names its hash. The checkpoint is written
last: a list without one belongs to nothing. Where the store keeps versions, the oldest that proves itself counts.
Belongs here: reading, and the form of a list. Does not belong here: what is wrong with a log (``verification``).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.archive.originals import oldest_version
from yolo_assets.contracts.checkpoint import Checkpoint, SignedCheckpoint
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.merkle import GrowingTree, leaf_hash
from yolo_assets.contracts.names import (
    CHECKPOINTS,
    ArchiveName,
    checkpoint_key,
    checkpoint_list_key,
    parse_checkpoint_key,
)
from yolo_assets.contracts.trail import TrailHead
from yolo_assets.storage.base import ObjectNotFoundError, StoreUnavailableError

_LIST = "receipts sha256 "
_TRAIL = re.compile(r"audit trail (?P<number>[1-9][0-9]{0,17}) sha256 (?P<sha256>[A-Za-z0-9+/]{43}=)")
_KEPT, _NO_END = "# kept until ", "# kept without an end"


class KnownReceipt(NamedTuple):
    """A receipt that is in the archive now.

    Attributes:
        key: where it lies.
        sha256: of its bytes as stored, 32 bytes; None: not known without reading it.
        verified_at: when its archive was verified, as it says itself, in seconds since 1970; None: it is untrusted.
        kept_until: last day of the retention of its archive, ``YYYY-MM-DD``; None without one.
        problem: why it is untrusted.
    """

    key: str
    sha256: bytes | None
    verified_at: float | None = None
    kept_until: str | None = None
    problem: str | None = None


@dataclass
class ReceiptList:
    """Receipts in the order in which they came into the log.

    Attributes:
        keys: where they lie, or lay.
        hashes: SHA-256 of each, 32 bytes.
        kept: ``(first, day)``: from entry ``first`` on they are kept until the end of ``day`` (``YYYY-MM-DD``), or
            without an end where that is None.
    """

    keys: list[str] = field(default_factory=list[str])
    hashes: list[bytes] = field(default_factory=list[bytes])
    kept: list[tuple[int, str | None]] = field(default_factory=list[tuple[int, str | None]])

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: str, sha256: bytes, day: str | None) -> None:
        """Append a receipt that is kept until the end of a day."""
        if not self.kept or self.kept[-1][1] != day:
            self.kept.append((len(self.keys), day))
        self.keys.append(key)
        self.hashes.append(sha256)

    def leaves(self) -> list[bytes]:
        """Hashes of the entries, for a tree."""
        return [leaf_hash(entry) for entry in self.hashes]

    def text(self) -> bytes:
        """As ``sha256sum --check`` reads it in the archive root."""
        lines = [f"{digest.hex()}  {key}\n" for key, digest in zip(self.keys, self.hashes, strict=True)]
        for first, day in reversed(self.kept):
            lines.insert(first, f"{_NO_END}\n" if day is None else f"{_KEPT}{day}\n")
        return "".join(lines).encode()

    @classmethod
    def parse(cls, text: bytes, label: str) -> ReceiptList:
        """From its text.

        Raises:
            IntegrityError: it is no such list.
        """
        found = cls()
        try:
            for line in text.decode().splitlines():
                if not line.startswith("#"):
                    digest, key = line[:64], line[66:]
                    if line[64:66] != "  " or not key:
                        raise ValueError
                    found.hashes.append(bytes.fromhex(digest))
                    found.keys.append(key)
                elif line == _NO_END or line.startswith(_KEPT):
                    found.kept.append((len(found.keys), None if line == _NO_END else line.removeprefix(_KEPT)))
        except ValueError:
            raise IntegrityError(f"{label} is no list of receipts; it was changed or damaged") from None
        return found


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint of the log, its own signatures verified.

    Attributes:
        number: counted from 1.
        data: the note as stored.
        signed: what it states, and when the log says it was signed.
    """

    number: int
    data: bytes
    signed: SignedCheckpoint

    @property
    def key(self) -> str:
        """Where it lies."""
        return checkpoint_key(self.number)

    @property
    def checkpoint(self) -> Checkpoint:
        """What it states."""
        return self.signed.checkpoint

    @property
    def list_sha256(self) -> str | None:
        """Hash of the list of what it added; None: it added nothing."""
        return list_hash(self.checkpoint)

    @property
    def trail(self) -> TrailHead | None:
        """How far the audit trail of the centre went; None: it does not say so."""
        for line in self.checkpoint.extensions:
            if found := _TRAIL.fullmatch(line):
                return TrailHead(int(found["number"]), base64.b64decode(found["sha256"]).hex())
        return None


def trail_line(head: TrailHead) -> str:
    """The extension line of a checkpoint that says how far the audit trail of the centre went."""
    return f"audit trail {head.number} sha256 {base64.b64encode(bytes.fromhex(head.sha256)).decode()}"


def list_line(sha256: str) -> str:
    """The extension line of a checkpoint that binds its list, so that the names in it are proven, too."""
    return f"{_LIST}{base64.b64encode(bytes.fromhex(sha256)).decode()}"


def list_hash(checkpoint: Checkpoint) -> str | None:
    """Hexadecimal SHA-256 of the list that a checkpoint names; None when it names none.

    Raises:
        IntegrityError: its line is not readable.
    """
    for line in checkpoint.extensions:
        if line.startswith(_LIST):
            try:
                return base64.b64decode(line.removeprefix(_LIST), validate=True).hex()
            except ValueError:
                raise IntegrityError(f"a checkpoint of {checkpoint.origin} names its list wrongly") from None
    return None


@dataclass(frozen=True)
class ReceiptLog:
    """The log of one archive root."""

    archive: Archive

    def numbers(self) -> dict[str, list[int]]:
        """Numbers of the checkpoints, time stamps and co-signatures that are listed, each in order.

        Keys are ``checkpoint``, ``tsr`` and ``cosignature``.
        """
        found: dict[str, list[int]] = {"checkpoint": [], "tsr": [], "cosignature": []}
        for info in self.archive.store.list(CHECKPOINTS):
            if (parsed := parse_checkpoint_key(info.key)) is not None:
                found[parsed[1]].append(parsed[0])
        return found

    def checkpoint(self, number: int) -> StoredCheckpoint:
        """One checkpoint, the log's signatures verified; the original, where another was written over it.

        Raises:
            ObjectNotFoundError: there is none.
            SignatureError: changed, or signed by a key that is not trusted.
        """
        key = checkpoint_key(number)
        data = self._original(key, lambda data: bool(SignedCheckpoint.parse(data, self.archive.trusted, key)))
        return StoredCheckpoint(number, data, SignedCheckpoint.parse(data, self.archive.trusted, key))

    def checkpoints(self, after: int = 0) -> Iterator[StoredCheckpoint]:
        """Every checkpoint from number ``after + 1`` on, in order.

        Raises:
            IntegrityError: one is missing between others.
            SignatureError: see ``checkpoint``.
        """
        numbers = [number for number in self.numbers()["checkpoint"] if number > after]
        for number, expected in zip(numbers, range(after + 1, after + 1 + len(numbers)), strict=True):
            if number != expected:
                raise IntegrityError(f"{checkpoint_key(expected)} is missing, and later ones are there: it was removed")
        yield from in_order(numbers, self.checkpoint)

    def receipts(self, stored: StoredCheckpoint) -> ReceiptList:
        """The receipts that a checkpoint added, as its own line names them.

        Raises:
            IntegrityError: the list is missing, changed or damaged.
        """
        if (digest := stored.list_sha256) is None:
            return ReceiptList()
        key = checkpoint_list_key(stored.number, digest)
        try:
            text = unpacked(self._original(key, lambda data: hashlib.sha256(unpacked(data)).hexdigest() == digest))
        except ObjectNotFoundError:
            raise IntegrityError(f"{key} is missing: which receipts checkpoint {stored.number} added") from None
        if hashlib.sha256(text).hexdigest() != digest:
            raise IntegrityError(f"{key} is not the list that checkpoint {stored.number} names; it was changed")
        return ReceiptList.parse(text, key)

    def steps(self, after: int = 0) -> Iterator[tuple[StoredCheckpoint, ReceiptList]]:
        """Checkpoints from number ``after + 1`` on, each with what it added; lists are read a few ahead."""
        stored = list(self.checkpoints(after))
        yield from zip(stored, in_order(stored, self.receipts), strict=True)

    def _original(self, key: str, proves: Callable[[bytes], bool]) -> bytes:
        """The bytes of an object, or of its oldest version that proves itself, where the store keeps versions."""

        def proven(data: bytes) -> bool:
            try:
                return proves(data)
            except UserError:
                return False

        try:
            version = oldest_version(self.archive.store, key, proven)
        except StoreUnavailableError as error:
            if error.transient:
                raise
            version = None  # without the right to list versions: what is there
        return self.archive.store.get(key, version_id=None if version is None else version.version_id)


def unpacked(data: bytes) -> bytes:
    """A list's text; no bytes where it cannot be unpacked, which no hash fits."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return b""


def grow(tree: GrowingTree, stored: StoredCheckpoint, added: ReceiptList) -> None:
    """Append what a checkpoint added to the tree of the one before it.

    Raises:
        IntegrityError: that is not the tree that the checkpoint signed: the log is forked, or was changed.
    """
    tree.extend(added.leaves())
    if (tree.size, tree.root) != (stored.checkpoint.size, stored.checkpoint.root):
        raise IntegrityError(
            f"{stored.key} does not continue the checkpoint before it: it states {stored.checkpoint.size} receipts, "
            f"and with its list there are {tree.size}; the log was forked or changed"
        )


def read_receipts(archive: Archive) -> Iterator[KnownReceipt]:
    """Every receipt of an archive, read and hashed one by one: needs no catalog, and trusts none.

    Raises:
        StoreUnavailableError: the store stopped answering.
    """
    for known in in_order(archive.names(), lambda name: read_receipt(archive, name)):
        if known is not None:
            yield known


def read_receipt(archive: Archive, name: ArchiveName) -> KnownReceipt | None:
    """One receipt, read and hashed; None when it is gone."""
    try:
        data, receipt = archive.read_receipt(name)
    except ObjectNotFoundError:
        return None
    except (SignatureError, IntegrityError, BadInputError) as error:
        try:
            data = archive.store.get(name.receipt_key)
        except ObjectNotFoundError:
            return None
        return KnownReceipt(name.receipt_key, hashlib.sha256(data).digest(), problem=str(error))
    digest = hashlib.sha256(data).digest()
    kept = None if receipt.retention_until is None else receipt.retention_until.date().isoformat()
    return KnownReceipt(name.receipt_key, digest, receipt.verified_at.timestamp(), kept)


def whole_log(archive: Archive) -> tuple[list[StoredCheckpoint], list[ReceiptList], GrowingTree]:
    """Checkpoints, what each added, and the tree of them all; each must continue the one before it.

    Raises:
        IntegrityError, SignatureError: the log is not what was signed.
    """
    log, tree = ReceiptLog(archive), GrowingTree()
    stored: list[StoredCheckpoint] = []
    lists: list[ReceiptList] = []
    for one, added in log.steps():
        if stored and one.checkpoint.origin != stored[0].checkpoint.origin:
            raise IntegrityError(f"{one.key} is of the log {one.checkpoint.origin}, not {stored[0].checkpoint.origin}")
        grow(tree, one, added)
        stored.append(one)
        lists.append(added)
    return stored, lists, tree
