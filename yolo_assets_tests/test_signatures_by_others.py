"""A stranger checks what is signed with tools that are not ours: openssl and coreutils, Python's own modules, and
securesystemslib, with the recipe of docs/design.md word for word. One changed byte anywhere is found.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # pyright: ignore[reportPrivateImportUsage]

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.audit.audit import audit
from yolo_assets.contracts.dsse import PayloadKind
from yolo_assets.contracts.errors import SignatureError, UserError
from yolo_assets.contracts.names import SEALED_SIGNATURE, channel_history_key, channel_key, envelope_key, model_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.edge.audit.conftest import write as write_log
from yolo_assets_tests.models.release_support import byte_bundle, promoter_of

DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
TOOLS = ("openssl", "cut", "base64", "cat", "wc", "tail", "sha256sum", "test", "printf")
KINDS: dict[str, PayloadKind] = {
    "receipt": "receipt",
    "seal": "seal",
    "audit": "archive-audit",
    "manifest": "model-manifest",
    "pointer": "channel-pointer",
    "release": "channel-release",
    "line": "device-audit-line",
    "head": "device-audit-head",
}
CLASSES = ("焊缝裂纹", "🦆", 'a "quoted", {odd} name')
HOUR = Hour.from_key("20260102_03")


def recipe() -> str:
    """The commands of the design, as they stand there."""
    text = DESIGN.read_text()
    begin = text.index("      type=$(cut")
    lines = text[begin:].split("\n\n", 1)[0].splitlines()
    assert len(lines) == 6 and all(line.startswith("      ") for line in lines)
    return "set -e\n" + "\n".join(line[6:] for line in lines) + "\n"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """One envelope of each kind, as it lies in a store or on a device, and the signer's public key."""
    folder = tmp_path_factory.mktemp("plant")
    signer = Signer.load_or_create(folder / "keys" / "key")
    camera = folder / "spool" / "cam1" / HOUR.key
    camera.mkdir(parents=True)
    (camera / "20260102_030000_000.jpg").write_bytes(b"a picture")
    found = [
        {"bbox": [1, 2, 3, 4], "class": name, "confidence": 1.0, "timestamp": "2026-01-02T03:00:00Z"}
        for name in CLASSES
    ]
    record = {"image_path": f"cam1/{HOUR.key}/20260102_030000_000.jpg", "detections": found}
    record |= {"model_version": "line/2", "device_id": "d", "batch_id": "批次 🦆"}
    (camera / "records.ndjson").write_text(json.dumps(record, ensure_ascii=False) + "\n")
    archive = Archive(open_store((folder / "archive").as_uri()), TrustedKeys.of(signer))
    archive_hour(SpoolHour.of(folder / "spool", "cam1", HOUR), archive, signer)
    (name,) = archive.names()
    (audited,) = audit(archive, signer, Fraction(1), "full").records

    store = open_store((folder / "store").as_uri())
    registry = Registry(store, TrustedKeys.of(signer))
    manifest, files = byte_bundle("1", class_names=CLASSES)
    registry.write_bundle(manifest, files)
    request = ReleaseRequest("line", "1", "stable", by="安娜", reason="the first, confidence 1.0 🦆")
    promoter_of(registry, signer).promote(request)

    with SpoolWriter(folder / "sealed", "cam1", "box1", signer=signer) as writer:
        writer.seal(HOUR)
    shutil.copy(folder / "keys" / "key", folder / "device.key")
    log = write_log(AuditLog(folder, "box1"), 1)
    (lines,) = folder.glob("*/0000000001.ndjson")
    manifest_key, pointer_key = model_key("line", "1", "manifest.json"), channel_key("line", "stable")
    return {
        "key": signer.public_pem(),
        "receipt": archive.store.get(name.receipt_key),
        "seal": (folder / "sealed" / "cam1" / HOUR.key / SEALED_SIGNATURE).read_bytes(),
        "audit": archive.store.get(audited),
        "manifest": store.get(envelope_key(manifest_key)).rstrip(b"\n"),
        "pointer": store.get(envelope_key(pointer_key)).rstrip(b"\n"),
        "release": store.get(channel_history_key("line", "stable", 1)),
        "line": lines.read_bytes().splitlines()[1],
        "head": log.signed_head.to_json(),
        "plain manifest": store.get(manifest_key),
        "plain pointer": store.get(pointer_key),
    }


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """An empty folder, and beside it a path on which only openssl and coreutils lie."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def check(folder: Path, envelope: bytes, key: bytes) -> subprocess.CompletedProcess[str]:
    """Run the recipe, in a shell that has nothing else."""
    (folder / "E").write_bytes(envelope)
    (folder / "K").write_bytes(key)
    environment = {"PATH": str(folder.parent / "bin")}
    command = ["/bin/sh", "-c", recipe()]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("what", KINDS)
def test_openssl_and_coreutils_verify_each_kind(signed: Mapping[str, bytes], stranger: Path, what: str) -> None:
    done = check(stranger, signed[what], signed["key"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "Signature Verified Successfully\n", "")
    if f"plain {what}" in signed:
        assert (stranger / "payload").read_bytes() == signed[f"plain {what}"]
    assert json.loads(signed[what])["payloadType"] == f"application/vnd.yolo-assets.{KINDS[what]}+json"


@pytest.mark.parametrize("what", ["receipt", "pointer"])
def test_openssl_and_coreutils_find_one_changed_byte(signed: Mapping[str, bytes], stranger: Path, what: str) -> None:
    chance = random.Random(7)
    data = signed[what]
    ends = (len(data) - 4, data.index(b'","payloadType'), data.index(b"keyid") + 9)  # the last of sig and of payload
    for place in (*ends, *chance.sample(range(len(data)), 20)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert check(stranger, bytes(changed), signed["key"]).returncode != 0, changed[place - 20 : place + 1]


@pytest.mark.parametrize("what", KINDS)
def test_our_reader_finds_every_changed_byte(signed: Mapping[str, bytes], tmp_path: Path, what: str) -> None:
    (tmp_path / "key.pub").write_bytes(signed["key"])
    trusted = TrustedKeys.load([tmp_path / "key.pub"])
    data, kind = signed[what], KINDS[what]
    trusted.open_document(data, kind, "it")
    chance = random.Random(11)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        with pytest.raises(UserError):
            trusted.open_document(bytes(changed), kind, "it")
    for other in (data + b"\n", b" " + data, data[:-1], data + data):
        with pytest.raises(UserError):
            trusted.open_document(other, kind, "it")


def test_python_s_own_modules_read_what_was_signed(signed: Mapping[str, bytes], stranger: Path) -> None:
    """Without any package: the values are there as they were written, the number 1.0 among them."""
    (stranger / "E").write_bytes(signed["receipt"])
    code = (
        "import json, base64\n"
        "payload = base64.b64decode(json.load(open('E'))['payload'])\n"
        "receipt = json.loads(payload)\n"
        "print(json.dumps([receipt['classes'], receipt['batch_ids']]))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=stranger, capture_output=True, check=True)
    classes, batches = json.loads(done.stdout)
    assert classes == {name: {"count": 1, "max_confidence": 1.0} for name in CLASSES} and batches == ["批次 🦆"]


@pytest.mark.parametrize("what", KINDS)
def test_securesystemslib_verifies_each_kind(signed: Mapping[str, bytes], what: str) -> None:
    document = json.loads(signed[what])
    keyid = document["signatures"][0]["keyid"]
    key = SSlibKey(keyid, "ed25519", "ed25519", {"public": _raw(signed["key"]).hex()})
    envelope = Envelope.from_dict(json.loads(signed[what]))
    assert list(envelope.verify([key], 1)) == [keyid]
    document["payload"] = base64.b64encode(envelope.payload + b" ").decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(document).verify([key], 1)


def test_what_securesystemslib_signs_is_read_by_us(tmp_path: Path) -> None:
    from securesystemslib.signer import CryptoSigner  # pyright: ignore[reportPrivateImportUsage]

    other = CryptoSigner.generate_ed25519()
    envelope = Envelope(b'{"a":1.0}', "application/vnd.yolo-assets.receipt+json", {})
    envelope.sign(other)
    pem = other.private_bytes
    (tmp_path / "key").write_bytes(pem)
    signer = Signer.load(tmp_path / "key")
    document = envelope.to_dict()
    document["signatures"][0]["keyid"] = signer.key_id  # each calculates its own
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    assert TrustedKeys.of(signer).open_document(data, "receipt", "it").payload == b'{"a":1.0}'
    with pytest.raises(SignatureError, match="not as a gate-report"):
        TrustedKeys.of(signer).open_document(data, "gate-report", "it")


def _raw(pem: bytes) -> bytes:
    """The 32 bytes of an Ed25519 key, which end its DER form."""
    body = b"".join(line for line in pem.splitlines() if not line.startswith(b"-----"))
    return base64.b64decode(body)[-32:]
