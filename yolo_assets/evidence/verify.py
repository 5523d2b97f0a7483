"""Checks an evidence pack: offline, with nothing but the folder and the public keys that the checker trusts.

Needs neither a store nor a network nor any package beyond the base installation. A pack comes from outside: files are
opened without following links, nothing larger than the manifest states is read, and nothing is parsed before its hash
is covered by a signature of a trusted key, except the manifest and the receipts, which are JSON of bounded size.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import orjson

from yolo_assets.archive.originals import check_index
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.model import MANIFEST as MODEL_MANIFEST
from yolo_assets.contracts.names import ArchiveName, signature_files
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.text import plain
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.custody import check_custody
from yolo_assets.evidence.findings import FIRST_RULES, RULES, HourPart, Rules, derive, selection
from yolo_assets.evidence.history import HistoryTrust, check_history
from yolo_assets.evidence.manifest import HourState, PackFile, PackManifest
from yolo_assets.evidence.signing import ProvenReceipt, prove, sealed_by
from yolo_assets.evidence.wording import many

Verdict = Literal["ok", "differs", "not checked", "not held"]
"""``not held``: nothing differs, and the device's signature does not count or is not there."""
Kind = Literal["manifest", "index", "small"]

_LARGEST: dict[Kind, int] = {"manifest": 64 << 20, "index": 256 << 20, "small": 16 << 20}
"""Bytes that are read into memory at most; ours are far smaller."""
_CHUNK = 1 << 20
_SIGNATURE_SIZE = 64
_MOST_KEYS, _LARGEST_KEY = 100, 4096
"""Keys of a pack that are tried, and bytes of one, before their hashes are known to be signed."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Verification:
    """What checking a pack gave; ``manifest`` is None when it could not even be read."""

    checks: tuple[Check, ...]
    manifest: PackManifest | None

    @property
    def first_difference(self) -> Check | None:
        """The first check that did not end well; None when the pack is sound."""
        return next((check for check in self.checks if check.verdict == "differs"), None)


def verify_pack(folder: Path, trusted: TrustedKeys | None, history: HistoryTrust | None = None) -> Verification:
    """Check everything that can be checked about a pack; checks that do not build on a failed one continue.

    Args:
        folder: the pack.
        trusted: keys that the checker got by another way than the pack; None checks nothing against the keys inside.
        history: who must have co-signed or stamped the checkpoints of its receipts, got in the same way.

    Raises:
        BadInputError: no such folder.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no folder {folder}; give the folder of an evidence pack")
    pack = _Pack(folder, trusted or TrustedKeys({}), history or HistoryTrust())
    passed = {"keys"} if trusted is not None else set()
    done: list[Check] = []
    for step in _CHECKS:
        missing = next((name for name in step.needs if name not in passed), None)
        if missing is not None:
            reason = "no trusted key was given" if missing == "keys" else f"it builds on {missing}"
            done.append(Check(step.name, "not checked", reason))
            continue
        try:
            detail = step.run(pack)
        except _NotProvenError as open_end:
            done.append(Check(step.name, open_end.verdict, str(open_end)))
        except SignatureError as error:
            detail = _signed_by(pack, error, given=trusted is not None) if step.name == "signature" else str(error)
            done.append(Check(step.name, "differs", detail))
        except (UserError, ValueError) as error:
            done.append(Check(step.name, "differs", " ".join(str(error).split())))
        else:
            passed.add(step.name)
            done.append(Check(step.name, "ok", detail))
    return Verification(tuple(done), pack.manifest)


def _signed_by(pack: _Pack, refused: SignatureError, *, given: bool) -> str:
    """Why the signature does not count: changed, or good by a key of the pack's own, which is not to be trusted."""
    advice = "get the plant's public key in a way other than this pack, compare it, and give it with --key PUB"
    try:
        data, signature = pack.read(names.MANIFEST, "manifest"), pack.read(names.SIGNATURE)
        own = [path for path in sorted((pack.folder / "keys").glob("*.pub")) if path.stat().st_size <= _LARGEST_KEY]
        version = pack.stated.schema_version
        key = sealed_by(data, signature, TrustedKeys.load(own[:_MOST_KEYS], to_show=True), version=version)
    except (UserError, ValueError):
        return "the signature fits neither a trusted key nor a key in the pack; the manifest or it was changed"
    if key in pack.trusted.keys:
        return str(refused)
    if given:
        return f"signed by key {key}, which lies in the pack but is not among the trusted ones; {advice}"
    return f"signed by key {key}, which lies in the pack and proves nothing by that; {advice}"


class _NotProvenError(Exception):
    """Nothing differs, and what a step is about is not proven."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(detail)
        self.verdict: Verdict = verdict


@dataclass
class _Pack:
    """A pack that is being verified: its files, and the receipts and indexes that are proven so far."""

    folder: Path
    trusted: TrustedKeys
    history: HistoryTrust
    manifest: PackManifest | None = None
    receipts: dict[str, ProvenReceipt] = field(default_factory=dict)
    parts: dict[str, HourPart] = field(default_factory=dict)

    @property
    def stated(self) -> PackManifest:
        """The manifest; refused when it could not be read."""
        if self.manifest is None:
            raise IntegrityError("the manifest could not be read")
        return self.manifest

    @property
    def rules(self) -> Rules:
        """How the archived records were read when it was made."""
        return FIRST_RULES if self.stated.schema_version == 1 else RULES

    @property
    def unlisted(self) -> set[str]:
        """Files that the manifest cannot list: itself, and signatures made after it."""
        first = {names.MANIFEST, names.SIGNATURE}
        return first if self.stated.schema_version == 1 else first | {names.SUMS_SIGNATURE}

    @property
    def listed(self) -> Mapping[str, PackFile]:
        """What the manifest lists, by path."""
        return {file.path: file for file in self.stated.files}

    def open(self, path: str) -> IO[bytes] | None:
        """A file of the pack; None when there is none.

        Raises:
            IntegrityError: it is a link or a device.
        """
        try:
            descriptor = os.open(self.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IntegrityError(f"{path} is not a file")
        return os.fdopen(descriptor, "rb")

    def read(self, path: str, kind: Kind = "small") -> bytes:
        """A whole file of bounded size.

        Raises:
            IntegrityError: missing, or larger than any of its kind.
        """
        stream = self.open(path)
        if stream is None:
            raise IntegrityError(f"{path} is missing")
        with stream:
            data = stream.read(_LARGEST[kind] + 1)
        if len(data) > _LARGEST[kind]:
            raise IntegrityError(f"{path} is larger than any of its kind; it is not read")
        return data


def _entries(folder: Path, inside: str = "") -> Iterator[tuple[str, bool]]:
    """Paths of everything in the folder, and whether it is a folder; links are refused, not followed."""
    with os.scandir(folder / inside) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = f"{inside}/{entry.name}" if inside else entry.name
        shown = path.encode("unicode_escape", "surrogateescape").decode("ascii")[:200]
        if entry.is_symlink() or not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            raise IntegrityError(f"{shown} is a link or a device; a pack holds only files")
        try:
            names.check_path(path)
        except BadInputError:
            raise IntegrityError(f"{shown} is not a name of a pack; it was added") from None
        is_folder = entry.is_dir(follow_symlinks=False)
        yield path, is_folder
        if is_folder:
            yield from _entries(folder, path)


def _check_manifest(pack: _Pack) -> str:
    """The manifest is one of ours, and every path in it stays in the pack."""
    data = pack.read(names.MANIFEST, "manifest")
    stated = PackManifest.from_json(data, names.MANIFEST)
    paths = [names.check_path(file.path) for file in stated.files]
    if len(set(paths)) != len(paths):
        raise IntegrityError(f"{names.MANIFEST} lists a file twice")
    for hour in stated.hours:
        for stem in hour.archives:
            name = ArchiveName.parse(stem)
            if (name.stem, name.camera_id, name.hour.key) != (stem, hour.camera_id, hour.hour):
                raise IntegrityError(f"{names.MANIFEST} names {stem[:80]} as an archive of another hour")
    pack.manifest = stated
    return f"made {stated.made_at:%Y-%m-%d %H:%M:%S} UTC by yolo-assets {stated.tool_version}"


def _check_signature(pack: _Pack) -> str:
    """The manifest is signed by a trusted key, as a pack, and the list for ``sha256sum`` by the same one."""
    data, at = pack.read(names.MANIFEST, "manifest"), pack.stated.made_at
    key = sealed_by(data, _signature(pack, names.SIGNATURE), pack.trusted, version=pack.stated.schema_version, at=at)
    if key != pack.stated.signed_by:
        raise SignatureError(f"{names.MANIFEST} names another key than the one that signed it")
    if names.SUMS_SIGNATURE in pack.unlisted:
        signature = _signature(pack, names.SUMS_SIGNATURE)
        if sealed_by(pack.read(names.SUMS, "manifest"), signature, pack.trusted, "evidence-sums", at=at) != key:
            raise SignatureError(f"{names.SUMS} is signed by another key than the manifest")
    return f"by trusted key {key}"


def _signature(pack: _Pack, path: str) -> bytes:
    signature = pack.read(path)
    if len(signature) != _SIGNATURE_SIZE:
        raise SignatureError(f"{path} is not a signature of {_SIGNATURE_SIZE} bytes")
    return signature


def _check_layout(pack: _Pack) -> str:
    """The folder holds plain files under plain names, and no link that leads elsewhere."""
    return f"{sum(not is_folder for _, is_folder in _entries(pack.folder))} files under plain names, no links"


def _check_files(pack: _Pack) -> str:
    """Every file that is listed is there with its size and SHA-256, and nothing else is."""
    listed = pack.listed
    folders = {str(parent) for path in listed for parent in PurePosixPath(path).parents}
    for path, is_folder in _entries(pack.folder):
        if is_folder and path not in folders:
            raise IntegrityError(f"{path}/ is not part of the pack; it was added")
        if not is_folder and path not in listed and path not in pack.unlisted:
            raise IntegrityError(f"{path} is not listed in the manifest; it was added")
    for file in listed.values():
        _check_file(pack, file)
    size = sum(file.size for file in listed.values())
    return f"{len(listed)} files, {size:,} bytes, each with its SHA-256; none missing, none added"


def _check_file(pack: _Pack, file: PackFile) -> None:
    """One file against the manifest; one of another size is not read."""
    stream = pack.open(file.path)
    if stream is None:
        raise IntegrityError(f"{file.path} is missing")
    with stream:
        size = os.fstat(stream.fileno()).st_size
        if size != file.size:
            raise IntegrityError(f"{file.path} has {size} bytes instead of {file.size}; it was changed")
        if _sha256(stream) != file.sha256:
            raise IntegrityError(f"{file.path} has another SHA-256; it was changed")


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _check_receipts(pack: _Pack) -> str:
    """Every receipt is signed by a trusted key and is the receipt of its archive."""
    for hour in pack.stated.hours:
        for stem in hour.archives:
            path = names.receipt_path(stem)
            if hour.state == "unavailable" and path not in pack.listed:
                continue
            proven = prove(pack.read(path), ArchiveName.parse(stem), pack.trusted)
            if pack.stated.schema_version > 1:
                _check_extracts(pack, proven)
            pack.receipts[stem] = proven
    keys = ", ".join(f"trusted key {key}" for key in sorted({proven.signed_by for proven in pack.receipts.values()}))
    return f"{many(len(pack.receipts), 'receipt')}, signed by {keys or 'no one'}"


def _check_extracts(pack: _Pack, proven: ProvenReceipt) -> None:
    """What lies beside a receipt for other tools is what it holds itself."""
    stem = proven.name.stem
    signature = names.receipt_signature_path(stem, proven.signed_by)
    for path, data in ((names.signed_path(stem), proven.signed), (signature, proven.signature)):
        if pack.read(path) != data:
            raise IntegrityError(f"{path} is not what the receipt beside it holds")


def _check_indexes(pack: _Pack) -> str:
    """Every member index is the one that its receipt names."""
    for hour in _hours(pack, "searched"):
        for stem in hour.archives:
            proven = _receipt(pack, stem)
            rows = check_index(pack.read(names.index_path(stem), "index"), proven.receipt)
            pack.parts[stem] = HourPart(proven, rows, pack.rules)
    return f"{many(len(pack.parts), 'index', 'indexes')}, as the receipt of each names it"


def _check_history(pack: _Pack) -> str:
    """Every receipt with a proof is in a checkpoint that the log signed, and those who must signed it, too."""
    return check_history(pack.receipts, pack.listed.keys(), pack.read, pack.trusted, pack.history)


def _check_members(pack: _Pack) -> str:
    """Every frame and record file of the pack is listed with the hash of a member of its archive."""
    members: dict[str, IndexRow] = {}
    for part in pack.parts.values():
        members |= {part.frame_path(row): row for row in part.picture_rows()}
        members |= {part.records_path(row): row for row in part.record_rows()}
    count = {"frames": 0, "records": 0}
    for path, file in pack.listed.items():
        kind = path.partition("/")[0]
        if kind not in count:
            continue
        row = members.get(path)
        if row is None:
            raise IntegrityError(f"{path} is not a member of an archive whose receipt and index are here")
        if (file.size, file.sha256) != (row.size, row.sha256.hex()):
            raise IntegrityError(f"{path} is not the file that was archived; its index has another SHA-256")
        count[kind] += 1
    frames, records = many(count["frames"], "frame"), many(count["records"], "record file")
    return f"{frames} and {records}, each what was archived"


def _check_custody(pack: _Pack) -> str:
    """Every frame of an hour that a device sealed leads to the seal, and that to an enrolment by a trusted key."""
    if pack.stated.seals is None:
        return "it was made before packs held the seals of devices"
    kept = ("seals/", "devices/", "keys/")
    files = {path: pack.read(path) for path in pack.listed if path.startswith(kept)}
    frames = [path for path in pack.listed if path.startswith("frames/")]
    found = check_custody(pack.parts, files, frames, pack.trusted)
    if not found.sealed and not found.seals:
        return f"no device sealed the hours of its {many(found.unsealed, 'frame')}"
    told = [f"{many(count, 'frame')}: {verdict.why}" for verdict, count in found.sealed.items()]
    told += [f"{many(found.unsealed, 'frame')} without a seal of a device"] if found.unsealed else []
    states = {verdict.state for verdict in found.sealed}
    if "not checked" in states:
        raise _NotProvenError("not checked", "; ".join(told))
    if states != {"enrolled"} or found.unsealed:
        raise _NotProvenError("not held", "; ".join(told))
    return "; ".join(told)


def _check_findings(pack: _Pack) -> str:
    """The question, asked again of the archived records, has the same answer; no frame was left out or added."""
    stated, expected = pack.stated, {path for path in pack.listed if path.startswith("frames/")}
    if {hour.state for hour in stated.hours if hour.findings} - {"searched"}:
        raise IntegrityError("findings are claimed of an hour that was not searched")
    stream = pack.open(names.FINDINGS)
    if stream is None:
        raise IntegrityError(f"{names.FINDINGS} is missing")
    findings = fitting = 0
    with stream:
        for hour in stated.hours:
            receipts = [_receipt(pack, stem).receipt for stem in hour.archives if hour.state == "excluded"]
            if receipts and selection(stated.query).may_hold(receipts):
                raise IntegrityError(f"{hour.camera_id} {hour.hour} was left out; its receipts do not rule it out")
            if hour.state != "searched":
                continue
            parts = [_part(pack, stem) for stem in hour.archives]
            _check_record_files(pack, hour, parts)
            derived = derive(stated.query, parts, pack.open)
            if stated.schema_version > 1 and len(derived.unread) != hour.unread:
                raise IntegrityError(
                    f"{names.MANIFEST} names {hour.unread} records of {hour.camera_id} {hour.hour} that could not be "
                    f"read, and there are {len(derived.unread)}"
                )
            for finding in derived.findings:
                line = finding.to_json() + b"\n"
                if stream.read(len(line)) != line:
                    raise IntegrityError(
                        f"{names.FINDINGS} is not what the archived records of {hour.camera_id} {hour.hour} give"
                    )
                findings += 1
                fitting += sum(
                    stated.query.meets(item) for entry in finding.records for item in entry.record.detections
                )
                if finding.frame is not None:
                    if finding.frame.path not in expected:
                        raise IntegrityError(f"{finding.frame.path} answers the question and is missing")
                    expected.discard(finding.frame.path)
        if stream.read(1):
            raise IntegrityError(f"{names.FINDINGS} holds more than the archived records give")
    if expected:
        raise IntegrityError(f"{min(expected)} does not answer the question; it was added")
    counted = stated.counts.frames + stated.counts.without_picture
    if findings != counted or fitting != (stated.counts.fitting or 0):
        raise IntegrityError(f"{names.MANIFEST} counts {counted} findings, the archived records give {findings}")
    searched = sum(hour.state == "searched" for hour in stated.hours)
    left_out = sum(hour.left_out for hour in stated.hours)
    note = f"; {left_out} per-frame record files of other frames are not in the pack" if left_out else ""
    return f"{many(findings, 'finding')}, as the records of {many(searched, 'camera-hour')} give them{note}"


def _check_record_files(pack: _Pack, hour: HourState, parts: list[HourPart]) -> None:
    """Every record file of the hour is here, except the per-frame files that the manifest says were left out."""
    absent = [row.name for part in parts for row in part.record_rows() if part.records_path(row) not in pack.listed]
    lines = next((name for name in absent if name.lower().endswith(".ndjson")), None)
    if lines is not None or len(absent) != hour.left_out:
        raise IntegrityError(
            f"record files of {hour.camera_id} {hour.hour} are missing, like {lines or 'a .json file'}"
        )


def _check_catalog(pack: _Pack) -> str:
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


def _check_models(pack: _Pack) -> str:
    """The models' manifests are those of the versions named, and signed, where a key to check that was given."""
    checked = skipped = 0
    for model in pack.stated.models:
        path = names.model_path(model.model_version, MODEL_MANIFEST)
        if not model.included:
            continue
        if path not in pack.listed:
            raise IntegrityError(f"the manifest of a model is missing: {plain(model.model_version)[:200]}")
        data = pack.read(path)
        if _version_in(data) != model.model_version:
            raise IntegrityError(f"{path} is the manifest of another model")
        envelopes, signatures = (pack.read(file) if file in pack.listed else None for file in signature_files(path))
        if not pack.trusted.named_by(envelopes, signatures):
            skipped += 1
            continue
        pack.trusted.verify_detached(data, "model-manifest", path, envelopes=envelopes, signatures=signatures)
        checked += 1
    text = f"{many(checked, 'manifest')} signed by a trusted key"
    return text + (f"; {skipped} not checked: unsigned, or the promotion key was not given by --key" if skipped else "")


def _version_in(data: bytes) -> str:
    try:
        document = orjson.loads(data)
        return f"{document['name']}/{document['version']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _hours(pack: _Pack, state: str) -> list[HourState]:
    return [hour for hour in pack.stated.hours if hour.state == state]


def _receipt(pack: _Pack, stem: str) -> ProvenReceipt:
    proven = pack.receipts.get(stem)
    if proven is None:
        raise IntegrityError(f"the receipt of {stem} is not proven")
    return proven


def _part(pack: _Pack, stem: str) -> HourPart:
    part = pack.parts.get(stem)
    if part is None:
        raise IntegrityError(f"the index of {stem} is not proven")
    return part


@dataclass(frozen=True)
class _PlannedCheck:
    name: str
    run: Callable[[_Pack], str]
    needs: tuple[str, ...] = ()


_CHECKS = (
    _PlannedCheck("layout", _check_layout),
    _PlannedCheck("manifest", _check_manifest, ("layout",)),
    _PlannedCheck("signature", _check_signature, ("manifest",)),
    _PlannedCheck("files", _check_files, ("manifest",)),
    _PlannedCheck("receipts", _check_receipts, ("manifest", "keys")),
    _PlannedCheck("history", _check_history, ("files", "receipts")),
    _PlannedCheck("indexes", _check_indexes, ("receipts",)),
    _PlannedCheck("members", _check_members, ("indexes",)),
    _PlannedCheck("custody", _check_custody, ("files", "members")),
    _PlannedCheck("findings", _check_findings, ("files", "members")),
    _PlannedCheck("models", _check_models, ("files", "keys")),
    _PlannedCheck("catalog", _check_catalog, ("files", "receipts")),
)
