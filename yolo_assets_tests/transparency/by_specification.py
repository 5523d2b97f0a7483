"""Verifiers written from C2SP's texts and RFC 9162 alone: nothing of this project is imported."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def note_text(note: bytes) -> str:
    """The text of a signed note, with its line end."""
    return note.decode()[: note.decode().rindex("\n\n") + 1]


def verified_times(note: bytes, name: str, public: bytes) -> dict[int, int | None]:
    """Types of the good signatures of a key on a signed note, with the time of a co-signature; fails on a bad one."""
    text, key, found = note_text(note), Ed25519PublicKey.from_public_bytes(public), dict[int, int | None]()
    for line in note.decode()[len(text) + 1 :].splitlines():
        dash, signer, encoded = line.split(" ")
        data = base64.b64decode(encoded)
        assert dash == "\u2014"
        for kind in (1, 4):
            key_id = hashlib.sha256(signer.encode() + b"\n" + bytes([kind]) + public).digest()[:4]
            if signer != name or data[:4] != key_id:
                continue
            if kind == 1:
                key.verify(data[4:], text.encode())
                found[kind] = None
            else:
                seconds = int.from_bytes(data[4:12], "big")
                key.verify(data[12:], f"cosignature/v1\ntime {seconds}\n{text}".encode())
                found[kind] = seconds
    return found


def checkpoint_lines(note: bytes) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint."""
    origin, size, root = note_text(note).split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


def proven_root(proof: bytes, entry: bytes) -> bytes:
    """The root that an entry and a tlog-proof lead to: RFC 9162, 2.1.3.2. The checkpoint follows the empty line."""
    head, _, note = proof.partition(b"\n\n")
    lines = head.decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    index, nodes = int(lines[1].removeprefix("index ")), [base64.b64decode(line) for line in lines[2:]]
    fn, sn, r = index, checkpoint_lines(note)[1] - 1, hashlib.sha256(b"\0" + entry).digest()
    for p in nodes:
        assert sn != 0
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\1" + p + r).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\1" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r
