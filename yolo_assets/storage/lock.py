"""Retention of objects that cannot be altered: what it means and how two of them compare.

The interface is ``base.ObjectLock``, the requests are ``s3_lock``; what an archive asks for is
``archive.retention``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from yolo_assets.contracts.errors import BadInputError, UserError

RetentionMode = Literal["compliance", "governance"]


class NoObjectLockError(UserError):
    """The bucket, or the store as a whole, has no object lock: nothing in it can be made unalterable."""


@dataclass(frozen=True)
class Retention:
    """Until when a version can be neither deleted nor changed.

    Attributes:
        until: aware. Stores keep whole seconds; what is asked of them is rounded up.
        mode: ``compliance``: nobody can shorten it, the owner of the account included; ``governance``: whoever has the
            right to bypass it can.
    """

    until: datetime
    mode: RetentionMode

    def __post_init__(self) -> None:
        if self.until.tzinfo is None:
            raise BadInputError(f"the retention until {self.until.isoformat()} has no zone; give UTC")

    def covers(self, other: Retention) -> bool:
        """Whether this one lasts at least as long as ``other`` and is at least as strict."""
        return self.until >= other.until and (self.mode == "compliance" or other.mode == "governance")

    def joined(self, other: Retention) -> Retention:
        """The weakest retention that covers both."""
        strict = "compliance" in (self.mode, other.mode)
        return Retention(max(self.until, other.until), "compliance" if strict else "governance")
