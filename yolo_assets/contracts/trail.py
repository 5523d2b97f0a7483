"""The records of the audit trail at the centre: who did what, to what, when, with what result, and what it meant.

``audit/trail/<number>.json`` of the store root, written once and numbered without a gap. Each entry holds the SHA-256
of the stored bytes of the one before it. Where the machine has a key, the object is a DSSE envelope of the kind
``audit-trail``; else it is the record itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.device_audit import Sha256

_LONGEST = 500


def _said(value: str) -> str:
    """One line of what a person or a program said, cut to what a line can hold."""
    line = " ".join(value.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


Said = Annotated[str, AfterValidator(_said)]


class TrailTarget(Record):
    """What was touched. What does not apply is left out; without a camera, hours are those of every camera."""

    model: str | None = Field(default=None, description="<name>/<version>, or the name alone")
    channel: str | None = None
    camera_id: str | None = None
    start: Time | None = Field(default=None, description="first moment of what was touched")
    end: Time | None = Field(default=None, description="first moment after it")
    names: tuple[Said, ...] = Field(default=(), description="archives, label files, datasets, classes, keys …")
    out: Said | None = Field(default=None, description="where an export went")


class TrailActor(Record):
    """Who acted, as far as it is known."""

    who: Said = Field(min_length=1, description="the name that was given, else the login name")
    os_user: Said | None = Field(default=None, description="the user of the operating system")
    host: Said | None = Field(default=None, description="the machine")
    role: Said | None = Field(
        default=None, description="in which capacity: of a person in plant.yaml, or a Dagster run"
    )


class TrailEntry(TrailActor):
    """One entry of the trail.

    What takes a while has two entries: one before it begins, and one with its result that ``closes`` the first.
    """

    schema_version: Literal[1] = 1
    number: int = Field(ge=1)
    entry_id: str = Field(pattern=r"^[0-9a-f]{16}$", description="drawn at random: no two writers have equal bytes")
    previous: Sha256 = Field(description="SHA-256 of the stored entry before; zeros in the first")
    at: Time
    what: str = Field(
        pattern=r"^[a-z][a-z -]{1,39}$", description="the command that does it: restore, models promote …"
    )
    target: TrailTarget
    result: Said = Field(min_length=1, description="begun, done …, or failed: why")
    meaning: Said = Field(default="", description="of a signature: reviewed, approved, responsible …")
    reason: Said = Field(default="", description="why, as the person said")
    closes: int | None = Field(default=None, ge=1, description="number of the entry whose result this is")


@dataclass(frozen=True)
class TrailHead:
    """The end of the trail; a checkpoint of the archive signs it, so that entries cannot be cut off.

    Attributes:
        number: of the newest entry; 0: there is none.
        sha256: of its stored bytes, hexadecimal.
    """

    number: int
    sha256: str
