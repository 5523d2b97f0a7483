"""The witness: a second holder of a key, on a machine of its own, who co-signs what continues the log it saw.

It reads the archive root and never writes there. What it keeps is small: number, size and root of the newest checkpoint
that it saw, and the nodes by which a longer log can be held against it. That is on disk before anything is signed, so
that, killed at any moment, it never co-signs two histories. What it co-signed lies in its folder ``cosigned``; the
archive's machine takes it over from there (``collect_cosignatures``), and whoever keeps one of the files can hold the
archive against it. Does not belong here: making checkpoints, and the verdict on an archive (``verification``).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.base import Record
from yolo_assets.contracts.checkpoint import TIMED, Note, VerifierKey, check_key_name, cosign
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.merkle import GrowingTree
from yolo_assets.contracts.names import checkpoint_cosignature_key, checkpoint_key, parse_checkpoint_key
from yolo_assets.contracts.signing import Signer
from yolo_assets.runtime.files import locked_file, write_atomic
from yolo_assets.storage.base import AlreadyExistsError, ObjectStore
from yolo_assets.transparency.log import ReceiptLog, StoredCheckpoint, grow

KEY, PUBLIC_KEY = "witness", "witness.vkey"
_STATE, _LOCK, _COSIGNED, _REFUSED = "state.json", "lock", "cosigned", "refused"


class WitnessState(Record):
    """``state.json``: the newest checkpoint that this witness saw."""

    schema_version: Literal[1] = 1
    origin: str
    number: int = Field(ge=1)
    size: int = Field(ge=0)
    root: str
    nodes: tuple[str, ...] = Field(description="of the tree, the largest first, hexadecimal")


@dataclass(frozen=True)
class WitnessRound:
    """What a witness did.

    Attributes:
        number: of the newest checkpoint.
        size: receipts in it.
        seen: checkpoints that were new.
        cosigned: the co-signed checkpoint.
        again: it had been co-signed before.
    """

    number: int
    size: int
    seen: int
    cosigned: Path
    again: bool


@dataclass(frozen=True)
class Witness:
    """A witness and its folder.

    Attributes:
        folder: key, state and what was co-signed.
        name: of its key, as signatures have it.
        signer: holds the key.
    """

    folder: Path
    name: str
    signer: Signer

    @classmethod
    def open(cls, folder: Path, name: str | None) -> Witness:
        """The witness of a folder; the first time its key is made.

        Args:
            folder: its own, on its own machine.
            name: of its key; None: as before, the first time one made of the key.

        Raises:
            BadInputError: it has another name already.
        """
        signer = Signer.load_or_create(folder / KEY)
        written = folder / PUBLIC_KEY
        before = VerifierKey.parse(written.read_text(), str(written)).name if written.exists() else None
        chosen = check_key_name(name or before or f"yolo-assets-witness/{signer.key_id}")
        if before not in (None, chosen):
            raise BadInputError(f"the witness in {folder} is called {before}; leave out --name, or use another folder")
        found = cls(folder, chosen, signer)
        if before is None:
            write_atomic(written, f"{found.key}\n".encode())
        return found

    @property
    def key(self) -> VerifierKey:
        """What others check its co-signatures with."""
        return VerifierKey(self.name, TIMED, self.signer.private.public_key())

    def look(self, archive: Archive, now: datetime) -> WitnessRound:
        """Read what is new in the log, and co-sign its newest checkpoint if all of it continues what was seen before.

        Args:
            archive: only read.
            now: the present.

        Raises:
            BadInputError: the archive has no checkpoint yet.
            IntegrityError: the log was set back, forked or changed: nothing is signed; what it showed is kept in the
                folder ``refused``.
            SignatureError: a checkpoint is not signed by a trusted key.
        """
        with locked_file(self.folder / _LOCK, f"another witness works in {self.folder}"):
            try:
                stored, seen = self._follow(archive)
            except (IntegrityError, SignatureError):
                self._keep_refused(archive)
                raise
            path = self.folder / _COSIGNED / Path(checkpoint_key(stored.number)).name
            if again := path.exists():
                again = Note.parse(path.read_bytes(), str(path)).text == stored.signed.note.text
            if not again:
                path.parent.mkdir(exist_ok=True)
                text = stored.signed.note.text
                added = cosign(text, self.name, self.signer, now)
                write_atomic(path, stored.signed.note.signed_also([added]).to_bytes())
            return WitnessRound(stored.number, stored.checkpoint.size, seen, path, again)

    def _follow(self, archive: Archive) -> tuple[StoredCheckpoint, int]:
        """The newest checkpoint, once it is on disk that it was seen; and how many were new."""
        log, state = ReceiptLog(archive), self._state()
        newest = max(log.numbers()["checkpoint"], default=0)
        last: StoredCheckpoint | None = None
        tree = GrowingTree()
        if state is not None:
            if newest < state.number:
                raise IntegrityError(
                    f"the log in {archive.url} ends with checkpoint {newest}, and this witness saw {state.number}: the "
                    "store withholds what is newer, or was set back"
                )
            last = log.checkpoint(state.number)
            seen = (last.checkpoint.origin, last.checkpoint.size, last.checkpoint.root.hex())
            if seen != (state.origin, state.size, state.root):
                raise IntegrityError(
                    f"{last.key} in {archive.url} is not what this witness saw: the history was rewritten"
                )
            tree = GrowingTree(state.size, map(bytes.fromhex, state.nodes))
        new = 0
        for stored, added in log.steps(last.number if last is not None else 0):
            if last is not None and stored.checkpoint.origin != last.checkpoint.origin:
                raise IntegrityError(
                    f"{stored.key} is of the log {stored.checkpoint.origin}, not of the one seen before"
                )
            grow(tree, stored, added)
            last, new = stored, new + 1
        if last is None:
            raise BadInputError(f"there is no checkpoint in {archive.url} yet; make one with: archive checkpoint")
        stated = last.checkpoint
        nodes = tuple(node.hex() for node in tree.nodes)
        found = WitnessState(
            origin=stated.origin, number=last.number, size=stated.size, root=stated.root.hex(), nodes=nodes
        )
        if found != state:
            write_atomic(self.folder / _STATE, found.to_json())
        return last, new

    def _state(self) -> WitnessState | None:
        path = self.folder / _STATE
        try:
            return WitnessState.from_json(path.read_bytes(), str(path))
        except FileNotFoundError:
            return None

    def _keep_refused(self, archive: Archive) -> None:
        """Keep the newest checkpoint of a log that was refused: it proves what was shown here."""
        newest = max(ReceiptLog(archive).numbers()["checkpoint"], default=0)
        if newest:
            data = archive.store.get(checkpoint_key(newest))
            folder = self.folder / _REFUSED
            folder.mkdir(exist_ok=True)
            write_atomic(folder / f"{newest:08d}-{hashlib.sha256(data).hexdigest()[:16]}.checkpoint", data)


def collect_cosignatures(archive: Archive, cosigned: ObjectStore) -> int:
    """Take over what witnesses signed, for the checkpoints that the archive has.

    Args:
        archive: where to.
        cosigned: holds the folder ``cosigned`` of a witness.

    Returns:
        How many co-signatures were new.
    """
    log, added = ReceiptLog(archive), 0
    there = {info.key for info in archive.store.list("checkpoints/")}
    for info in cosigned.list(""):
        parsed = parse_checkpoint_key(f"checkpoints/{info.key}")
        if parsed is None or parsed[1] != "checkpoint" or checkpoint_key(parsed[0]) not in there:
            continue
        note, stored = Note.parse(cosigned.get(info.key), info.key), log.checkpoint(parsed[0])
        if note.text != stored.signed.note.text:
            raise IntegrityError(
                f"{info.key} in {cosigned.url} is another checkpoint than {stored.key}: one of them was rewritten"
            )
        for signature in note.signatures:
            key = checkpoint_cosignature_key(stored.number, signature.key_id.hex())
            if signature.name != stored.checkpoint.origin and key not in there:
                with suppress(AlreadyExistsError):
                    archive.store.put_if_absent(key, signature.line().encode())
                    added += 1
    return added
