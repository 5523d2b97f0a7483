"""The layout of an evidence pack: ``manifest.json``, and the names of all its other files.

manifest.json   manifest.sig    the question, the content, the hash of every file; signed
report.html     report.pdf      for people
VERIFY.txt                      how to check the pack, also without our program
SHA256SUMS      SHA256SUMS.sig  the hashes once more, for ``sha256sum``; signed
findings.ndjson                 one line a finding: frame, hash, place, and its records word for word
frames/<archive>/…              the archived bytes, untouched
annotated/<archive>/…           drawn copies
records/<archive>/…             whole record files as they were archived
receipts/  indexes/             one signed receipt and one member index an archive; beside each receipt the bytes that
                                its signature covers (.signed) and the signature (.<key id>.sig), for ``openssl``
history/<archive>.tlog-proof    leads from a receipt to a checkpoint of the log of all receipts; <number>.checkpoint is
                                that as stored, and .tsr its time stamp
seals/<archive>.dsse            the device's seal of an hour as it was archived; beside it what it signs (.statement)
                                and the signature (.<key id>.sig)
seals/<archive>/<file>.leaf     the line of a frame in its seal, and (.proof) the proof that it is in it
devices/<key id>.json           the statements that enrolled, ended or revoked a device's key, with the same beside them
models/<name>/<version>/…       manifests of the models, with their signatures
catalog/archives.csv, .parquet  the catalog's rows of these archives
keys/<key id>.pub               public halves of the keys that signed, devices' too; not to be trusted by themselves
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Literal

import orjson
from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.detection import Detection
from yolo_assets.contracts.device_keys import SealState
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import FRAME_ENDINGS, LINE_ENDINGS
from yolo_assets.contracts.wording import Language

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
REPORT_HTML = "report.html"
REPORT_PDF = "report.pdf"
HOWTO = "VERIFY.txt"
SUMS = "SHA256SUMS"
SUMS_SIGNATURE = "SHA256SUMS.sig"
FINDINGS = "findings.ndjson"
CATALOG_CSV = "catalog/archives.csv"
CATALOG_PARQUET = "catalog/archives.parquet"
KIND = "yolo-assets evidence pack"

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Query(Record):
    """The question. Every condition that is given must hold; class and confidence by one and the same detection."""

    camera_id: str | None = None
    batch: str | None = None
    part_id: str | None = Field(default=None, exclude_if=lambda value: value is None)  # absent in packs of 0.1
    start: Time
    end: Time = Field(description="first moment after the range")
    class_name: str | None = None
    also_called: tuple[str, ...] = Field(
        default=(), exclude_if=lambda value: not value, description="other names that the class has or had"
    )
    min_confidence: float | None = Field(default=None, ge=0, le=1)

    def may_be_among(self, batch_ids: Sequence[str], part_ids: Sequence[str] | None) -> bool:
        """Whether an archive can hold the batch and the part asked for, by those that its receipt names.

        Args:
            batch_ids: all its batches.
            part_ids: all its parts; None: the receipt does not tell.
        """
        return (self.batch is None or self.batch in batch_ids) and (
            self.part_id is None or part_ids is None or self.part_id in part_ids
        )

    @property
    def asks_for_detections(self) -> bool:
        """Whether a class or a confidence is asked for."""
        return self.class_name is not None or self.min_confidence is not None

    def meets(self, detection: Detection) -> bool:
        """Whether one detection is of the class and confidence asked for; False when none is asked for."""
        return (
            self.asks_for_detections
            and (self.class_name in (None, detection.class_name) or detection.class_name in self.also_called)
            and detection.confidence >= (self.min_confidence or 0)
        )


class HourState(Record):
    """What was done with one camera-hour that the question touches."""

    camera_id: str
    hour: str = Field(pattern=r"^\d{8}_\d{2}$")
    archives: tuple[str, ...] = Field(description="names of its parts, without ending")
    state: Literal["searched", "excluded", "unavailable"] = Field(
        description="excluded: its signed receipts show that nothing in it matches; unavailable: it could not be read"
    )
    reason: str | None = Field(default=None, description="why it is unavailable")
    findings: int = Field(default=0, ge=0)
    left_out: int = Field(default=0, ge=0, description="per-frame record files of other frames, not in the pack")
    unread: int = Field(default=0, ge=0, description="what should have been a record and is none; they are in the pack")


class Gap(Record):
    """A time without any archive, within the range that was asked for one camera."""

    start: Time
    end: Time


class ModelState(Record):
    """A model that made records in the pack."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    included: bool
    note: str


class PackProblem(Record):
    """Something of the hours searched that is not shown as it was archived, or not at all, and why."""

    kind: Literal["record_not_read", "no_picture", "other_size", "other_file", "turned"]
    path: str = Field(description="in the pack; of another file its archive and name there")
    reason: str = ""


class PackCounts(Record):
    """Totals of the pack."""

    frames: int = Field(ge=0)
    records: int = Field(ge=0)
    detections: int = Field(ge=0, description="in those records, whether they match the question or not")
    fitting: int | None = Field(default=None, ge=0, description="of them match the requested class and confidence")
    without_picture: int = Field(ge=0, description="findings whose picture was not kept")
    not_drawable: int = Field(ge=0, description="frames whose bytes are not a readable picture")
    other_size: int = Field(default=0, ge=0, description="frames with a record of a picture of another size")
    outside_hour: int = Field(default=0, ge=0, description="frames that lie in the archive of another hour than theirs")
    archives: int = Field(ge=0, description="archives that hold a finding")


class PackHistory(Record):
    """What the log of all receipts says of those in the pack, as whoever made it found that."""

    receipts: int = Field(ge=0, description="receipts that a checkpoint has")
    stamped_at: Time | None = Field(default=None, description="the latest time stamp, where every receipt has one")
    cosigned_by: tuple[str, ...] = Field(default=(), description="names of witnesses; their keys tell whether it holds")
    problem: str | None = Field(default=None, description="why there is no proof although there is a log")


class PackSeal(Record):
    """The device's seal of an hour in the pack, and what it was worth to whoever made the pack."""

    archive: str = Field(description="that holds it, without ending")
    key_id: str
    device_id: str
    sealed_at: Time
    state: SealState


class PackFile(Record):
    """One file of the pack."""

    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class PackManifest(Record):
    """``manifest.json``."""

    schema_version: Literal[1, 2] = Field(default=2, description="1: signed over a context line, JPEG alone")
    kind: Literal["yolo-assets evidence pack"] = KIND
    language: Language = "en"
    query: Query
    reason: str = ""
    asked_by: str
    made_at: Time
    tool_version: str
    archive_url: str
    found_by: str = Field(description="how the archives were found")
    signed_by: str = Field(description="key id; the public key is in keys/")
    receipts_signed_by: tuple[str, ...] = ()
    counts: PackCounts
    hours: tuple[HourState, ...]
    gaps: tuple[Gap, ...] = ()
    problems: tuple[PackProblem, ...] = ()
    seals: tuple[PackSeal, ...] | None = Field(
        default=None, exclude_if=lambda value: value is None, description="none: made before packs held seals"
    )
    enrolled_by: tuple[str, ...] = Field(
        default=(), exclude_if=lambda value: not value, description="keys that signed the statements in devices/"
    )
    unprinted: str = Field(
        default="", description="characters that no font here had; the PDF and the drawings lack them"
    )
    models: tuple[ModelState, ...] = ()
    history: PackHistory | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="none: no checkpoint has a receipt of the pack",
    )
    catalog: str = Field(description="what the catalog gave")
    files: tuple[PackFile, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything that the question touches could be read."""
        return not any(hour.state == "unavailable" for hour in self.hours)

    def to_bytes(self) -> bytes:
        """``manifest.json`` as it is written and signed: sorted keys, indented for people."""
        options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(self.model_dump(mode="json"), option=options)


def check_path(path: str) -> str:
    """Return ``path`` when it is a relative path inside a pack, of plain characters, as every path of ours is.

    Raises:
        BadInputError: anything else; an absolute path, ``..`` or a hidden name most of all.
    """
    if len(path) > 400 or not _PATH.fullmatch(path):
        raise BadInputError(f"{path[:100]!r} is not a path inside an evidence pack")
    return path


def pack_names(members: Iterable[str]) -> dict[str, str]:
    """Under which name each member of an archive lies in a pack.

    Its own, unless that holds anything but letters, digits, ``.``, ``_``, ``-``, or differs from another member's by
    case alone: a pack must survive being copied to any disk. Those are called by the hash of their name.

    Args:
        members: all portable names of one archive.
    """
    names = list(members)
    folded = Counter(name.lower() for name in names)
    return {name: name if _PLAIN.fullmatch(name) and folded[name.lower()] == 1 else _odd(name) for name in names}


def _odd(name: str) -> str:
    suffix = name.rpartition(".")[2].lower()
    ending = f".{suffix}" if f".{suffix}" in (".json", *LINE_ENDINGS, *FRAME_ENDINGS) else ""
    return f"odd-{sha256(name.encode()).hexdigest()[:32]}{ending}"


def frame_path(stem: str, file: str) -> str:
    """The archived bytes of a frame."""
    return f"frames/{stem}/{file}"


def annotated_path(stem: str, file: str) -> str:
    """The drawn copy of a frame, a JPEG whatever the frame is."""
    return f"annotated/{stem}/{file}" + ("" if file.lower().endswith((".jpg", ".jpeg")) else ".jpg")


def records_path(stem: str, file: str) -> str:
    """A record file as it was archived."""
    return f"records/{stem}/{file}"


def receipt_path(stem: str) -> str:
    """The receipt of an archive."""
    return f"receipts/{stem}.receipt.json"


def signed_path(stem: str) -> str:
    """The bytes that the signature of a receipt covers."""
    return f"receipts/{stem}.signed"


def receipt_signature_path(stem: str, key_id: str) -> str:
    """The signature of a receipt, 64 raw bytes."""
    return f"receipts/{stem}.{key_id}.sig"


def index_path(stem: str) -> str:
    """The member index of an archive."""
    return f"indexes/{stem}.index.parquet"


def history_proof_path(stem: str) -> str:
    """The way from a receipt to a checkpoint."""
    return f"history/{stem}.tlog-proof"


def checkpoint_path(number: int, ending: str = "checkpoint") -> str:
    """A checkpoint as stored; with the ending ``tsr`` its time stamp."""
    return f"history/{number:08d}.{ending}"


def seal_path(stem: str) -> str:
    """The device's seal, as an archive holds it."""
    return f"seals/{stem}.dsse"


def proof_paths(stem: str, file: str) -> tuple[str, str]:
    """The line of a frame in the seal of its hour, and the proof that it is in it."""
    return f"seals/{stem}/{file}.leaf", f"seals/{stem}/{file}.proof"


def device_path(key_id: str, number: int) -> str:
    """A statement on a device's key."""
    return f"devices/{key_id}.json" if number == 1 else f"devices/{key_id}.{number}.json"


def statement_path(envelope: str) -> str:
    """What an envelope of a seal or a device's key signs."""
    return f"{envelope.rpartition('.')[0]}.statement"


def statement_signature_path(envelope: str, key_id: str) -> str:
    """Its signature, 64 raw bytes."""
    return f"{envelope.rpartition('.')[0]}.{key_id}.sig"


def key_path(key_id: str) -> str:
    """A public key."""
    return f"keys/{key_id}.pub"


def model_path(model_version: str, file: str) -> str:
    """A file of a model."""
    return f"models/{model_version}/{file}"
