"""Whether the release that the store shows is the newest: promotion says so in a statement that expires.

A store that is held back, by a fault or by somebody, can show an old pointer for ever: it is signed. It cannot renew
the statement of the newest release. What was stated last is kept on disk, so that removing the statement, or a restart,
hides nothing. The line never stops for it: it is told. Does not belong here: taking or refusing a release
(``decision``).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.releasing import ChannelStatement
from yolo_assets.contracts.times import utc_now
from yolo_assets.models.channels import Channel
from yolo_assets.runtime.files import write_atomic

log = logging.getLogger(__name__)
_READ_EVERY = 30.0
"""Seconds between two reads of the statement while the pointer is the same."""


class PointerFreshness:
    """What is known of how new a channel's pointer is; read by the poller, told by status, page and metrics.

    Args:
        channel: the device's own.
        path: where the last statement is kept.
    """

    def __init__(self, channel: Channel, path: Path) -> None:
        self._channel = channel
        self._path = path
        self._newest = _kept(path, channel)
        self._read_at = float("-inf")
        self._release: int | None = None
        self._behind = 0
        self._told: str | None = None

    @property
    def expires_at(self) -> float | None:
        """When the last statement ends, seconds since 1970; None where the plant makes none."""
        return self._newest.expires_at.timestamp() if self._newest is not None else None

    @property
    def problem(self) -> str | None:
        """Why the release that serves may not be the newest, in words; None where nothing says so."""
        stated = self._newest
        if stated is None:
            return None
        place = f"channel {stated.name}/{stated.channel}"
        if self._behind > 1:  # once may be a promotion that moved the pointer between the two reads
            return (
                f"{place} shows release {self._release}, and release {stated.release} was out by "
                f"{stated.at:%Y-%m-%d %H:%M} UTC: the store withholds it, or an older state of it was put back"
            )
        if stated.expires_at < utc_now():
            return (
                f"nobody has confirmed since {stated.expires_at:%Y-%m-%d %H:%M} UTC that release {stated.release} of "
                f"{place} is the newest: the platform does not run, or the store withholds what it wrote"
            )
        return None

    def look(self, pointer: ChannelPointer | None) -> None:
        """Read the statement now and then, and tell once what is wrong. Nothing here stops a poll.

        Args:
            pointer: as the store shows it; None while it does not answer.
        """
        try:
            if pointer is not None:
                changed, self._release = pointer.release != self._release, pointer.release
                if changed or time.monotonic() - self._read_at >= _READ_EVERY:
                    self._read_at = time.monotonic()
                    self._remember(self._channel.statement())
                behind = self._newest is not None and pointer.release < self._newest.release
                self._behind = self._behind + 1 if behind else 0
        except (UserError, OSError) as error:
            log.warning("the statement of the newest release could not be read or kept: %s", error)
        problem = self.problem
        if problem != self._told:
            if problem is not None:
                log.warning("%s; the present model continues to serve", problem)
            else:
                log.info("the release that the store shows is confirmed as the newest again")
            self._told = problem

    def _remember(self, stated: ChannelStatement | None) -> None:
        """Keep a statement that is newer than the one before; an older one that was put back proves nothing."""
        if stated is None or stated == self._newest:
            return
        before = self._newest
        if before is None or (stated.release, stated.expires_at) > (before.release, before.expires_at):
            self._newest = stated
            write_atomic(self._path, stated.to_json())


def _kept(path: Path, channel: Channel) -> ChannelStatement | None:
    try:
        stated = ChannelStatement.from_json(path.read_bytes(), str(path))
    except (OSError, BadInputError):
        return None
    return stated if (stated.name, stated.channel) == (channel.name, channel.channel) else None
