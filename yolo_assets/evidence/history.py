"""From a receipt to the log of all receipts: in which checkpoint it is, who co-signed that, when it was stamped.

In a pack: ``history/<archive>.tlog-proof`` leads from a receipt to a checkpoint, with the co-signatures of that;
``history/<number>.checkpoint`` is the checkpoint as stored, and ``.tsr`` beside it its time stamp. Belongs here:
collecting these, and checking them offline. Does not belong here: the log itself (``transparency``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from yolo_assets.contracts.checkpoint import LogProof, Note, SignedCheckpoint, VerifierKey
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.merkle import is_included, leaf_hash
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import format_time
from yolo_assets.evidence.manifest import PackHistory, checkpoint_path, history_proof_path
from yolo_assets.evidence.signing import ProvenReceipt
from yolo_assets.evidence.wording import many

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive


@dataclass(frozen=True)
class HistoryTrust:
    """Whom a checker trusts besides the log's own key, got by another way than the pack.

    Attributes:
        witnesses: keys that must have co-signed.
        roots: certificates of authorities that must have stamped; None: none must.
    """

    witnesses: Sequence[VerifierKey] = ()
    roots: Sequence[x509.Certificate] | None = None


def collect_history(archive: Archive, held: Mapping[str, ProvenReceipt]) -> tuple[PackHistory | None, dict[str, bytes]]:
    """What the log of an archive says of receipts, and the files of it in a pack; nothing without a checkpoint.

    Args:
        archive: whose log.
        held: receipts by name of their archive.
    """
    from yolo_assets.transparency.proofs import prove_receipts
    from yolo_assets.transparency.timestamps import stamped_at

    hashes = {proven.name.receipt_key: hashlib.sha256(proven.data).digest() for proven in held.values()}
    try:
        found = prove_receipts(archive, hashes)
        if not found.proofs:
            return None, {}
        files: dict[str, bytes] = {}
        names, times = set[str](), list[datetime]()
        stamped = 0
        for stem, proven in held.items():
            key = proven.name.receipt_key
            if (proof := found.proofs.get(key)) is not None:
                files[history_proof_path(stem)] = proof.to_bytes()
                note = Note.parse(proof.note, key)
                names |= {one.name for one in note.signatures} - {note.text.partition("\n")[0]}
                stamped += found.numbers[key] in found.tokens
        for number, data in found.checkpoints.items():
            files[checkpoint_path(number)] = data
        for number, token in found.tokens.items():
            files[checkpoint_path(number, "tsr")] = token
            times.append(stamped_at(token, found.checkpoints[number], None, checkpoint_path(number, "tsr")))
    except (IntegrityError, SignatureError) as error:
        return PackHistory(receipts=0, problem=str(error)), {}
    latest = max(times) if stamped == len(held) else None
    return PackHistory(receipts=len(found.proofs), stamped_at=latest, cosigned_by=tuple(sorted(names))), files


def check_history(
    receipts: Mapping[str, ProvenReceipt],
    listed: Collection[str],
    read: Callable[[str], bytes],
    trusted: TrustedKeys,
    trust: HistoryTrust,
) -> str:
    """Check the way of every receipt into the log, and what others said of its checkpoint.

    Args:
        receipts: proven ones, by name of their archive.
        listed: paths in the pack.
        read: a file of the pack.
        trusted: keys, one of which must be the log's.
        trust: who else must have signed.

    Raises:
        IntegrityError, SignatureError: something does not fit, or one who must have signed did not.
    """
    stamps = _stamps(listed, read, trust)
    proven, cosigned, times = 0, set[str](), set[datetime]()
    for stem, receipt in receipts.items():
        path = history_proof_path(stem)
        if path not in listed:
            continue
        proof = LogProof.parse(read(path), path)
        signed = SignedCheckpoint.parse(proof.note, trusted, path)
        stated, leaf = signed.checkpoint, leaf_hash(hashlib.sha256(receipt.data).digest())
        if not is_included(leaf, proof.index, stated.size, proof.nodes, stated.root):
            raise IntegrityError(f"{path} does not lead from the receipt to its checkpoint; one of them was changed")
        by = {one.name for one in signed.cosigned_by(trust.witnesses, path)}
        if missing := [key.name for key in trust.witnesses if key.name not in by]:
            raise SignatureError(f"{path} is not co-signed by {missing[0]}")
        if signed.note.text in stamps:
            times.add(stamps[signed.note.text])
        elif trust.roots is not None:
            raise SignatureError(f"{path} leads to a checkpoint without a time stamp")
        others = {line.name for line in signed.note.signatures} - {stated.origin} - by
        cosigned |= by | {f"{name} (its key was not given)" for name in others}
        proven += 1
    if not proven:
        return "no proof of the log of receipts is in this pack"
    told = f"{many(proven, 'receipt')} of {len(receipts)} in signed checkpoints"
    if cosigned:
        told += f", co-signed by {', '.join(sorted(cosigned))}"
    if times:
        unproven = "" if trust.roots is not None else " (the authority was not checked)"
        told += f", stamped {format_time(max(times))} at the latest{unproven}"
    return told


def _stamps(listed: Collection[str], read: Callable[[str], bytes], trust: HistoryTrust) -> dict[str, datetime]:
    """When each checkpoint of the pack was stamped, by its text."""
    stamps: dict[str, datetime] = {}
    for path in listed:
        stem, _, ending = path.rpartition(".")
        if not path.startswith("history/") or ending != "tsr":
            continue
        try:
            from yolo_assets.transparency.timestamps import stamped_at
        except ModuleNotFoundError:
            if trust.roots is not None:
                raise
            return {}  # without the extra that reads them nothing is said of time stamps
        data = read(f"{stem}.checkpoint")
        stamps[Note.parse(data, path).text] = stamped_at(read(path), data, trust.roots, path)
    return stamps
