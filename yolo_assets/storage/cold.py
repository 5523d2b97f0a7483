"""Objects in tiers from which they must be requested before they can be read: their state, and when to come back.

Belongs here: the states, the times and their description. The requests are in ``s3``. A folder has no cold tier:
everything in it is available.

The times are those of the AWS user guide, "Understanding archive retrieval options"
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html): typical, not promised.
Expedited holds for objects under 250 MB; larger ones come at up to 300 MB/s. Tiers with instant access (GLACIER_IR,
STANDARD_IA) are not such tiers: their objects are simply available.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.times import format_time

Retrieval = Literal["expedited", "standard", "bulk"]
"""How fast, and how dear, an object is fetched from a cold tier."""

_FLEXIBLE: dict[Retrieval, str] = {"expedited": "1 to 5 minutes", "standard": "3 to 5 hours", "bulk": "5 to 12 hours"}
_DEEP: dict[Retrieval, str] = {"standard": "up to 12 hours", "bulk": "up to 48 hours"}
_TIMES: dict[str, dict[Retrieval, str]] = {
    "GLACIER": _FLEXIBLE,
    "DEEP_ARCHIVE": _DEEP,
    "ARCHIVE_ACCESS": _FLEXIBLE,  # the two cold tiers within INTELLIGENT_TIERING
    "DEEP_ARCHIVE_ACCESS": _DEEP,
}


@dataclass(frozen=True)
class RestoreState:
    """Whether one object can be read now.

    Attributes:
        status: ``available``: it is in no cold tier; ``cold``: it is, and was not requested; ``requested``: it is on
            its way; ``restored``: a copy can be read until ``until``.
        tier: the storage class or access tier it lies in, None when the store names none.
        until: when the readable copy goes again.
    """

    status: Literal["available", "cold", "requested", "restored"]
    tier: str | None = None
    until: datetime | None = None

    @property
    def readable(self) -> bool:
        """Whether a GET works now."""
        return self.status in ("available", "restored")

    def __str__(self) -> str:
        """For people: the state, and what to expect."""
        if self.status == "restored":
            return f"can be read until {format_time(self.until)}" if self.until else "can be read"
        if self.status == "available":
            return "can be read"
        waits = ", ".join(f"{how} {wait}" for how, wait in _TIMES.get(self.tier or "", {}).items())
        takes = f" (from there: {waits})" if waits else ""
        if self.status == "requested":
            return f"was requested and is on its way out of {self.tier or 'a cold tier'}{takes}; come back then"
        return f"is in {self.tier or 'a cold tier'} and was not requested{takes}"


def check_request(days: int, retrieval: str) -> None:
    """Refuse a request that no store could fulfil.

    Raises:
        UsageError: ``days`` is under 1, or no such retrieval.
    """
    if days < 1:
        raise UsageError(f"a copy for {days} days cannot be requested; request at least one day")
    if retrieval not in get_args(Retrieval):
        raise UsageError(f"there is no retrieval tier {retrieval!r}; use {', '.join(get_args(Retrieval))}")


def standard_wait(tier: str | None) -> str | None:
    """How long a standard retrieval from a tier takes; None when that is not known."""
    return _TIMES.get(tier or "", {}).get("standard")


def come_back(tier: str | None, retrieval: Retrieval) -> str:
    """When an object that is asked for now can be read, for people: ``in 3 to 5 hours``."""
    wait = _TIMES.get(tier or "", {}).get(retrieval)
    return f"in {wait}".replace("in up to", "within") if wait else "when the store has fetched it"


def check_retrieval(key: str, tier: str | None, retrieval: Retrieval) -> None:
    """Refuse a retrieval that the tier does not know.

    Raises:
        BadInputError: it is one.
    """
    known = _TIMES.get(tier or "", {})
    if known and retrieval not in known:
        offers = ", ".join(f"{how} ({wait})" for how, wait in known.items())
        raise BadInputError(f"{key} is in {tier}, which has no {retrieval} retrieval; use {offers}")
