"""What was told, what waits to be sent, and the file that keeps both over restarts.

The file is written before a message goes out and after it went out. A process that is killed between the two sends
this one message again after its restart; no message is lost. A copy in the store is for homes that do not last, as of a
pod: a home without the file begins with it. Belongs here: the record, the file, the copy. Does not belong here: when
something is told (``alerts.decide``) and sending (``alerts.outbox``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from yolo_assets.alerts.problem import Problem
from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import alert_state_key
from yolo_assets.runtime.files import write_atomic
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError

FILE = "alerts.json"
"""In the home."""

News = Literal["new", "still", "resolved"]


class Standing(Record):
    """A problem that stands, or stood a moment ago.

    Attributes:
        problem: as it was seen last.
        first_at: when it was seen first.
        last_at: when it was seen last.
        told_at: when it was told last; None: not yet.
    """

    problem: Problem
    first_at: Time
    last_at: Time
    told_at: Time | None = None


class Message(Record):
    """One message to one receiver, not sent yet.

    Attributes:
        number: grows by one from message to message.
        receiver: its name.
        news: whether it tells of something new, of what still stands, or of what is well again.
        title: one line.
        body: sentences and links.
        made_at: when it was due.
    """

    number: int
    receiver: str
    news: News
    title: str
    body: str
    made_at: Time


class Trouble(Record):
    """A receiver to which messages could not be sent.

    Attributes:
        failures: attempts in a row that failed; 0: the last one succeeded.
        next_at: not tried before.
        error: of the last attempt.
        lost: messages that were given up, ever.
    """

    failures: int = Field(default=0, ge=0)
    next_at: Time
    error: str = ""
    lost: int = Field(default=0, ge=0)


class AlertState(Record):
    """``<home>/alerts.json``."""

    model_config = ConfigDict(extra="ignore")  # written by a newer version

    standing: dict[str, Standing] = Field(default_factory=dict, description="by the key of the problem")
    outbox: tuple[Message, ...] = Field(default=(), description="in the order in which they are sent")
    trouble: dict[str, Trouble] = Field(default_factory=dict, description="by receiver")
    last_number: int = 0

    @classmethod
    def load(cls, home: Path) -> AlertState | None:
        """The state in a home.

        Returns:
            None where there is none yet.

        Raises:
            BadInputError: the file cannot be read. Without it everything would be told again.
        """
        path = home / FILE
        try:
            return cls.from_json(path.read_bytes(), str(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadInputError(f"{path} cannot be read: {error.strerror}") from None
        except BadInputError as error:
            raise BadInputError(f"{error}; delete it: what stands is then told once more") from None

    @classmethod
    def copied(cls, store: ObjectStore) -> AlertState | None:
        """The copy in a store root; None where there is none, or none that can be read now."""
        try:
            return cls.from_json(store.get(alert_state_key()), alert_state_key())
        except (ObjectNotFoundError, StoreUnavailableError, BadInputError):
            return None  # what stands is told once more

    def copy_to(self, store: ObjectStore) -> None:
        """Write the copy."""
        store.put(alert_state_key(), self.to_json())

    def save(self, home: Path) -> None:
        """Write the file, durably and whole."""
        home.mkdir(parents=True, exist_ok=True)
        write_atomic(home / FILE, self.to_json())
