"""Every name of the system, built and parsed here and nowhere else: spool paths, archive keys, store keys.

A name that breaks its rule is refused at the boundary with ``BadInputError``, never sanitised: a camera renamed by
a helpful program is a camera whose evidence cannot be found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour, check_date, in_calendar

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Versions also hold dots; ".." and a leading dot stay impossible.
_VERSION = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
FRAME_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What a frame's file name ends in, in any case."""
LINE_ENDINGS = (".ndjson", ".jsonl")
"""What the name of a file ends in that holds a record in each line, in any case."""

_FRAME = re.compile(
    r"(?P<second>[0-9]{8}_[0-9]{6})(?:_(?P<milliseconds>[0-9]{3}))?(?:_[0-9]+)?"
    rf"(?:{'|'.join(map(re.escape, FRAME_ENDINGS))})",
    re.IGNORECASE,
)
_AUDIT = re.compile(r"audit/date=[\d-]{10}/verify-(?P<id>\d{8}T\d{6}Z-[0-9a-f]{8})\.(?P<what>claim|\d{3,})\.json")
_DEVICE_AUDIT = re.compile(
    r"audit/devices/(?P<device>[A-Za-z0-9_-]{1,64})/(?P<log>\d{8}T\d{6}Z-[0-9a-f]{8})/(?P<first>\d{10})-(?P<last>\d{10})\.ndjson"
)
_DEVICE_KEY = re.compile(r"keys/devices/(?P<key>[0-9a-f]{16})(?:\.(?P<number>[1-9]\d*))?\.json")
_CHECKPOINT = re.compile(r"checkpoints/(?P<number>\d{8})\.(?P<what>checkpoint|tsr|[0-9a-f]{8}\.cosignature)")
_TRAIL = re.compile(r"audit/trail/(?P<number>\d{10})\.json")
_ARCHIVE = re.compile(r"yolo_(?P<camera>[A-Za-z0-9_-]{1,64})_(?P<hour>\d{8}_\d{2})(?:_p(?P<part>[1-9]\d*))?")

RECORDS_FILE = "records.ndjson"
SEALED = ".sealed"
SEALED_LIST = ".sealed.list"
SEALED_SIGNATURE = ".sealed.dsse"
UPLOADED = ".uploaded"
PLAN = ".archiving.json"
PARTS = ".archiving.parts"

ARCHIVES = "archives/"
INDEXES = "index/"
RECEIPTS = "receipts/"
AUDIT = "audit/"
CHECKPOINTS = "checkpoints/"
COPIES = "copies/"

CATALOG_POINTER = "catalog/current.json"
LABELS_INBOX = "labels/inbox/"
LABELS_ACCEPTED = "labels/accepted/"
LABEL_SUSPECTS = "labels/suspects.json"
DATASET_POINTER = "datasets/current.json"
GOLDEN_SET = "datasets/golden.json"
CLASS_LIST_POINTER = "classes/current.json"
FLEET = "fleet/"
DEVICE_AUDITS = "audit/devices/"
DEVICE_KEYS = "keys/devices/"
TRAIL = "audit/trail/"
TODAY = "today/"
ALERTS = "alerts/"
MONITORING = "monitoring/"
CAMERA_STATES = "monitoring/states.json"
CAMERA_BEGINNINGS = "monitoring/beginnings.json"
HEALTH_NOTES = "monitoring/notes/"
MODELS = "models/"


def check_id(value: str, what: str = "camera id") -> str:
    """Return ``value`` when it is letters, digits, ``_`` and ``-``, at most 64 of them.

    Raises:
        BadInputError: anything else.
    """
    if not _ID.fullmatch(value):
        raise BadInputError(f"{value!r} is not a {what}; use 1 to 64 letters, digits, '_' or '-', like lineA_cam01")
    return value


def check_class_name(value: str) -> str:
    """Return ``value`` when it can name a class: up to 64 characters of any script, blanks inside it, as written.

    Raises:
        BadInputError: blank, blanks around it, too long, or characters that are not seen as themselves.
    """
    if not 0 < len(value) <= 64 or value != value.strip() or not value.isprintable():
        raise BadInputError(
            f"{value[:80]!r} is not a class name; use 1 to 64 letters of any script, digits and signs, and no blank at "
            "its ends"
        )
    return value


def check_version(value: str) -> str:
    """Return ``value`` when it is a model version: letters, digits, ``_``, ``-`` and single inner dots."""
    if len(value) > 128 or not _VERSION.fullmatch(value):
        raise BadInputError(f"{value!r} is not a model version id; a path or URL is never accepted here")
    return value


def check_sha256(value: str) -> str:
    """Return ``value`` when it is a lower-case hexadecimal SHA-256."""
    if not _SHA256.fullmatch(value):
        raise BadInputError(f"{value!r} is not a SHA-256 in lower-case hexadecimal")
    return value


# Spool -----------------------------------------------------------------------------------------------------------


def spool_hour(spool: Path, camera_id: str, hour: Hour) -> Path:
    """``<spool>/<camera_id>/<YYYYMMDD_HH>``."""
    return spool / check_id(camera_id) / hour.key


def frame_name(captured_at: datetime, again: int = 0) -> str:
    """``20260102_030405_678.jpg``; with ``again`` > 0 ``…_678_<again>.jpg``, for a name that was taken."""
    moment = captured_at.astimezone(UTC)
    stem = f"{moment:%Y%m%d_%H%M%S}_{moment.microsecond // 1000:03d}"
    return f"{stem}_{again}.jpg" if again else f"{stem}.jpg"


def frame_time(name: str) -> datetime | None:
    """Capture time of a frame by its file name ``YYYYMMDD_HHMMSS[_mmm][_n].<ending>``.

    None when it is not named so (a foreign frame may not be), or names a moment that no hour of ours holds.
    """
    match = _FRAME.fullmatch(name)
    if not match:
        return None
    try:
        moment = datetime.strptime(match["second"], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.replace(microsecond=1000 * int(match["milliseconds"] or 0)) if in_calendar(moment) else None


def is_outside(name: str, hour: Hour) -> bool:
    """Whether a frame's name holds a time that is not of the hour of its folder: a misplaced frame."""
    moment = frame_time(name)
    return moment is not None and moment not in hour


def is_frame(name: str) -> bool:
    """Whether a spool file is a frame by its ending: JPEG, PNG, WebP, BMP, TIFF."""
    return name.lower().endswith(FRAME_ENDINGS) and not name.startswith(".")


def is_record_file(name: str) -> bool:
    """Whether a spool file holds detection records: ``<frame>.json``, or a record a line (``holds_lines``)."""
    return name.lower().endswith((".json", *LINE_ENDINGS)) and not name.startswith(".")


def holds_lines(name: str) -> bool:
    """Whether a record file holds a record in each line: ``*.ndjson``, ``*.jsonl``."""
    return name.lower().endswith(LINE_ENDINGS)


def uploaded_name(part: int) -> str:
    """``.uploaded`` for part 1, ``.uploaded.p2`` and so on after it."""
    return UPLOADED if part == 1 else f"{UPLOADED}.p{part}"


# Archive root ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class ArchiveName:
    """One archive of one camera-hour; ``part`` counts from 1, later parts hold frames that came late."""

    camera_id: str
    hour: Hour
    part: int = 1

    def __post_init__(self) -> None:
        check_id(self.camera_id)
        if self.part < 1:
            raise BadInputError(f"archive part {self.part} does not exist; parts count from 1")

    @property
    def stem(self) -> str:
        """``yolo_<camera>_<YYYYMMDD>_<HH>[_pN]``."""
        suffix = f"_p{self.part}" if self.part > 1 else ""
        return f"yolo_{self.camera_id}_{self.hour.key}{suffix}"

    @property
    def archive_key(self) -> str:
        """Key of the ``.tar.gz``; may move to cold tiers."""
        return f"{ARCHIVES}camera={self.camera_id}/date={self.hour.date}/{self.stem}.tar.gz"

    @property
    def index_key(self) -> str:
        """Key of the member index; never tiered."""
        return f"{INDEXES}date={self.hour.date}/{self.stem}.index.parquet"

    @property
    def receipt_key(self) -> str:
        """Key of the receipt, the commit point; never tiered."""
        return f"{RECEIPTS}date={self.hour.date}/hour={self.hour.hh}/{self.stem}.receipt.json"

    @classmethod
    def parse(cls, text: str) -> ArchiveName:
        """From a stem, a file name or any of the three keys.

        Raises:
            BadInputError: not a name of this system.
        """
        base = text.rsplit("/", 1)[-1]
        for ending in (".tar.gz", ".index.parquet", ".receipt.json"):
            base = base.removesuffix(ending)
        match = _ARCHIVE.fullmatch(base)
        if not match:
            raise BadInputError(f"{text!r} is not an archive; expected a name like yolo_cam01_20260102_03.tar.gz")
        return cls(match["camera"], Hour.from_key(match["hour"]), int(match["part"] or 1))


def receipts_prefix(hour: Hour | None = None, date: str | None = None) -> str:
    """Prefix under which the receipts of one hour, one date (``YYYY-MM-DD``) or all time are listed.

    Raises:
        BadInputError: not such a date.
    """
    if hour is not None:
        return f"{RECEIPTS}date={hour.date}/hour={hour.hh}/"
    return f"{RECEIPTS}date={check_date(date)}/" if date is not None else RECEIPTS


def audit_key(audit_id: str, number: int | None = None) -> str:
    """Key of the ``number``-th record of an audit, from 1; without a number that of its claim.

    Args:
        audit_id: ``<YYYYMMDD>T<HHMMSS>Z-<8 hexadecimal digits>``; its day is the key's.
        number: which record.
    """
    what = "claim" if number is None else f"{number:03d}"
    return f"{AUDIT}date={audit_id[:4]}-{audit_id[4:6]}-{audit_id[6:8]}/verify-{audit_id}.{what}.json"


def parse_audit_key(key: str) -> tuple[str, int | None] | None:
    """``(audit_id, number)`` of a key that ``audit_key`` built, or None: others write below ``audit/`` too."""
    match = _AUDIT.fullmatch(key)
    if not match:
        return None
    number = None if match["what"] == "claim" else int(match["what"])
    return (match["id"], number) if audit_key(match["id"], number) == key else None


def copy_statement_key(batch_id: str) -> str:
    """Key of what names both places of a batch of copied archives; ``batch_id`` is like an audit's."""
    return f"{COPIES}date={batch_id[:4]}-{batch_id[4:6]}-{batch_id[6:8]}/{batch_id}.json"


def checkpoint_key(number: int) -> str:
    """The ``number``-th checkpoint of the receipts, from 1: a signed note."""
    return f"{CHECKPOINTS}{number:08d}.checkpoint"


def checkpoint_list_key(number: int, sha256: str) -> str:
    """The receipts that a checkpoint has more than the one before it, in order, by the SHA-256 of that list."""
    return f"{CHECKPOINTS}{number:08d}-{check_sha256(sha256)[:16]}.receipts.gz"


def checkpoint_token_key(number: int) -> str:
    """The time stamp of a checkpoint, as RFC 3161 has it."""
    return f"{CHECKPOINTS}{number:08d}.tsr"


def checkpoint_cosignature_key(number: int, key_id: str) -> str:
    """What a witness signed of a checkpoint, by the id of its key."""
    return f"{CHECKPOINTS}{number:08d}.{key_id}.cosignature"


def parse_checkpoint_key(key: str) -> tuple[int, str] | None:
    """``(number, what)`` of a key below ``checkpoints/``: ``checkpoint``, ``tsr``, ``cosignature``; None: another."""
    match = _CHECKPOINT.fullmatch(key)
    return (int(match["number"]), match["what"].rpartition(".")[2]) if match else None


# Store root ------------------------------------------------------------------------------------------------------


def detections_key(hour: Hour, camera_id: str) -> str:
    """Parquet of one camera-hour, one row a detection."""
    return f"detections/date={hour.date}/hour={hour.hh}/{check_id(camera_id)}.parquet"


def frames_key(hour: Hour, camera_id: str) -> str:
    """Parquet of one camera-hour, one row a processed frame."""
    return f"frames/date={hour.date}/hour={hour.hh}/{check_id(camera_id)}.parquet"


def quarantine_key(hour: Hour, camera_id: str) -> str:
    """Parquet of the rows of one camera-hour that failed validation, with reason and source."""
    return f"quarantine/date={hour.date}/hour={hour.hh}/{check_id(camera_id)}.parquet"


def hour_figures_key(kind: str, hour: Hour) -> str:
    """Parquet of one hour's figures of every camera; ``kind`` is ``pictures`` or ``reports``."""
    return f"{MONITORING}{kind}/date={hour.date}/hour={hour.hh}.parquet"


def hour_verdicts_key(hour: Hour) -> str:
    """What was found of every camera after an hour."""
    return f"{MONITORING}verdicts/date={hour.date}/hour={hour.hh}.json"


def scene_prefix(camera_id: str) -> str:
    """Below it lie the scenes that a camera's pictures are compared with."""
    return f"{MONITORING}scenes/{check_id(camera_id)}/"


def scene_key(camera_id: str, hour: Hour) -> str:
    """What a camera looked at in an hour: a small picture, immutable."""
    return f"{scene_prefix(camera_id)}{hour.key}.png"


def health_note_key(camera_id: str, at: datetime, note_id: str) -> str:
    """What somebody said about a camera; immutable, key order is the order of time."""
    return f"{HEALTH_NOTES}{check_id(camera_id)}/{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{check_version(note_id)}.json"


def copy_state_key(copy_id: str) -> str:
    """How far a copy of the archive root is."""
    return f"{COPIES}{check_id(copy_id, 'copy')}.json"


def catalog_key(version: str) -> str:
    """An immutable published catalog."""
    return f"catalog/{check_version(version)}.duckdb"


def annotation_key(batch: str, file: str = "") -> str:
    """A file of an annotation batch, or the batch's prefix."""
    return f"annotation/{check_version(batch)}/{file}"


def class_list_key(version: int) -> str:
    """One version of the plant's list of classes, immutable."""
    return f"classes/{version}.json"


def dataset_key(sha256: str, file: str = "") -> str:
    """A file of a dataset version, or its prefix."""
    return f"datasets/{check_sha256(sha256)}/{file}"


def dataset_image_key(sha256: str, image_path: str) -> str:
    """A labelled image, stored once for all dataset versions; its ending is that of its own path."""
    ending = PurePosixPath(image_path).suffix.lower()
    if ending == ".jpeg" or ending not in FRAME_ENDINGS:
        ending = ".jpg"
    return f"datasets/images/{check_sha256(sha256)}{ending}"


def training_key(fingerprint: str, file: str = "") -> str:
    """A file of a training run, or its prefix."""
    return f"training/{check_sha256(fingerprint)}/{file}"


STUDIES = "training/studies/"


def study_key(study: str) -> str:
    """What a search for training options varies."""
    return f"{STUDIES}{check_id(study, 'study')}.json"


def study_log_key(study: str, number: int) -> str:
    """An entry of the journal of a search."""
    return f"training/study-logs/{check_id(study, 'study')}/{number:08d}.json"


def start_weights_key(sha256: str) -> str:
    """A checkpoint of the plant that trainings start from."""
    return f"training/weights/{check_sha256(sha256)}.pt"


def model_key(name: str, version: str, file: str = "") -> str:
    """A file of a model bundle, or its prefix."""
    return f"models/{check_id(name, 'model name')}/{check_version(version)}/{file}"


def channel_key(name: str, channel: str) -> str:
    """The pointer of a release channel."""
    return f"channels/{check_id(name, 'model name')}/{check_id(channel, 'channel')}.json"


def channel_history_key(name: str, channel: str, release: int | None = None) -> str:
    """The record of one release of a channel, or the prefix of them all; key order is release order."""
    prefix = f"channels/{check_id(name, 'model name')}/history/{check_id(channel, 'channel')}/"
    return prefix if release is None else f"{prefix}{release:08d}.json"


def channel_statement_key(name: str, channel: str) -> str:
    """Which release of a channel is the newest, and until when that is known."""
    return f"channels/{check_id(name, 'model name')}/statements/{check_id(channel, 'channel')}.json"


def proposal_key(name: str, channel: str, version: str) -> str:
    """A release that waits for people."""
    folder = f"channels/{check_id(name, 'model name')}/proposals/{check_id(channel, 'channel')}"
    return f"{folder}/{check_version(version)}.json"


def approval_key(name: str, channel: str, version: str, manifest_sha256: str, replaces: int, key_id: str) -> str:
    """What the signature of a person's key under one proposal means."""
    folder = f"channels/{check_id(name, 'model name')}/approvals/{check_id(channel, 'channel')}"
    return f"{folder}/{check_version(version)}/{check_sha256(manifest_sha256)[:16]}-{replaces}-{check_id(key_id)}.json"


def rollout_key(name: str, channel: str) -> str:
    """The newest rollout of a channel."""
    return f"channels/{check_id(name, 'model name')}/rollouts/{check_id(channel, 'channel')}.json"


def today_page_key() -> str:
    """The page for a wall screen."""
    return f"{TODAY}today.html"


def alert_state_key() -> str:
    """What was told and what waits, as a copy of the home's."""
    return f"{ALERTS}state.json"


def fleet_key(device_id: str) -> str:
    """The heartbeat of a device."""
    return f"{FLEET}{check_id(device_id, 'device id')}.json"


def device_audit_prefix(device_id: str) -> str:
    """Below it lie the copies of the audit logs of a device."""
    return f"{DEVICE_AUDITS}{check_id(device_id, 'device id')}/"


def device_audit_key(device_id: str, log_id: str, first: int, last: int) -> str:
    """The lines ``first`` to ``last`` of an audit log, immutable; key order is the order of the lines."""
    return f"{device_audit_prefix(device_id)}{log_id}/{first:010d}-{last:010d}.ndjson"


def parse_device_audit_key(key: str) -> tuple[str, str, int, int] | None:
    """``(device_id, log_id, first, last)`` of a key that ``device_audit_key`` built, or None."""
    match = _DEVICE_AUDIT.fullmatch(key)
    return (match["device"], match["log"], int(match["first"]), int(match["last"])) if match else None


def device_key_key(key_id: str, number: int = 1) -> str:
    """A statement on a device's key, immutable: the first enrols it."""
    return f"{DEVICE_KEYS}{key_id}.json" if number == 1 else f"{DEVICE_KEYS}{key_id}.{number}.json"


def parse_device_key(key: str) -> tuple[str, int] | None:
    """``(key_id, number)`` of a key that ``device_key_key`` built, or None."""
    match = _DEVICE_KEY.fullmatch(key)
    if not match:
        return None
    number = int(match["number"] or 1)
    return (match["key"], number) if device_key_key(match["key"], number) == key else None


def trail_key(number: int) -> str:
    """An entry of the audit trail; key order is their order."""
    return f"{TRAIL}{number:010d}.json"


def parse_trail_key(key: str) -> int | None:
    """The number in a key that ``trail_key`` built, or None."""
    match = _TRAIL.fullmatch(key)
    return int(match["number"]) if match else None


def signature_key(key: str) -> str:
    """The detached signatures beside a document, as version 0.1 reads and writes them."""
    return f"{key}.sig"


def envelope_key(key: str) -> str:
    """The DSSE envelopes beside a document."""
    return f"{key}.dsse"


def signature_files(name: str) -> tuple[str, str]:
    """Everything that may lie beside a signed document, newest form first."""
    return envelope_key(name), signature_key(name)


def parse_model_version(text: str) -> tuple[str, str]:
    """``(name, version)`` of a ``<name>/<version>``.

    Raises:
        BadInputError: not of that form.
    """
    name, slash, version = text.partition("/")
    if not slash:
        raise BadInputError(f"{text!r} is not a model version; write it like weld/20260102-1a2b3c4d")
    return check_id(name, "model name"), check_version(version)


def version_of(text: str, name: str) -> str:
    """The version id of a model in either spelling: ``<name>/<version>``, or the version alone.

    Raises:
        BadInputError: no version, or one of another model.
    """
    if "/" not in text:
        return check_version(text)
    told, version = parse_model_version(text)
    if told != name:
        raise BadInputError(f"{text} is a version of {told}, and this is about {name}; write it like {name}/{version}")
    return version
