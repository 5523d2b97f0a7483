"""Making a checkpoint: what the archive has more than the log is appended, and the whole is signed.

Safe to kill at any moment and to run at several places at once: the list of what is added has its hash in its name, and
the checkpoint, written last and never over another, decides which list counts. Who finds the number taken begins again
from what is there. A receipt that the log has otherwise is told and not taken in again. Does not belong here: whether
the archive is what the log says (``verification``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from isal import igzip

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.contracts.checkpoint import Checkpoint, SignedCheckpoint, log_origin
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.merkle import GrowingTree
from yolo_assets.contracts.names import ArchiveName, checkpoint_key, checkpoint_list_key, checkpoint_token_key
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.trail import TrailHead
from yolo_assets.storage.base import AlreadyExistsError
from yolo_assets.transparency.log import (
    KnownReceipt,
    ReceiptList,
    ReceiptLog,
    StoredCheckpoint,
    list_line,
    read_receipt,
    trail_line,
    whole_log,
)

_ATTEMPTS = 10


class LogBusyError(UserError):
    """Other machines made every checkpoint first."""

    may_pass = True


@dataclass(frozen=True)
class MadeCheckpoint:
    """A checkpoint, and what it added.

    Attributes:
        stored: the checkpoint.
        added: receipts that came into the log with it.
        rewritten: keys of receipts that the log has with another hash; they were not taken in.
        untrusted: keys of receipts that no trusted key signed; they were not taken in.
    """

    stored: StoredCheckpoint
    added: int
    rewritten: tuple[str, ...] = field(default=())
    untrusted: tuple[str, ...] = field(default=())


def make_checkpoint(
    archive: Archive,
    signer: Signer,
    receipts: Iterable[KnownReceipt],
    now: datetime,
    trail: TrailHead | None = None,
) -> MadeCheckpoint:
    """Sign how many receipts there are, and one hash over them all; and how far the audit trail went.

    Without new receipts it is made, too: it says that there was nothing more on that day. Cost: the lists of all
    checkpoints so far, about 40 bytes a receipt, and two objects written.

    Args:
        archive: whose receipts.
        signer: the key of the archiver on this machine; ``archive`` must trust it.
        receipts: what is in the archive now, in the order in which new ones are appended; of those without a hash, each
            that the log does not know is read.
        now: the present.
        trail: the end of the centre's audit trail; None: it is not said.

    Raises:
        BadInputError: there is no receipt yet, or the clock of this machine is before the last checkpoint.
        IntegrityError, SignatureError: the log that is there is not what was signed: nothing is added to it.
        LogBusyError: other machines were faster each time.
    """
    there = list(receipts)
    if any(one.sha256 is None for one in there):
        logged = {key for _, added in ReceiptLog(archive).steps() for key in added.keys}
        there = list(in_order(there, lambda one: _hashed(archive, one, logged)))
    for _ in range(_ATTEMPTS):
        stored, lists, tree = whole_log(archive)
        if stored and now < stored[-1].signed.at:
            raise BadInputError(
                f"the last checkpoint says {stored[-1].signed.at:%Y-%m-%d %H:%M:%S}, and the clock here is before "
                "that; set it right"
            )
        made = _append(archive, signer, stored, lists, tree, there, now, trail)
        if made is not None:
            return made
    raise LogBusyError(f"other machines wrote {_ATTEMPTS} checkpoints meanwhile; run it again")


def stamp_checkpoint(archive: Archive, stored: StoredCheckpoint, authority: str) -> None:
    """Have a time-stamp authority stamp a checkpoint, and put its answer beside it.

    Args:
        archive: where the checkpoint lies.
        stored: the checkpoint.
        authority: URL.

    Raises:
        AuthorityError: no time stamp was to be had; the checkpoint stays without.
    """
    from yolo_assets.transparency.timestamps import request_token

    with suppress(AlreadyExistsError):
        archive.store.put_if_absent(checkpoint_token_key(stored.number), request_token(authority, stored.data))


def _append(
    archive: Archive,
    signer: Signer,
    stored: list[StoredCheckpoint],
    lists: list[ReceiptList],
    tree: GrowingTree,
    there: list[KnownReceipt],
    now: datetime,
    trail: TrailHead | None,
) -> MadeCheckpoint | None:
    """The next checkpoint, or None when another machine made it."""
    logged = {key: digest for one in lists for key, digest in zip(one.keys, one.hashes, strict=True)}
    added, rewritten, untrusted = ReceiptList(), list[str](), list[str]()
    for known in there:
        digest = logged.get(known.key)
        if digest is not None and known.sha256 not in (None, digest):
            rewritten.append(known.key)
        elif digest is None and known.problem is not None:
            untrusted.append(known.key)
        elif digest is None and known.sha256 is not None:
            added.add(known.key, known.sha256, known.kept_until)
    if not stored and not len(added):
        raise BadInputError(f"there is no receipt in {archive.url} yet; archive something first")
    number = len(stored) + 1
    extensions = [trail_line(trail)] if trail is not None and trail.number else []
    if len(added):
        text = added.text()
        digest = hashlib.sha256(text).hexdigest()
        with suppress(AlreadyExistsError):  # by its name it is the same list: of a run that was killed
            archive.store.put_if_absent(checkpoint_list_key(number, digest), igzip.compress(text, 1))
        extensions.append(list_line(digest))
        tree.extend(added.leaves())
    origin = stored[0].checkpoint.origin if stored else log_origin(signer)
    signed = SignedCheckpoint.sign(Checkpoint(origin, tree.size, tree.root, tuple(extensions)), signer, now)
    data = signed.note.to_bytes()
    try:
        archive.store.put_if_absent(checkpoint_key(number), data)
    except AlreadyExistsError:
        return None
    # A locked bucket may take two writers: the oldest version counts, so the other begins again.
    written = ReceiptLog(archive).checkpoint(number)
    if written.data != data:
        return None
    return MadeCheckpoint(written, len(added), tuple(rewritten), tuple(untrusted))


def _hashed(archive: Archive, known: KnownReceipt, logged: Container[str]) -> KnownReceipt:
    """A receipt with its hash; without one where it is gone, or in the log already."""
    if known.sha256 is not None or known.key in logged:
        return known
    return read_receipt(archive, ArchiveName.parse(known.key)) or known
