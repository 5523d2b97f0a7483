"""The interface of every transport. Each connects by itself, in the background and for ever."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from yolo_assets.contracts.announcements import Announcement, kind_of
from yolo_assets.runtime.threads import join

CLOSE_SECONDS = 2.0


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


class ListeningThread(ABC):
    """What transports have in common whose library does not listen by itself: a thread, and what it found out.

    Attributes:
        shown: the broker, without anything secret.
        hearing: what to listen to; without it there is no thread.
        refusal: why the broker cannot be used now, after its name; None when it can.
        heard: set while what is announced is heard.
        stop: set when the transport closes.
    """

    def __init__(self, name: str, shown: str, hearing: Hearing | None) -> None:
        """Starts nothing.

        Args:
            name: of the thread.
            shown: as the attribute.
            hearing: as the attribute.
        """
        self.shown = shown
        self.hearing = hearing
        self.refusal: str | None = None
        self.heard = threading.Event()
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self.listen, name=name, daemon=True)

    @property
    def trouble(self) -> str | None:
        """Why the broker cannot be used now, as far as is known."""
        return f"{self.shown} {self.refusal}" if self.refusal is not None else None

    @property
    def listening(self) -> bool:
        """Whether what is announced from now on is heard."""
        return self.heard.is_set()

    def open(self) -> None:
        """Publishing connects when it is used; listening has a thread."""
        if self.hearing is not None:
            self._thread.start()

    @abstractmethod
    def listen(self) -> None:
        """The thread's work, until ``stop`` is set."""

    def join(self) -> None:
        """Wait for the end of the thread, two seconds at most."""
        join(self._thread, CLOSE_SECONDS)


def place(beginning: str, separator: str, announcement: Announcement) -> str:
    """Topic, subject or key of an announcement: where it begins, what it tells, whom it is about."""
    return separator.join((beginning, kind_of(announcement.type), announcement.data.subject))
