"""Which archives are due for an audit: those that were looked at longest ago, until the share is full. Pure.

Every call takes at least its share of the weight, or all there is, from the front of a queue, and what it took goes to
the end. So after as many calls as shares make a whole, each archive was looked at, however many machines made the
calls, on whatever days; an archive that comes meanwhile stands at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from yolo_assets.contracts.errors import BadInputError


@dataclass(frozen=True)
class Candidate:
    """An archive that may be chosen.

    Attributes:
        name: its stem.
        weight: what looking at it costs, at least 1: bytes for a full look, 1 otherwise.
        looked: when it was last looked at, as deep as is wanted now; when its hour ended if it never was.
        damaged: something differed when it was last looked at.
    """

    name: str
    weight: int
    looked: datetime
    damaged: bool = False


def parse_share(text: str) -> Fraction:
    """``1/30`` or ``0.05``.

    Raises:
        BadInputError: not more than 0 and at most 1.
    """
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise BadInputError(f"{text!r} is not a share of the archives; write it like 1/30")
    return share


def choose(candidates: Sequence[Candidate], share: Fraction, taken: Iterable[str] = ()) -> list[Candidate]:
    """The archives to look at now, first those that are known to be damaged.

    A damaged one is looked at again by every call, beside the share, so that an alarm lasts as long as the damage; of
    many damaged ones as many as weigh a share.

    Args:
        candidates: every archive.
        share: more than 0, at most 1.
        taken: names that another audit is looking at just now.

    Returns:
        Longest ago first. What is not known to be damaged weighs at least ``share`` of all unless nothing is left, and
        at most one archive more.
    """
    busy = frozenset(taken)
    budget = share * sum(one.weight for one in candidates)
    free = sorted((one for one in candidates if one.name not in busy), key=_order)
    return [
        *_until(budget, (one for one in free if one.damaged)),
        *_until(budget, (one for one in free if not one.damaged)),
    ]


def _until(budget: Fraction, queue: Iterable[Candidate]) -> list[Candidate]:
    chosen: list[Candidate] = []
    weight = 0
    for one in queue:
        if weight >= budget:
            break
        chosen.append(one)
        weight += one.weight
    return chosen


def _order(one: Candidate) -> tuple[datetime, bytes]:
    # Archives of one hour end together: a hash mixes the cameras, so that a call cut short has seen some of each.
    return one.looked, hashlib.blake2b(one.name.encode(), digest_size=8).digest()
