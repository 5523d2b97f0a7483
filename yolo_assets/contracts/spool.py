"""What is stored next to the frames of a spool hour: the seal of the agent and the plan of the archiver."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time


class Seal(Record):
    """``.sealed``: written last by our agent; says what the hour holds and what was dropped and why.

    Per camera and hour: ``captured = processed + sum(dropped.values())`` (nothing is in flight once sealed).
    """

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    camera_id: str
    hour: str = Field(pattern=r"^\d{8}_\d{2}$")
    device_id: str
    frames: int = Field(ge=0, description="images kept")
    records: int = Field(ge=0, description="lines in records.ndjson = frames processed")
    bytes: int = Field(ge=0, description="bytes of images and records")
    captured: int = Field(ge=0)
    processed: int = Field(ge=0)
    dropped: dict[str, int] = Field(default_factory=dict, description="frames dropped, by reason")
    model_versions: tuple[str, ...] = ()
    mask_versions: tuple[str, ...] = Field(
        default=(),
        exclude_if=lambda value: not value,
        description="privacy masks in its pictures, as records name them",
    )
    sealed_at: Time


class SealedFile(Record):
    """A line of ``.sealed.list``: a file of the hour, as it was when the hour was sealed."""

    name: str = Field(min_length=1)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class SealStatement(Record):
    """What the device signs in ``.sealed.dsse``: the files of an hour, ``.sealed`` among them, under one root."""

    schema_version: Literal[1] = 1
    camera_id: str
    hour: str = Field(pattern=r"^\d{8}_\d{2}$")
    device_id: str
    files: int = Field(ge=0, description="lines of .sealed.list")
    root: str = Field(pattern=r"^[0-9a-f]{64}$", description="Merkle root (RFC 6962) over these lines")
    device_key: str = Field(description="public key of the device, its 32 bytes in base64: shown, never trusted")
    sealed_at: Time


class PlanMember(Record):
    """One file that goes into an archive, as it was when the plan was made."""

    name: str
    size: int = Field(ge=0)
    mtime_ns: int


class ArchivePlan(Record):
    """``.archiving.json``: fsynced before the first byte travels; a resume re-packs exactly this list."""

    schema_version: Literal[1] = 1
    camera_id: str
    hour: str = Field(pattern=r"^\d{8}_\d{2}$")
    part: int = Field(ge=1)
    archive_key: str
    members: tuple[PlanMember, ...]
    upload_id: str | None = None
    part_size: int = Field(gt=0, description="bytes of an upload part")
    codec: str = Field(description="what compressed the members, with its version: other codecs give other bytes")
    writer_version: str
    created_at: Time
