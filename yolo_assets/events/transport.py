"""The interface of every transport. Each connects by itself, in the background and for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from yolo_assets.contracts.announcements import Announcement, kind_of


class DeliveryError(Exception):
    """An announcement did not arrive; one line for the operator, without a secret."""


@dataclass(frozen=True)
class Hearing:
    """What to listen to.

    Attributes:
        types: of announcements.
        take: called with each message as it came, by a thread of the transport; returns at once.
    """

    types: frozenset[str]
    take: Callable[[bytes], None]


class Transport(Protocol):
    """One broker."""

    @property
    def shown(self) -> str:
        """The broker, without anything secret."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why it cannot be used now; None when it can, or when only the next announcement will tell."""
        ...

    @property
    def listening(self) -> bool:
        """Whether what is announced from now on is heard."""
        ...

    def open(self) -> None:
        """Begin to connect; returns at once."""
        ...

    def publish(self, announcement: Announcement) -> None:
        """Return once the broker has it; waits some seconds at most. Called by one thread.

        Raises:
            DeliveryError: it has not.
        """
        ...

    def close(self) -> None:
        """Close the connection; takes two seconds at most."""
        ...


def place(beginning: str, separator: str, announcement: Announcement) -> str:
    """Topic, subject or key of an announcement: where it begins, what it tells, whom it is about."""
    return separator.join((beginning, kind_of(announcement.type), announcement.data.subject))
