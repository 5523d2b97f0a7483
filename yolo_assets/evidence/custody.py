"""From a frame to the device: its line in the seal of its hour, the proof that the line is in it, and whose key sealed.

In a pack: ``seals/<archive>.dsse`` is the device's seal as it was archived, with what it signs and the signature beside
it for ``openssl``; ``seals/<archive>/<file>.leaf`` the line of a frame in it, ``.proof`` its siblings in the Merkle
tree, the nearest first; ``devices/`` the statements that enrolled the device's key. Belongs here: collecting these, and
checking them offline. Does not belong here: what a seal is (``spool.sealing``), which keys are enrolled
(``contracts.device_keys``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.device_keys import EnrolledDevices, SealVerdict
from yolo_assets.contracts.dsse import Envelope, decode_base64
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.merkle import MerkleTree, is_included, leaf_hash
from yolo_assets.contracts.names import DEVICE_KEYS, SEALED_LIST, SEALED_SIGNATURE, device_key_key
from yolo_assets.contracts.signing import TrustedKeys, pem_of
from yolo_assets.contracts.spool import SealedFile, SealStatement
from yolo_assets.contracts.times import Hour
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.findings import HourPart
from yolo_assets.evidence.manifest import PackSeal
from yolo_assets.spool.sealing import read_list, read_statement

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive


@dataclass(frozen=True)
class DeviceSeal:
    """The seal of an hour as it was archived.

    Attributes:
        part: the archive that holds it.
        envelope: as stored.
        statement: what the device signed.
        payload: its bytes.
        key_id: of the key in it, which signed it.
    """

    part: HourPart
    envelope: bytes
    statement: SealStatement
    payload: bytes
    key_id: str

    @classmethod
    def of(cls, part: HourPart, envelope: bytes) -> DeviceSeal:
        """Out of ``.sealed.dsse`` of an archive.

        Raises:
            IntegrityError: it is not what was archived, or not what the receipt names.
            SignatureError, BadInputError: see ``read_statement``.
        """
        custody, row = part.proven.receipt.custody, _row(part, SEALED_SIGNATURE)
        digest = hashlib.sha256(envelope).digest()
        if custody is None or row is None or row.sha256 != digest:
            raise IntegrityError(f"the seal of {part.stem} is not what was archived")
        statement, key_id = read_statement(envelope)
        payload = Envelope.parse(envelope, SEALED_SIGNATURE).content(SEALED_SIGNATURE)
        named = (custody.statement_sha256, custody.root, custody.files, custody.key_id)
        if named != (hashlib.sha256(payload).hexdigest(), statement.root, statement.files, key_id):
            raise IntegrityError(f"the receipt of {part.stem} names another seal than the one that was archived")
        return cls(part, envelope, statement, payload, key_id)

    def verdict(self, devices: EnrolledDevices) -> SealVerdict:
        """What it is worth."""
        return devices.verdict(
            self.key_id,
            None,
            device_ids=(self.statement.device_id,),
            sealed=(self.statement.sealed_at, self.statement.sealed_at),
            held=self.part.proven.receipt.verified_at,
        )

    def files(self) -> dict[str, bytes]:
        """Its files in a pack: as archived, what it signs, the signature, and the key."""
        stem, public = self.part.stem, decode_base64(self.statement.device_key, SEALED_SIGNATURE)
        return {
            names.seal_path(stem): self.envelope,
            names.statement_path(names.seal_path(stem)): self.payload,
            names.statement_signature_path(names.seal_path(stem), self.key_id): _signature(self.envelope, self.key_id),
            names.key_path(self.key_id): pem_of(Ed25519PublicKey.from_public_bytes(public)),
        }


def collect_custody(
    archive: Archive, parts: Sequence[HourPart], frames: Mapping[str, Sequence[IndexRow]]
) -> tuple[list[DeviceSeal], dict[str, bytes]]:
    """The seals of a camera-hour that hold for its frames, and their files in a pack.

    Args:
        archive: where they lie.
        parts: every archive of the hour.
        frames: rows of the frames in the pack, by archive.
    """
    seals: list[DeviceSeal] = []
    files: dict[str, bytes] = {}
    for part in parts:
        if not frames or not _has_seal(part):
            continue
        rows = [_row(part, name) for name in (SEALED_SIGNATURE, SEALED_LIST)]
        read = archive.part(part.proven.receipt).read_many(row for row in rows if row is not None)
        content = {row.name: b"".join(pieces) for row, pieces in read}
        seal, listed = DeviceSeal.of(part, content[SEALED_SIGNATURE]), content[SEALED_LIST]
        sealed = read_list(seal.statement, listed)
        lines, places = listed.splitlines(), {file.name: place for place, file in enumerate(sealed)}
        tree = MerkleTree([leaf_hash(line) for line in lines])
        for own in parts:
            for row in frames.get(own.stem, ()):
                place = places.get(row.name)
                if place is not None and (sealed[place].size, sealed[place].sha256) == (row.size, row.sha256.hex()):
                    leaf, proof = names.proof_paths(own.stem, own.files[row.name])
                    files[leaf] = lines[place]
                    files[proof] = proof_text(place, len(lines), tree.inclusion_proof(place))
        files |= seal.files()
        seals.append(seal)
    return seals, files


def statement_files(stored: Mapping[str, bytes], key_ids: set[str]) -> tuple[dict[str, bytes], set[str]]:
    """The statements on keys of devices as files of a pack, each with what it signs and the signature beside it.

    Args:
        stored: every statement, by its key in the store.
        key_ids: of the keys that sealed something in the pack.

    Returns:
        The files, and the ids of the keys that signed the statements.
    """
    files: dict[str, bytes] = {}
    signers: set[str] = set()
    for key_id in sorted(key_ids):
        number = 1
        while (data := stored.get(device_key_key(key_id, number))) is not None:
            path = names.device_path(key_id, number)
            envelope = Envelope.parse(data, path)
            files |= {path: data, names.statement_path(path): envelope.content(path)}
            for signature in envelope.signatures:
                signers.add(signature.keyid)
                signed = names.statement_signature_path(path, signature.keyid)
                files[signed] = _signature(data, signature.keyid)
            number += 1
    return files, signers


def pack_seal(seal: DeviceSeal, verdict: SealVerdict) -> PackSeal:
    """What the manifest says of a seal."""
    return PackSeal(
        archive=seal.part.stem,
        key_id=seal.key_id,
        device_id=seal.statement.device_id,
        sealed_at=seal.statement.sealed_at,
        state=verdict.state,
    )


@dataclass(frozen=True)
class CustodyFound:
    """What a check of a pack found of its frames' way from the device.

    Attributes:
        sealed: frames that a seal holds, by what that seal is worth and why.
        unsealed: frames that no seal in the pack holds.
        seals: how many seals there are.
    """

    sealed: Mapping[SealVerdict, int]
    unsealed: int
    seals: int


def check_custody(
    parts: Mapping[str, HourPart], files: Mapping[str, bytes], frames: Sequence[str], trusted: TrustedKeys
) -> CustodyFound:
    """Walk from each frame of a pack to the device.

    Args:
        parts: the archives of the hours that were searched, proven.
        files: content of everything in ``seals/``, ``devices/`` and the keys, by path.
        frames: paths of the frames; each is known to be what was archived.
        trusted: keys that may have enrolled devices.

    Raises:
        IntegrityError, SignatureError, BadInputError: something is not what it must be, or is of no frame.
    """
    used: set[str] = set()
    seals: list[DeviceSeal] = []
    shown = {_hour_of(part) for _, _, part in _rows_of(parts, frames)}
    for stem, part in parts.items():
        path = names.seal_path(stem)
        if path in files:
            seal = DeviceSeal.of(part, files[path])
            for own, data in seal.files().items():
                if files.get(own) != data:
                    raise IntegrityError(f"{own} is not what the seal beside it holds")
                used.add(own)
            seals.append(seal)
        elif _has_seal(part) and _hour_of(part) in shown:
            raise IntegrityError(f"{path} is missing; the receipt of {stem} names a seal")
    devices = _devices(files, used, trusted)
    counts: dict[SealVerdict, int] = {}
    unsealed = 0
    for stem, row, part in _rows_of(parts, frames):
        leaf, proof = names.proof_paths(stem, part.files[row.name])
        if leaf not in files or proof not in files:
            unsealed += 1
            continue
        used |= {leaf, proof}
        found = next((seal for seal in seals if _holds(seal, part, row, files[leaf], files[proof])), None)
        if found is None:
            raise IntegrityError(f"{leaf} does not lead from its frame to a seal of its hour")
        verdict = found.verdict(devices)
        counts[verdict] = counts.get(verdict, 0) + 1
    odd = sorted(path for path in files if path.startswith(("seals/", "devices/")) and path not in used)
    if odd:
        raise IntegrityError(f"{odd[0]} belongs to no frame of the pack; it was added")
    return CustodyFound(counts, unsealed, len(seals))


def _devices(files: Mapping[str, bytes], used: set[str], trusted: TrustedKeys) -> EnrolledDevices:
    """The devices whose enrolments are in a pack; the extracts beside them must be what they hold."""
    stored = {
        f"{DEVICE_KEYS}{path.removeprefix('devices/')}": data
        for path, data in files.items()
        if path.startswith("devices/") and path.endswith(".json")
    }
    extracts, _ = statement_files(stored, {name.removeprefix(DEVICE_KEYS)[:16] for name in stored})
    for path, data in extracts.items():
        if files.get(path) != data:
            raise IntegrityError(f"{path} is not what the statement beside it holds")
    used.update(extracts)
    if not trusted.keys:
        return EnrolledDevices(unchecked="no trusted key was given")
    devices = EnrolledDevices.of(stored, trusted)
    if devices.problems and not devices.keys and all("is not trusted here" in why for why in devices.problems.values()):
        return EnrolledDevices(unchecked="give the key that enrols devices, promotion's, with --key")
    return devices


def _rows_of(parts: Mapping[str, HourPart], frames: Sequence[str]) -> Iterator[tuple[str, IndexRow, HourPart]]:
    rows = {part.frame_path(row): (stem, row, part) for stem, part in parts.items() for row in part.picture_rows()}
    return (rows[path] for path in frames)


def _holds(seal: DeviceSeal, part: HourPart, row: IndexRow, leaf: bytes, proof: bytes) -> bool:
    """Whether a seal is of a frame's hour and holds it."""
    mine, its = part.proven.name, seal.part.proven.name
    file = SealedFile.from_json(leaf, SEALED_LIST)
    if (mine.camera_id, mine.hour, file.name, file.size, file.sha256) != (
        *(its.camera_id, its.hour),
        *(row.name, row.size, row.sha256.hex()),
    ):
        return False
    try:
        place, size, siblings = proof_of(proof)
    except ValueError:
        raise BadInputError(f"the proof of {row.name} is none") from None
    if size != seal.statement.files or proof != proof_text(place, size, siblings):
        return False
    return is_included(leaf_hash(leaf), place, size, siblings, bytes.fromhex(seal.statement.root))


def proof_text(place: int, size: int, siblings: Sequence[bytes]) -> bytes:
    """Place and size of the tree, then on which side each sibling stands, and its hash for ``basenc --base16``."""
    lines = [f"{place} {size}"]
    at, last = place, size - 1
    for sibling in siblings:
        left = at % 2 == 1 or at == last
        lines.append(f"{'left' if left else 'right'} {sibling.hex().upper()}")
        while left and at % 2 == 0 and at:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    return "".join(f"{line}\n" for line in lines).encode()


def proof_of(data: bytes) -> tuple[int, int, list[bytes]]:
    """Place, size of the tree and siblings out of a proof's text.

    Raises:
        ValueError: it is none.
    """
    first, *rest = data.decode("ascii").splitlines()
    place, size = map(int, first.split(" "))
    if not 0 <= place < size:
        raise ValueError(first)
    return place, size, [bytes.fromhex(line.split(" ")[1]) for line in rest]


def _hour_of(part: HourPart) -> tuple[str, Hour]:
    return part.proven.name.camera_id, part.proven.name.hour


def _has_seal(part: HourPart) -> bool:
    """Whether an archive holds a seal that proves something, by its receipt and index."""
    custody, names = part.proven.receipt.custody, {row.name for row in part.rows}
    return custody is not None and custody.trouble is None and {SEALED_SIGNATURE, SEALED_LIST} <= names


def _row(part: HourPart, name: str) -> IndexRow | None:
    return next((row for row in part.rows if row.name == name), None)


def _signature(envelope: bytes, key_id: str) -> bytes:
    """The raw signature of a key in an envelope."""
    signatures = Envelope.parse(envelope, "the envelope").signatures
    found = next((one.sig for one in signatures if one.keyid == key_id), None)
    if found is None:
        raise SignatureError(f"key {key_id} has not signed it")
    return base64.b64decode(found)
