"""Checkpoints of a transparency log as C2SP has them: signed notes, checkpoints, co-signatures, proofs as text.

The formats are those of c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature and /tlog-proof, byte for byte, so
that any tool for them reads ours. Signatures are Ed25519. A log signs twice with its key: type 0x01 over the text, and
type 0x04, which also says when. Belongs here: these texts and their signatures. Does not belong here: trees
(``merkle``), and what the entries of the log are (``transparency``).
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.contracts.dsse import decode_base64
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.signing import Signer, TrustedKeys, key_id_of

PLAIN, TIMED = 0x01, 0x04
"""Signature types: Ed25519 over the text; Ed25519 over a time and the text, a co-signature."""
MOST_SIGNATURES = 64
"""In one note; readers must accept 16."""
PROOF_HEADER = "c2sp.org/tlog-proof@v1"

_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<value>[A-Za-z0-9+/]+={0,2})")
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line of a note.

    Attributes:
        name: of the key.
        key_id: four bytes, see ``note_key_id``.
        value: the signature; of a co-signature eight bytes of time before it.
    """

    name: str
    key_id: bytes
    value: bytes

    @classmethod
    def parse(cls, line: str, label: str) -> NoteSignature:
        """From a line, without its end.

        Raises:
            SignatureError: it is none.
        """
        match = _SIGNATURE.fullmatch(line)
        if match is None or len(data := decode_base64(match["value"], label)) < 5:
            raise SignatureError(f"{label} has a line among its signatures that is none; it was changed")
        return cls(match["name"], data[:4], data[4:])

    def line(self) -> str:
        """As it stands in a note, with its line end."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text and its signatures, whoever made them.

    Attributes:
        text: with its last line end.
        signatures: at least one.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes, label: str) -> Note:
        """From the bytes of a note.

        Raises:
            SignatureError: they are none.
        """
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            whole = ""
        text, blank, rest = whole.rpartition("\n\n")
        lines = rest.split("\n")
        if not blank or lines.pop() or not lines or any(ord(sign) < 32 and sign != "\n" for sign in whole):
            raise SignatureError(f"{label} is no signed note; it was changed, or is another file")
        if len(lines) > MOST_SIGNATURES:
            raise SignatureError(f"{label} has more than {MOST_SIGNATURES} signatures; keep those that count")
        return cls(text + "\n", tuple(NoteSignature.parse(line, label) for line in lines))

    def to_bytes(self) -> bytes:
        """The note as it is stored."""
        return f"{self.text}\n{''.join(one.line() for one in self.signatures)}".encode()

    def signed_also(self, added: Iterable[NoteSignature]) -> Note:
        """The same text with more signatures; each once."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *added))))


@dataclass(frozen=True)
class Checkpoint:
    """What a log states: how many entries it has, and the hash of them all.

    Attributes:
        origin: which log.
        size: entries.
        root: Merkle root of them, 32 bytes.
        extensions: further lines.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, label: str) -> Checkpoint:
        """From the text of a note.

        Raises:
            SignatureError: it is no checkpoint.
        """
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
            raise SignatureError(f"{label} is a note and no checkpoint of a log")
        root = decode_base64(lines[2], label)
        if len(root) != 32:
            raise SignatureError(f"{label} is a note and no checkpoint of a log")
        return cls(lines[0], int(lines[1]), root, tuple(lines[3:]))

    def text(self) -> str:
        """As it is signed."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, _base64(self.root), *self.extensions))


@dataclass(frozen=True)
class VerifierKey:
    """A key that may sign notes: its name, its type and its public half.

    Attributes:
        name: as signature lines have it.
        kind: ``PLAIN`` or ``TIMED``.
        public: the key.
    """

    name: str
    kind: int
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str, label: str) -> VerifierKey:
        """From ``<name>+<key id>+<key>``, as c2sp.org/signed-note writes it.

        Raises:
            SignatureError: it is none, or of a type that is not known here.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, key = rest.partition("+")
        data = decode_base64(key, label) if name and key else b""
        if len(data) != 33 or data[0] not in (PLAIN, TIMED):
            raise SignatureError(f"{label} is not the key of a witness; it is a line like name+1a2b3c4d+BASE64")
        found = cls(name, data[0], Ed25519PublicKey.from_public_bytes(data[1:]))
        if found.key_id.hex() != key_id:
            raise SignatureError(f"{label} is damaged: its key is not the one that its number names")
        return found

    @classmethod
    def load(cls, path: Path) -> VerifierKey:
        """From a file with one line.

        Raises:
            BadInputError: it cannot be read.
            SignatureError: it holds no such key.
        """
        try:
            return cls.parse(path.read_bytes().decode("utf-8", "replace"), str(path))
        except OSError as error:
            raise BadInputError(f"{path} cannot be read: {error.strerror}") from None

    @property
    def key_id(self) -> bytes:
        """Four bytes by which signature lines name the key."""
        return note_key_id(self.name, self.kind, self.public)

    def __str__(self) -> str:
        raw = bytes([self.kind]) + self.public.public_bytes_raw()
        return f"{self.name}+{self.key_id.hex()}+{_base64(raw)}"

    def fits(self, signature: NoteSignature) -> bool:
        """Whether a signature line names this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def verify(self, signature: NoteSignature, text: str, label: str) -> datetime | None:
        """Check a signature that names this key.

        Returns:
            When it was made, of a co-signature.

        Raises:
            SignatureError: it does not fit the text.
        """
        at, value, data = None, signature.value, text.encode()
        try:
            if self.kind == TIMED:
                (seconds,) = struct.unpack(">Q", value[:8])
                at, value, data = datetime.fromtimestamp(seconds, UTC), value[8:], _timed_bytes(seconds, text)
            self.public.verify(value, data)
        except (InvalidSignature, struct.error, OverflowError, OSError, ValueError):
            raise SignatureError(f"the signature of {self.name} on {label} does not fit its content") from None
        return at


@dataclass(frozen=True)
class Cosignature:
    """Who co-signed a checkpoint, and when they say that was."""

    name: str
    at: datetime


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint that the log signed.

    Attributes:
        checkpoint: what it states.
        note: with every signature, also of others.
        at: when the log signed it, as it says itself.
        key_id: of the log's key, as ``signing`` names keys.
    """

    checkpoint: Checkpoint
    note: Note
    at: datetime
    key_id: str

    @classmethod
    def parse(cls, data: bytes, trusted: TrustedKeys, label: str) -> SignedCheckpoint:
        """Read a checkpoint and check the log's own two signatures.

        Args:
            data: the note.
            trusted: keys, one of which must be the log's.
            label: what errors call it.

        What a key signed before it was revoked counts here: a later checkpoint of another key must show it.

        Raises:
            SignatureError: it is no checkpoint, or no trusted key signed it as the log that it names, in its time.
        """
        note = Note.parse(data, label)
        checkpoint = Checkpoint.parse(note.text, label)
        for key_id, key in trusted.keys.items():
            plain, timed = (VerifierKey(checkpoint.origin, kind, key.public) for kind in (PLAIN, TIMED))
            signed = [one for one in note.signatures if plain.fits(one)]
            dated = [one for one in note.signatures if timed.fits(one)]
            if signed and dated:
                plain.verify(signed[0], note.text, label)
                at = timed.verify(dated[0], note.text, label)
                assert at is not None  # of this type it always is
                if problem := key.problem(at, held=at):
                    raise SignatureError(f"{label} is signed by key {key_id}, {problem}")
                return cls(checkpoint, note, at, key_id)
        raise SignatureError(f"{label} is not signed by a key that is trusted here as that of {checkpoint.origin}")

    @classmethod
    def sign(cls, checkpoint: Checkpoint, signer: Signer, at: datetime) -> SignedCheckpoint:
        """Sign a checkpoint as its log.

        Raises:
            BadInputError: its origin cannot be the name of a key.
        """
        check_key_name(checkpoint.origin)
        text, public = checkpoint.text(), signer.private.public_key()
        plain = NoteSignature(
            checkpoint.origin, note_key_id(checkpoint.origin, PLAIN, public), signer.private.sign(text.encode())
        )
        dated = cosign(text, checkpoint.origin, signer, at)
        return cls(checkpoint, Note(text, (plain, dated)), at.replace(microsecond=0), signer.key_id)

    def cosigned_by(self, keys: Sequence[VerifierKey], label: str) -> list[Cosignature]:
        """The co-signatures of these keys.

        Raises:
            SignatureError: one of them signed something else.
        """
        found: list[Cosignature] = []
        for key in keys:
            for signature in self.note.signatures:
                if key.fits(signature) and (at := key.verify(signature, self.note.text, label)) is not None:
                    found.append(Cosignature(key.name, at))
        return found


def cosign(text: str, name: str, signer: Signer, at: datetime) -> NoteSignature:
    """A co-signature: that this text is the largest consistent checkpoint of its log that the key has seen.

    Args:
        text: of the checkpoint.
        name: of the key.
        signer: holds the key.
        at: when; whole seconds are kept.
    """
    seconds = int(at.timestamp())
    value = struct.pack(">Q", seconds) + signer.private.sign(_timed_bytes(seconds, text))
    return NoteSignature(check_key_name(name), note_key_id(name, TIMED, signer.private.public_key()), value)


@dataclass(frozen=True)
class LogProof:
    """That an entry is in a log: readable without the log, c2sp.org/tlog-proof.

    Attributes:
        index: of the entry.
        nodes: siblings on the way to the root, the nearest first.
        note: the checkpoint, with its signatures.
    """

    index: int
    nodes: tuple[bytes, ...]
    note: bytes

    @classmethod
    def parse(cls, data: bytes, label: str) -> LogProof:
        """From its text.

        Raises:
            SignatureError: it is none.
        """
        head, blank, note = data.partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        number = lines[1].removeprefix("index ") if len(lines) > 1 else ""
        if not blank or lines[0] != PROOF_HEADER or not lines[1].startswith("index ") or not _SIZE.fullmatch(number):
            raise SignatureError(f"{label} is no proof of a log; it was changed, or is another file")
        nodes = tuple(decode_base64(line, label) for line in lines[2:])
        if any(len(node) != 32 for node in nodes):
            raise SignatureError(f"{label} is no proof of a log; it was changed, or is another file")
        return cls(int(number), nodes, note)

    def to_bytes(self) -> bytes:
        """As it is stored; the usual ending is ``.tlog-proof``."""
        lines = (PROOF_HEADER, f"index {self.index}", *map(_base64, self.nodes))
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.note


def check_key_name(name: str) -> str:
    """Return ``name`` when it can be the name of a key or the origin of a log.

    Raises:
        BadInputError: empty, or with blanks or a plus sign.
    """
    if not _NAME.fullmatch(name) or not name.isprintable():
        raise BadInputError(f"{name!r} cannot name a key; write it like example.com/quality, without blanks or '+'")
    return name


def note_key_id(name: str, kind: int, public: Ed25519PublicKey) -> bytes:
    """Four bytes: the beginning of the SHA-256 of name, line end, type and key."""
    return hashlib.sha256(f"{name}\n".encode() + bytes([kind]) + public.public_bytes_raw()).digest()[:4]


def log_origin(signer: Signer) -> str:
    """The name that a new log takes: no other has this key."""
    return f"yolo-assets/{key_id_of(signer.private.public_key())}"


def _timed_bytes(seconds: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
