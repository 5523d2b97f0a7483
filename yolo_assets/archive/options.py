"""How to archive: what an operator chooses, one object from the command line or Dagster to the upload."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from yolo_assets.archive.packing.pack import PartBuffers
from yolo_assets.archive.part_plan import PART_SIZE, WHOLE
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import Retention, RetentionMode

VerifyHow = Literal["head", "full"]


@dataclass(frozen=True)
class ArchiveOptions:
    """Options of archiving.

    Attributes:
        verify: ``head``: size and ETag after the upload; ``full``: every byte read back.
        part_size: bytes of an upload part, from 5 MiB.
        whole: an hour up to this size is one put; one that was interrupted goes in parts after all. 0: never.
        retention_days: archive, index and receipt are write-once for so long; 0 asks for nothing.
        retention_mode: see ``storage.base``.
        buffers: memory for upload parts, shared by all hours of a round.
    """

    verify: VerifyHow = "head"
    part_size: int = PART_SIZE
    whole: int = WHOLE
    retention_days: int = 0
    retention_mode: RetentionMode = "compliance"
    buffers: PartBuffers = field(default_factory=PartBuffers)

    @classmethod
    def of(cls, settings: Settings, *, verify: VerifyHow = "head") -> ArchiveOptions:
        """What the operator set."""
        days, mode = settings.retention_days, settings.retention_mode
        return cls(verify=verify, retention_days=days, retention_mode=mode)

    def retention(self) -> Retention | None:
        """What is asked of the store for an object written now; None: nothing."""
        if not self.retention_days:
            return None
        return Retention(utc_now() + timedelta(days=self.retention_days), self.retention_mode)
