"""What still counts of a revoked key: receipts that were in the log before it was revoked, as others say.

Who has the key can date receipts and checkpoints as they like. So the time is never the log's. It is that of a witness
who co-signed, or of an authority that stamped: the earliest that is shown after the receipt came into the log.

Does not belong here: the rule for one key (``contracts.trusted_key``), and the verdict on a history (``verification``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from itertools import count
from pathlib import Path

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.contracts.checkpoint import VerifierKey
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.merkle import GrowingTree
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectStore
from yolo_assets.transparency.log import ReceiptList, ReceiptLog, StoredCheckpoint, grow
from yolo_assets.transparency.verification import Others, states_of_checkpoints


def trusted_archive(store: ObjectStore, keys: Sequence[Path], settings: Settings) -> Archive:
    """The archive of a store, read with these public keys, the revoked ones among them for what others witnessed.

    Args:
        store: the archive root.
        keys: files of public keys; without any no receipt counts.
        settings: the certificates of time-stamp authorities and the keys of witnesses that are trusted.

    Raises:
        SignatureError: a file holds no such key.
    """
    archive = Archive(store, TrustedKeys.load(keys) if keys else TrustedKeys({}))
    if all(key.revoked_at is None for key in archive.trusted.keys.values()):
        return archive
    # The log is read once, and only when something of a revoked key is met.
    times = cache(lambda: held_times(archive, others_of(settings)))
    return Archive(store, archive.trusted.with_checkpoints(lambda sha256: times().get(sha256)))


def others_of(settings: Settings) -> Others:
    """Whose word on the log counts in an installation.

    Raises:
        BadInputError, SignatureError: a file of theirs cannot be read, or is none.
    """
    roots = None
    if settings.timestamp_roots is not None:
        from yolo_assets.transparency.timestamps import load_roots

        roots = load_roots(settings.timestamp_roots)
    return Others(witnesses=[VerifierKey.load(path) for path in settings.witness_keys()], roots=roots)


def held_times(archive: Archive, others: Others) -> dict[str, datetime]:
    """When each receipt was in the log at the latest, by the SHA-256 of its bytes, in hexadecimal.

    A log that does not continue itself counts until there. Receipts that no witness and no authority vouches for are
    not in it.

    Args:
        archive: only read.
        others: keys of witnesses and certificates of authorities.
    """
    tree = GrowingTree()
    stored: list[StoredCheckpoint] = []
    lists: list[ReceiptList] = []
    log = ReceiptLog(archive)
    for number, step in zip(count(1), in_order(log.numbers()["checkpoint"], partial(_step, log)), strict=False):
        if step is None or step[0].number != number:
            break  # told by ``verify_history``
        try:
            grow(tree, *step)
        except IntegrityError:
            break
        stored.append(step[0])
        lists.append(step[1])
    found: dict[str, datetime] = {}
    vouched: datetime | None = None
    states = states_of_checkpoints(archive, stored, lists, others).checkpoints
    for state, added in zip(reversed(states), reversed(lists), strict=True):
        times = [one.at for one in state.cosigned]
        if others.roots is not None and state.stamped_at is not None:  # without certificates its time is a claim
            times.append(state.stamped_at)
        if vouched is not None:
            times.append(vouched)
        vouched = min(times) if times else None
        if vouched is not None:
            found |= dict.fromkeys((sha256.hex() for sha256 in added.hashes), vouched)
    return found


def _step(log: ReceiptLog, number: int) -> tuple[StoredCheckpoint, ReceiptList] | None:
    """A checkpoint and what it added; None where one of them is not as it was signed."""
    try:
        stored = log.checkpoint(number)
        return stored, log.receipts(stored)
    except (IntegrityError, SignatureError):
        return None
