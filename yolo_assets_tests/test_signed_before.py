"""What version 0.1 signed verifies for ever, and is continued: see ``signed_before/README.md``."""

from __future__ import annotations

import base64
import hashlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.coverage import read_history
from yolo_assets.catalog.publish import publish
from yolo_assets.catalog.read import find_archives, open_catalog
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.old_signatures import SignatureSet
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.edge.audit.verify import DeviceCopies, compare, verify_device
from yolo_assets.edge.rollout.cache import ModelCache
from yolo_assets.evidence.verify import verify_pack
from yolo_assets.models.gate_status import read_gate_report
from yolo_assets.models.promotion import ReleaseRequest, RollbackRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets_tests.edge.audit.conftest import write
from yolo_assets_tests.models.release_support import byte_bundle, promoter_of

KEPT = Path(__file__).parent / "signed_before"
NAME = ArchiveName("cam1", Hour.from_key("20260102_03"))


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy to work on."""
    return Path(shutil.copytree(KEPT, tmp_path / "before"))


def keys(*names: str) -> TrustedKeys:
    return TrustedKeys.load([KEPT / "keys" / f"{name}.pub" for name in names])


def archive_of(folder: Path) -> Archive:
    return Archive(open_store((folder / "archive").as_uri()), keys("archiver"))


def test_receipts_and_records_of_before_verify(before: Path) -> None:
    archive = archive_of(before)
    receipt = archive.receipt(NAME)
    assert receipt.signature is not None and receipt.signature.key_id in archive.trusted.keys
    assert {name: summary.max_confidence for name, summary in receipt.classes.items()} == {"焊缝裂纹": 1.0, "🦆": 1.0}
    history = read_history(
        archive, [NAME.stem], since=datetime(2026, 1, 1, tzinfo=UTC), now=datetime(2026, 2, 1, tzinfo=UTC)
    )
    assert history.untrusted == [] and list(history.signed) == list(history.unsigned) == [NAME.stem]
    store = open_store((before / "new-store").as_uri())
    publish(store, archive)
    with open_catalog(store) as connection:
        start = NAME.hour.start
        rows = find_archives(connection, start, start + timedelta(hours=1), columns=("signed_by",)).rows()
    assert rows == [(receipt.signature.key_id,)]


def test_a_receipt_of_before_that_was_changed_is_refused(before: Path) -> None:
    archive = archive_of(before)
    document = orjson.loads(archive.store.get(NAME.receipt_key))
    archive.store.put(NAME.receipt_key, orjson.dumps(document | {"frame_count": 3}))
    with pytest.raises(SignatureError, match="does not fit"):
        archive.receipt(NAME)
    archive.store.put(NAME.receipt_key, orjson.dumps(document | {"signature": None}))
    with pytest.raises(SignatureError, match="not signed"):
        archive.receipt(NAME)


def test_models_and_channels_of_before_verify_and_move_on(before: Path, tmp_path: Path) -> None:
    store = open_store((before / "store").as_uri())
    registry = Registry(store, keys("promotion"))
    pointer = registry.channel("line", "stable").pointer()
    assert pointer is not None and (pointer.version, pointer.release) == ("2", 2)
    assert [r.state for r in registry.channel("line", "stable").history().releases] == ["served", "serving"]
    manifest = registry.read_manifest("line", "2").manifest
    report = read_gate_report(registry, manifest)
    assert report is not None and report.passed
    cache = ModelCache(before / "state", registry)
    cache.fetch("line", "2", pointer.manifest_sha256)
    assert cache.load("line", "2", pointer.manifest_sha256).manifest == manifest

    fresh = Signer.load_or_create(tmp_path / "fresh")
    both = Registry(store, TrustedKeys(registry.trusted.keys | TrustedKeys.of(fresh).keys))
    moved = promoter_of(both, fresh).roll_back(RollbackRequest("line", "stable", by="anna", reason="misses cracks"))
    assert (moved.version, moved.release) == ("1", 3)
    again = promoter_of(both, fresh).promote(ReleaseRequest("line", "2", "stable", by="anna", reason="better"))
    assert (again.version, again.release) == ("2", 4)
    states = [r.state for r in both.channel("line", "stable").history().releases]
    assert states == ["served", "served", "served", "serving"]


def test_a_device_log_of_before_verifies_and_goes_on(before: Path) -> None:
    folder, store = before / "state" / "audit", open_store((before / "store").as_uri())
    for trusted in (None, keys("device")):
        device, copies = verify_device(folder, trusted), DeviceCopies.read(store, "box1").verify(trusted)
        assert [report.findings for report in [*device, *copies]] == [[], []]
        assert [report.lines for report in [*device, *copies]] == [4, 4]
    log = write(AuditLog(folder, "box1", lines_per_file=3), 4, 5)
    assert (log.trouble, log.head.sequence) == ("", 6)
    AuditShipper(log, store).ship()
    device, copies = verify_device(folder, keys("device")), DeviceCopies.read(store, "box1").verify(keys("device"))
    assert [report.findings for report in [*device, *copies]] == [[], []]
    assert [report.lines for report in [*device, *copies]] == [6, 6] and compare(device, copies) == []


def test_a_changed_line_of_before_is_found(before: Path) -> None:
    path = sorted((before / "state" / "audit").glob("*/*.ndjson"))[0]
    path.write_bytes(path.read_bytes().replace(b"release 1:", b"release 7:"))
    (report,) = verify_device(before / "state" / "audit")
    assert "was changed" in report.findings[0]


def test_an_evidence_pack_of_before_verifies(before: Path) -> None:
    trusted = keys("office", "pack-receipts", "promotion")
    assert verify_pack(before / "pack", trusted).first_difference is None
    path = before / "pack" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"Audit 17", b"Audit 18"))
    done = verify_pack(before / "pack", trusted)
    assert done.first_difference is not None and done.first_difference.name == "signature"


def test_an_agent_of_before_reads_a_release_of_now(tmp_path: Path) -> None:
    """Its pointer has no field that such an agent refuses, and the signature in ``.sig`` covers the pointer's bytes."""
    store, signer = open_store((tmp_path / "store").as_uri()), Signer.load_or_create(tmp_path / "key")
    Registry(store).write_bundle(*byte_bundle("1"))
    registry = Registry(store, TrustedKeys.of(signer))
    promoter_of(registry, signer).promote(ReleaseRequest("line", "1", "stable", by="anna", reason="first"))
    before = open_store((KEPT / "store").as_uri())
    for key in ("channels/line/stable.json", "models/line/1/manifest.json"):
        assert orjson.loads(store.get(key)).keys() == orjson.loads(before.get(key)).keys()
        now, then = (orjson.loads(opened.get(f"{key}.sig"))["signatures"][-1] for opened in (store, before))
        assert now.keys() == then.keys() and now["sha256"] == hashlib.sha256(store.get(key)).hexdigest()
        signer.private.public_key().verify(base64.b64decode(now["value"]), store.get(key))


def test_a_release_by_a_machine_of_before_is_taken(tmp_path: Path) -> None:
    """It adds to ``.sig`` alone, beside a ``.dsse`` that knows only the release before."""
    store, signer = open_store((tmp_path / "store").as_uri()), Signer.load_or_create(tmp_path / "key")
    registry = Registry(store, TrustedKeys.of(signer))
    registry.write_bundle(*byte_bundle("1"))
    pointer = promoter_of(registry, signer).promote(ReleaseRequest("line", "1", "stable", by="anna", reason="first"))
    data = pointer.model_copy(update={"release": 2}).to_json()
    key = "channels/line/stable.json"
    signatures = SignatureSet.from_json(store.get(f"{key}.sig")).with_signature(signer.sign_detached(data))
    store.put(f"{key}.sig", signatures.to_json())
    store.put(key, data)
    taken = registry.channel("line", "stable").pointer()
    assert taken is not None and taken.release == 2
    store.put(key, data.replace(b'"release":2', b'"release":3'))
    with pytest.raises(SignatureError, match="no signature for its content"):
        registry.channel("line", "stable").pointer()
