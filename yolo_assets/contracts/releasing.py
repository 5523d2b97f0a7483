"""How a plant lets a release out: in waves of devices, for how long a pointer holds, and which people must agree.

Belongs here: the sections ``rollout`` and ``people`` of ``plant.yaml``, and the signed records of the rollout room.
Does not belong here: deciding about a rollout (``models.rollout``), and the channel's pointer itself (``model``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from yolo_assets.contracts.base import Record, Time, is_json_object
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.names import check_id


def _device(value: str) -> str:
    try:
        return check_id(value, "device id")
    except BadInputError as error:
        raise ValueError(str(error)) from None


Device = Annotated[str, AfterValidator(_device)]


class RolloutSettings(Record):
    """Section ``rollout`` of ``plant.yaml``. Present, a release goes out in waves; absent, to every device at once."""

    canary: tuple[Device, ...] = Field(default=(), description="devices that get a release first, before any other")
    waves: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.25,), description="shares of the devices that have it after each wave, growing; then come all"
    )
    settle_seconds: float = Field(
        default=600.0, ge=0, le=604_800, description="how long every device of a wave must be well before the next wave"
    )
    timeout_seconds: float = Field(
        default=900.0, gt=0, le=604_800, description="a device that is silent, or has not taken it, by then has failed"
    )
    max_failed: int = Field(default=0, ge=0, description="devices that may fail before the rollout waits for a person")
    pointer_hours: float | None = Field(
        default=None, gt=0, le=8784, description="how long a channel's statement holds; agents warn when it is over"
    )

    @model_validator(mode="after")
    def _growing(self) -> RolloutSettings:
        if list(self.waves) != sorted(set(self.waves)):
            raise ValueError("waves must grow, like [0.1, 0.5]")
        return self


class People(Record):
    """Section ``people`` of ``plant.yaml``: who may approve a release, each with an own key, and how many must."""

    needed: int = Field(ge=1, description="how many of them must approve a release before a channel moves to it")
    keys: dict[str, str] = Field(
        min_length=1, description="by name the file of the person's public key, beside plant.yaml or in full"
    )

    @model_validator(mode="after")
    def _enough(self) -> People:
        if self.needed > len(self.keys):
            raise ValueError(f"needed is {self.needed}, and only {len(self.keys)} people are listed under keys")
        return self


def anchor_people(section: object, folder: Path) -> object:
    """The section ``people`` with the files of its keys below the folder of ``plant.yaml``."""
    if not is_json_object(section) or not is_json_object(section.get("keys")):
        return section
    keys: dict[str, Any] = section["keys"]
    placed = {name: str(folder / file) if isinstance(file, str) else file for name, file in keys.items()}
    return {**section, "keys": placed}


class ReleaseProposal(Record):
    """``channels/<name>/proposals/<channel>/<version>.json``: a release that waits for people; one envelope.

    Its first signature is promotion's, the others are of the people who approve.
    """

    schema_version: Literal[1] = 1
    name: str
    channel: str
    version: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    replaces: int = Field(ge=0, description="release of the channel when it was proposed; 0 for none")
    proposed_at: Time
    by: str
    reason: str


Meaning = Literal["reviewed", "approved", "responsible"]


class ReleaseApproval(Record):
    """What a person's signature under a proposal means, and when it was given; one envelope of the person's own key.

    ``channels/<name>/approvals/<channel>/<version>/…``, written once: a meaning is never changed afterwards.
    """

    schema_version: Literal[1] = 1
    name: str
    channel: str
    version: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    replaces: int = Field(ge=0)
    person: str
    meaning: Meaning
    at: Time


class ChannelStatement(Record):
    """``channels/<name>/statements/<channel>.json``: which release is the newest, and until when that is known.

    Signed by promotion and renewed by the platform. A store that withholds a release cannot renew it.
    """

    schema_version: Literal[1] = 1
    name: str
    channel: str
    release: int = Field(ge=1)
    at: Time
    expires_at: Time


RolloutState = Literal["running", "paused", "done", "aborted"]


class RolloutStep(Record):
    """One thing that happened to a rollout; who and why."""

    at: Time
    by: str
    what: str


def devices_in_words(devices: tuple[str, ...] | None) -> str:
    """``3 devices``; None stands for every device."""
    return f"{len(devices)} devices" if devices is not None else "every device"


class RolloutRecord(Record):
    """``channels/<name>/rollouts/<channel>.json``: the newest rollout of a channel, signed by promotion.

    ``waves`` holds the devices that have the release in each wave, growing. Wave number ``len(waves)`` is every device:
    then the pointer names none.
    """

    schema_version: Literal[1] = 1
    name: str
    channel: str
    version: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    others: ReleasedModel = Field(description="what every device outside the wave keeps")
    waves: tuple[tuple[str, ...], ...]
    wave: int = Field(default=0, ge=0)
    release: int = Field(ge=1, description="of the pointer that the present wave follows")
    started_at: Time
    wave_since: Time
    state: RolloutState = "running"
    settings: RolloutSettings
    failed: dict[str, str] = Field(default_factory=dict, description="device to reason, as of the last look")
    excused: tuple[str, ...] = Field(default=(), description="failed devices that a person let be when going on")
    steps: tuple[RolloutStep, ...] = ()

    @property
    def model_version(self) -> str:
        """``<name>/<version>`` that is rolled out."""
        return f"{self.name}/{self.version}"

    @property
    def devices(self) -> tuple[str, ...] | None:
        """Devices of the present wave; None: every device."""
        return self.waves[self.wave] if self.wave < len(self.waves) else None
