"""What this device announces, and what it hears: hours that it closed, releases of its model.

A release that is announced is read from its channel and verified like one that polling finds. Does not belong here:
brokers (``events``), reading a channel (``rollout``).
"""

from __future__ import annotations

from collections.abc import Callable

from yolo_assets.contracts.announcements import CHANNEL_MOVED, Announcement, ChannelMoved, hour_closed
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.events.announcer import Announcer
from yolo_assets.events.intake import Bounds, Intake
from yolo_assets.events.listener import Listener
from yolo_assets.events.metrics import EventMetrics

_REST_SECONDS = 1.0


class Announcements:
    """Both directions of the agent. Without brokers nothing runs.

    Args:
        config: of the agent.
        poll_now: reads the channels without waiting; returns at once.

    Raises:
        BadInputError: a secret or a certificate of a broker cannot be used.
    """

    def __init__(self, config: AgentConfig, poll_now: Callable[[], None]) -> None:
        self._model = config.model
        self._poll_now = poll_now
        self._source = f"/devices/{config.device_id}"
        brokers, client = config.events.brokers, f"yolo-assets-{config.device_id}"
        self._active = bool(brokers)
        self.announcer = Announcer(brokers, f"{client}-announce")
        intake = Intake(self._thing, self._act, Bounds(waiting=1, rest_s=_REST_SECONDS))
        self.listener = Listener(brokers, f"{client}-listen", frozenset({CHANNEL_MOVED}), intake)
        self.metrics = EventMetrics(self.announcer, intake, self.listener.transports)

    def start(self) -> None:
        """Connect in the background."""
        if self._active:
            self.announcer.start()
            self.listener.start()

    def stop(self) -> None:
        """Announce what waits, for two seconds at most, and end."""
        if self._active:
            self.listener.close()
            self.announcer.close()

    def on_sealed(self, camera_id: str, hour: Hour) -> None:
        """Announce an hour that got its seal; returns at once."""
        if self._active:
            self.announcer.announce(hour_closed(self._source, camera_id, hour))

    def _thing(self, announcement: Announcement) -> str | None:
        ours = isinstance(announcement, ChannelMoved) and announcement.data.name == self._model
        return "channels" if ours else None

    def _act(self, announcement: Announcement) -> None:
        self._poll_now()
