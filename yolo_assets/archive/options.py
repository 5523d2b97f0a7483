"""How to archive: what an operator chooses, one object from the command line or Dagster down to the upload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from yolo_assets.archive.buffers import PartBuffers
from yolo_assets.archive.plan import PART_SIZE, WHOLE

VerifyHow = Literal["head", "full"]


@dataclass(frozen=True)
class ArchiveOptions:
    """Options of archiving.

    Attributes:
        verify: ``head``: size and ETag after the upload; ``full``: every byte read back.
        part_size: bytes of an upload part, from 5 MiB.
        whole: an hour up to this size is one put; one that was interrupted goes in parts after all. 0: never.
        retention_days: archive, index and receipt are write-once for so long; 0 asks for nothing.
        retention_mode: see ``storage.lock``.
        buffers: memory for upload parts, shared by all hours of a round.
    """

    verify: VerifyHow = "head"
    part_size: int = PART_SIZE
    whole: int = WHOLE
    retention_days: int = 0
    retention_mode: Literal["compliance", "governance"] = "compliance"
    buffers: PartBuffers = field(default_factory=PartBuffers)
