"""One look at a pack after another; ``verify`` runs them in order and keeps the verdicts.

A pack comes from strangers. Files are opened without following links, nothing larger than the manifest says is read,
and nothing is parsed before its hash is vouched for by a signature of a trusted key, but the manifest and the receipts
themselves, which are JSON of bounded size.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from pathlib import PurePosixPath
from typing import IO

import orjson

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.reading.lookup import check_index
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.model import MANIFEST as MODEL_MANIFEST
from yolo_assets.contracts.names import ArchiveName, is_frame, signature_key
from yolo_assets.contracts.signing import SignatureSet
from yolo_assets.contracts.text import plain
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.findings import HourPart, derive, wanted
from yolo_assets.evidence.folder import Pack, there
from yolo_assets.evidence.manifest import HourState, PackFile, PackManifest
from yolo_assets.evidence.proof import Proven, prove
from yolo_assets.evidence.seal import sealed_by
from yolo_assets.evidence.words import many
from yolo_assets.spool.files import native_name

_CHUNK = 1 << 20
_SIGNATURE_SIZE = 64


def read_manifest(pack: Pack) -> str:
    """The manifest is one of ours, and every path in it stays in the pack."""
    data = pack.read(names.MANIFEST, "manifest")
    said = PackManifest.from_json(data, names.MANIFEST)
    paths = [names.check_path(file.path) for file in said.files]
    if len(set(paths)) != len(paths):
        raise IntegrityError(f"{names.MANIFEST} lists a file twice")
    for hour in said.hours:
        for stem in hour.archives:
            name = ArchiveName.parse(stem)
            if (name.stem, name.camera_id, name.hour.key) != (stem, hour.camera_id, hour.hour):
                raise IntegrityError(f"{names.MANIFEST} names {stem[:80]} as an archive of another hour")
    pack.manifest = said
    return f"made {said.made_at:%Y-%m-%d %H:%M:%S} UTC by yolo-assets {said.tool_version}"


def check_signature(pack: Pack) -> str:
    """The manifest is signed by a trusted key, as a pack."""
    data = pack.read(names.MANIFEST, "manifest")
    signature = pack.read(names.SIGNATURE)
    if len(signature) != _SIGNATURE_SIZE:
        raise SignatureError(f"{names.SIGNATURE} is not a signature of {_SIGNATURE_SIZE} bytes")
    key = sealed_by(data, signature, pack.trusted)
    if key != pack.said.signed_by:
        raise SignatureError(f"{names.MANIFEST} names another key than the one that signed it")
    return f"by trusted key {key}"


def check_layout(pack: Pack) -> str:
    """The folder holds plain files under plain names, and no link that leads elsewhere."""
    return f"{sum(not is_folder for _, is_folder in there(pack.folder))} files under plain names, no links"


def check_files(pack: Pack) -> str:
    """Every file that is listed is there with its size and SHA-256, and nothing else is."""
    listed = pack.listed
    folders = {str(parent) for path in listed for parent in PurePosixPath(path).parents}
    for path, is_folder in there(pack.folder):
        if is_folder and path not in folders:
            raise IntegrityError(f"{path}/ is not part of the pack; it was added")
        if not is_folder and path not in listed and path not in (names.MANIFEST, names.SIGNATURE):
            raise IntegrityError(f"{path} is not listed in the manifest; it was added")
    for file in listed.values():
        check_file(pack, file)
    size = sum(file.size for file in listed.values())
    return f"{len(listed)} files, {size:,} bytes, each with its SHA-256; none missing, none added"


def check_file(pack: Pack, file: PackFile) -> None:
    """One file against the manifest; one of another size is not read."""
    stream = pack.open(file.path)
    if stream is None:
        raise IntegrityError(f"{file.path} is missing")
    with stream:
        found = os.fstat(stream.fileno()).st_size
        if found != file.size:
            raise IntegrityError(f"{file.path} has {found} bytes instead of {file.size}; it was changed")
        if _sha256(stream) != file.sha256:
            raise IntegrityError(f"{file.path} has another SHA-256; it was changed")


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def check_receipts(pack: Pack) -> str:
    """Every receipt is signed by a trusted key and is the receipt of its archive."""
    for hour in pack.said.hours:
        for stem in hour.archives:
            path = names.receipt_path(stem)
            if hour.state == "unavailable" and path not in pack.listed:
                continue
            pack.receipts[stem] = prove(pack.read(path), ArchiveName.parse(stem), pack.trusted)
    keys = ", ".join(f"trusted key {key}" for key in sorted({proven.signed_by for proven in pack.receipts.values()}))
    return f"{many(len(pack.receipts), 'receipt')}, signed by {keys or 'nobody'}"


def check_indexes(pack: Pack) -> str:
    """Every member index is the one that its receipt names."""
    for hour in _hours(pack, "searched"):
        for stem in hour.archives:
            proven = _receipt(pack, stem)
            pack.parts[stem] = HourPart(proven, check_index(pack.read(names.index_path(stem), "index"), proven.receipt))
    return f"{many(len(pack.parts), 'index', 'indexes')}, as the receipt of each names it"


def check_members(pack: Pack) -> str:
    """Every frame and record file of the pack is listed with the hash of a member of its archive."""
    members: dict[str, IndexRow] = {}
    for part in pack.parts.values():
        members |= {part.frame_path(row): row for row in part.rows if is_frame(native_name(row.name))}
        members |= {part.records_path(row): row for row in part.record_rows()}
    count = {"frames": 0, "records": 0}
    for path, file in pack.listed.items():
        kind = path.partition("/")[0]
        if kind not in count:
            continue
        row = members.get(path)
        if row is None:
            raise IntegrityError(f"{path} is no member of an archive whose receipt and index are here")
        if (file.size, file.sha256) != (row.size, row.sha256.hex()):
            raise IntegrityError(f"{path} is not the file that was archived; its index has another SHA-256")
        count[kind] += 1
    frames, records = many(count["frames"], "frame"), many(count["records"], "record file")
    return f"{frames} and {records}, each what was archived"


def check_findings(pack: Pack) -> str:
    """The question, asked again of the archived records, has the same answer; no frame was left out or added."""
    said, expected = pack.said, {path for path in pack.listed if path.startswith("frames/")}
    if {hour.state for hour in said.hours if hour.findings} - {"searched"}:
        raise IntegrityError("findings are claimed of an hour that was not searched")
    stream = pack.open(names.FINDINGS)
    if stream is None:
        raise IntegrityError(f"{names.FINDINGS} is missing")
    found = fitting = 0
    with stream:
        for hour in said.hours:
            receipts = [_receipt(pack, stem).receipt for stem in hour.archives if hour.state == "excluded"]
            if receipts and wanted(said.query).may_hold(receipts):
                raise IntegrityError(f"{hour.camera_id} {hour.hour} was left out; its receipts do not rule it out")
            if hour.state != "searched":
                continue
            parts = [_part(pack, stem) for stem in hour.archives]
            _check_record_files(pack, hour, parts)
            for finding in derive(said.query, parts, pack.open).findings:
                line = finding.to_json() + b"\n"
                if stream.read(len(line)) != line:
                    raise IntegrityError(
                        f"{names.FINDINGS} is not what the archived records of {hour.camera_id} {hour.hour} give"
                    )
                found += 1
                fitting += sum(said.query.meets(one) for record in finding.records for one in record.record.detections)
                if finding.frame is not None:
                    if finding.frame.path not in expected:
                        raise IntegrityError(f"{finding.frame.path} answers the question and is missing")
                    expected.discard(finding.frame.path)
        if stream.read(1):
            raise IntegrityError(f"{names.FINDINGS} holds more than the archived records give")
    if expected:
        raise IntegrityError(f"{min(expected)} does not answer the question; it was added")
    counted = said.counts.frames + said.counts.without_picture
    if found != counted or fitting != (said.counts.fitting or 0):
        raise IntegrityError(f"{names.MANIFEST} counts {counted} findings, the archived records give {found}")
    searched = sum(hour.state == "searched" for hour in said.hours)
    left_out = sum(hour.left_out for hour in said.hours)
    note = f"; {left_out} per-frame record files of other frames are not in the pack" if left_out else ""
    return f"{many(found, 'finding')}, as the records of {many(searched, 'camera-hour')} give them{note}"


def _check_record_files(pack: Pack, hour: HourState, parts: list[HourPart]) -> None:
    """Every record file of the hour is here, but for the per-frame files that the manifest says were left out."""
    absent = [row.name for part in parts for row in part.record_rows() if part.records_path(row) not in pack.listed]
    lines = next((name for name in absent if name.lower().endswith(".ndjson")), None)
    if lines is not None or len(absent) != hour.left_out:
        raise IntegrityError(
            f"record files of {hour.camera_id} {hour.hour} are missing, like {lines or 'a .json file'}"
        )


def check_catalog(pack: Pack) -> str:
    """The catalog's rows agree with the signed receipts."""
    if names.CATALOG_CSV not in pack.listed:
        return "no rows of a catalog are in this pack"
    rows = list(csv.DictReader(io.StringIO(pack.read(names.CATALOG_CSV, "manifest").decode("utf-8"))))
    by_key = {proven.receipt.archive_key: proven.receipt for proven in pack.receipts.values()}
    for row in rows:
        receipt = by_key.get(row.get("archive_key", ""))
        if receipt is None or row.get("sha256") != receipt.sha256:
            raise IntegrityError(f"{names.CATALOG_CSV} has a row that is not of an archive of this pack")
    return f"{many(len(rows), 'row')}, in agreement with the receipts"


def check_models(pack: Pack) -> str:
    """The models' manifests are those of the versions named, and signed, where a key to check that was given."""
    checked = skipped = 0
    for model in pack.said.models:
        path = names.model_path(model.model_version, MODEL_MANIFEST)
        if not model.included:
            continue
        if path not in pack.listed:
            raise IntegrityError(f"the manifest of a model is missing: {plain(model.model_version)[:200]}")
        data = pack.read(path)
        if _version_in(data) != model.model_version:
            raise IntegrityError(f"{path} is the manifest of another model")
        signature = signature_key(path)
        if signature not in pack.listed:
            skipped += 1
            continue
        signatures = SignatureSet.from_json(pack.read(signature), signature)
        if not any(one.key_id in pack.trusted.keys for one in signatures.signatures):
            skipped += 1
            continue
        pack.trusted.verify_detached(data, signatures, path)
        checked += 1
    text = f"{many(checked, 'manifest')} signed by a trusted key"
    return text + (f"; {skipped} not checked: unsigned, or the promotion key was not given by --key" if skipped else "")


def _version_in(data: bytes) -> str:
    try:
        document = orjson.loads(data)
        return f"{document['name']}/{document['version']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _hours(pack: Pack, state: str) -> list[HourState]:
    return [hour for hour in pack.said.hours if hour.state == state]


def _receipt(pack: Pack, stem: str) -> Proven:
    proven = pack.receipts.get(stem)
    if proven is None:
        raise IntegrityError(f"the receipt of {stem} is not proven")
    return proven


def _part(pack: Pack, stem: str) -> HourPart:
    part = pack.parts.get(stem)
    if part is None:
        raise IntegrityError(f"the index of {stem} is not proven")
    return part
