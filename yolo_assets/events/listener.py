"""Listening to several brokers at once, for one intake."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_assets.contracts.brokers import AnyBroker, HttpReceiverAt
from yolo_assets.events.intake import Intake
from yolo_assets.events.opening import open_transport
from yolo_assets.events.transport import Transport
from yolo_assets.runtime.threads import InBackground


class Listener(InBackground):
    """Every broker of a configuration that has ``listen``, and the intake that they fill.

    Args:
        brokers: of the configuration.
        client: names this process to the brokers.
        types: of the announcements to hear.
        intake: takes them.

    Raises:
        BadInputError: a secret or a certificate cannot be used.
    """

    def __init__(self, brokers: Sequence[AnyBroker], client: str, types: frozenset[str], intake: Intake) -> None:
        self.intake = intake
        self.transports: dict[str, Transport] = {
            settings.name: open_transport(settings, f"{client}-{settings.name}", intake.hearing(settings.name, types))
            for settings in brokers
            if not isinstance(settings, HttpReceiverAt) and settings.listen
        }

    def start(self) -> None:
        """Connect in the background, and act on what comes."""
        self.intake.start()
        for transport in self.transports.values():
            transport.open()

    def close(self) -> None:
        """Hear nothing more, and end the look that goes on."""
        for transport in self.transports.values():
            transport.close()
        self.intake.close()

    @property
    def listening(self) -> bool:
        """Whether every broker is heard."""
        return all(transport.listening for transport in self.transports.values())

    @property
    def troubles(self) -> list[str]:
        """Brokers that cannot be used now, a line each."""
        return [trouble for transport in self.transports.values() if (trouble := transport.trouble) is not None]
