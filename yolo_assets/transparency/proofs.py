"""Proofs for single receipts, readable without the log: which checkpoint has a receipt, and who else said so.

Belongs here: making them out of an archive's log. Does not belong here: their form (``contracts.checkpoint``), and
checking those of an evidence pack (``evidence``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.checkpoint import LogProof, NoteSignature
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.merkle import MerkleTree
from yolo_assets.contracts.names import CHECKPOINTS, checkpoint_token_key, parse_checkpoint_key
from yolo_assets.transparency.log import StoredCheckpoint, whole_log


@dataclass(frozen=True)
class ReceiptProofs:
    """Proofs of some receipts.

    Attributes:
        proofs: by key of the receipt; those that no checkpoint has yet are left out.
        numbers: of the checkpoint of each.
        checkpoints: these checkpoints as stored, by number.
        tokens: their time stamps, where they have one.
    """

    proofs: dict[str, LogProof]
    numbers: dict[str, int]
    checkpoints: dict[int, bytes]
    tokens: dict[int, bytes]


def prove_receipts(archive: Archive, receipts: dict[str, bytes]) -> ReceiptProofs:
    """Proofs that receipts are in the log.

    Each leads to the first checkpoint that has the receipt and a time stamp; without one to the first that was
    co-signed, else to the first of all. Cost: the lists of all checkpoints, and two hashes a receipt of the log.

    Args:
        archive: only read.
        receipts: SHA-256 of each, by key.

    Raises:
        IntegrityError, SignatureError: the log is not what was signed.
    """
    stored, lists, _ = whole_log(archive)
    listed = [parse_checkpoint_key(info.key) or (0, "") for info in archive.store.list(CHECKPOINTS)]
    stamped, cosigned = ({number for number, what in listed if what == kind} for kind in ("tsr", "cosignature"))
    entries: dict[str, tuple[int, int]] = {}
    count = 0
    for at, one in enumerate(lists):
        for offset, (key, digest) in enumerate(zip(one.keys, one.hashes, strict=True)):
            if receipts.get(key) == digest:
                entries[key] = (at, count + offset)
        count += len(one)
    chosen = {key: _chosen(stored[at:], stamped, cosigned) for key, (at, _) in entries.items()}
    leaves = [leaf for one in lists for leaf in one.leaves()] if entries else []
    proofs: dict[str, LogProof] = {}
    notes = _cosigned_notes(archive, list(chosen.values()), cosigned)
    for number in sorted({one.number for one in chosen.values()}):
        tree = MerkleTree(leaves[: stored[number - 1].checkpoint.size])
        for key, one in chosen.items():
            if one.number == number:
                entry = entries[key][1]
                proofs[key] = LogProof(entry, tuple(tree.inclusion_proof(entry)), notes[number])
    numbers = {key: one.number for key, one in chosen.items()}
    used = set(numbers.values())
    tokens = {number: archive.store.get(checkpoint_token_key(number)) for number in used & stamped}
    return ReceiptProofs(proofs, numbers, {number: stored[number - 1].data for number in used}, tokens)


def _chosen(later: list[StoredCheckpoint], stamped: set[int], cosigned: set[int]) -> StoredCheckpoint:
    """The earliest checkpoint that says most."""
    for known in (stamped, cosigned):
        if (found := next((one for one in later if one.number in known), None)) is not None:
            return found
    return later[0]


def _cosigned_notes(archive: Archive, chosen: list[StoredCheckpoint], cosigned: Collection[int]) -> dict[int, bytes]:
    """Checkpoints with their co-signatures, by number."""
    notes = {one.number: one.data for one in chosen}
    if not notes.keys() & set(cosigned):
        return notes
    lines: dict[int, list[NoteSignature]] = {}
    for info in archive.store.list(CHECKPOINTS):
        number, what = parse_checkpoint_key(info.key) or (0, "")
        if what == "cosignature" and number in notes:
            try:
                line = archive.store.get(info.key).decode("utf-8", "replace").removesuffix("\n")
                lines.setdefault(number, []).append(NoteSignature.parse(line, info.key))
            except SignatureError:
                continue  # told by ``verify_history``
    return {one.number: one.signed.note.signed_also(lines.get(one.number, [])).to_bytes() for one in chosen}
