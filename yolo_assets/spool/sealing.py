"""What a device signs of an hour: its files by name, size and SHA-256, under one root; and whether an archive has them.

Two files beside ``.sealed``, archived with the hour:

- ``.sealed.list``: a line a file, canonical JSON, in the order of names: all that lies in the hour, ``.sealed`` too.
  The hash of an image is the one that was taken when it was written; it stands in the image's record as well.
- ``.sealed.dsse``: the device's signature over a ``SealStatement``, with the Merkle root (``contracts.merkle``) of the
  lines and the device's public key.

That key says whose signature it is; whether it is the plant's is known from outside. Belongs here: making and reading
the two. Does not belong here: when an hour is sealed (``writer``), which keys a plant trusts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.contracts.dsse import Envelope, decode_base64, payload_type, signed_bytes
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.merkle import leaf_hash, merkle_root
from yolo_assets.contracts.names import SEALED, SEALED_LIST, SEALED_SIGNATURE
from yolo_assets.contracts.receipt import Custody
from yolo_assets.contracts.signing import Signer, key_id_of
from yolo_assets.contracts.spool import Seal, SealedFile, SealStatement
from yolo_assets.spool.files import portable_name, write_atomic
from yolo_assets.spool.hours import SpoolHour

_EXAMPLES = 5


def write_signature(hour: SpoolHour, seal: Seal, known: Mapping[str, str], signer: Signer) -> None:
    """Write ``.sealed.list`` and ``.sealed.dsse`` of an hour whose seal is written next.

    Args:
        hour: nothing else is written to it any more.
        seal: as it will be written.
        known: SHA-256 of images, by name, taken when they were written; the other files are read.
        signer: the device's key.

    Raises:
        SpoolFullError: no room.
    """
    data = seal.to_json()
    files = [SealedFile(name=SEALED, size=len(data), sha256=hashlib.sha256(data).hexdigest())]
    for member in hour.members():
        if member.name in (SEALED, SEALED_LIST, SEALED_SIGNATURE):  # the latter two: a crash came before the seal
            continue
        digest = known.get(member.name) or _sha256(hour.path / member.name)
        files.append(SealedFile(name=portable_name(member.name), size=member.size, sha256=digest))
    lines = [file.to_json() for file in sorted(files, key=lambda file: file.name)]
    statement = SealStatement(
        camera_id=seal.camera_id,
        hour=seal.hour,
        device_id=seal.device_id,
        files=len(lines),
        root=_root(lines),
        device_key=base64.b64encode(signer.public_bytes()).decode(),
        sealed_at=seal.sealed_at,
    )
    write_atomic(hour.path / SEALED_LIST, b"".join(line + b"\n" for line in lines))
    write_atomic(hour.path / SEALED_SIGNATURE, signer.seal(statement.to_json(), "seal").to_json())


def check_custody(signature: bytes, listed: bytes | None, held: Mapping[str, tuple[int, str]]) -> Custody:
    """Whether an archive holds what the device sealed.

    Args:
        signature: content of ``.sealed.dsse``.
        listed: content of ``.sealed.list``; None: there is none.
        held: size and SHA-256 of every file in the archive and in the hour's earlier parts, by portable name.

    Returns:
        For the receipt. What does not fit is told in it, and never keeps an hour from its archive.
    """
    try:
        statement, key_id = read_statement(signature)
    except (SignatureError, BadInputError) as error:
        return Custody(statement_sha256=hashlib.sha256(signature).hexdigest(), trouble=str(error))
    found = Custody(
        statement_sha256=hashlib.sha256(statement.to_json()).hexdigest(),
        root=statement.root,
        files=statement.files,
        key_id=key_id,
        sealed_at=statement.sealed_at,
    )
    try:
        files = read_list(statement, listed)
    except (SignatureError, BadInputError) as error:
        return found.model_copy(update={"trouble": str(error)})
    missing = [file.name for file in files if file.name not in held]
    there = [file for file in files if file.name in held]
    differing = [file.name for file in there if held[file.name] != (file.size, file.sha256)]
    examples = tuple(sorted([*missing, *differing])[:_EXAMPLES])
    return found.model_copy(update={"missing": len(missing), "differing": len(differing), "examples": examples})


def read_statement(signature: bytes) -> tuple[SealStatement, str]:
    """The statement in ``.sealed.dsse``, and the id of the key in it, which signed it.

    Raises:
        SignatureError: another key signed it, or it was changed.
        BadInputError: it is no such statement.
    """
    envelope = Envelope.parse(signature, SEALED_SIGNATURE)
    payload = envelope.content(SEALED_SIGNATURE)
    if envelope.payload_type != payload_type("seal"):
        raise SignatureError(f"{SEALED_SIGNATURE} signs no seal; it was put there")
    statement = SealStatement.from_json(payload, SEALED_SIGNATURE)
    try:
        key = Ed25519PublicKey.from_public_bytes(decode_base64(statement.device_key, SEALED_SIGNATURE))
    except ValueError:
        raise SignatureError(f"{SEALED_SIGNATURE} names a device key that is none; it was changed") from None
    for one in envelope.signatures:
        try:
            key.verify(decode_base64(one.sig, SEALED_SIGNATURE), signed_bytes("seal", payload))
        except InvalidSignature:
            continue
        return statement, key_id_of(key)
    raise SignatureError(f"{SEALED_SIGNATURE} is not signed by the device key that it names; it was changed")


def read_list(statement: SealStatement, listed: bytes | None) -> list[SealedFile]:
    """The files that a statement is about.

    Args:
        statement: from ``read_statement``.
        listed: content of ``.sealed.list``; None: there is none.

    Raises:
        SignatureError: the list is not the one whose root the device signed.
        BadInputError: a line is none.
    """
    if listed is None:
        raise SignatureError(f"{SEALED_LIST} is missing beside {SEALED_SIGNATURE}; it was taken away")
    lines = listed.splitlines()
    if (statement.root, statement.files) != (_root(lines), len(lines)):
        raise SignatureError(f"{SEALED_LIST} is not the list whose root the device signed; it was changed")
    return [SealedFile.from_json(line, SEALED_LIST) for line in lines]


def _root(lines: list[bytes]) -> str:
    return merkle_root([leaf_hash(line) for line in lines]).hex()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
