"""The connection to an MQTT broker, the same for everything that publishes or listens: MQTT 3.1.1 with paho.

The library's own thread connects, pings and reconnects. Does not belong here: what topics and messages say, and how
long a publisher waits for the broker to confirm.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from yolo_assets.runtime.credentials import TlsFiles, client_context, read_secret

CONNECT_SECONDS = 5.0
"""How long a connection may take to come about."""
_CLOSE_SECONDS = 2.0


class BrokerAddress(TlsFiles, Protocol):
    """Where a broker is and how to log in, as sections of configurations say it."""

    @property
    def host(self) -> str:
        """Its name or address."""
        ...

    @property
    def port(self) -> int | None:
        """None: 8883 with ``tls``, 1883 without."""
        ...

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the broker verified."""
        ...

    @property
    def username(self) -> str | None:
        """None: no login."""
        ...

    @property
    def password_file(self) -> Path | None:
        """File with the password."""
        ...


@dataclass(frozen=True)
class Subscription:
    """What to hear.

    Attributes:
        shown: the topics as the configuration names them, for people.
        topics: to subscribe to, with quality of service 1.
        take: called with each message, by the library's thread; returns at once.
    """

    shown: str
    topics: Sequence[str]
    take: Callable[[paho.MQTTMessage], None]


class MqttConnection:
    """One connection that comes back by itself, and knows why it is not there.

    Args:
        where: what errors should name: the section of the configuration.
        address: of the broker.
        client_id: unique at the broker.
        password_variable: of the environment, instead of the file.
        keepalive_s: seconds between messages that show that it is alive.
        subscription: made again whenever the connection is; None: only publish.
        availability: topic of a retained message, ``online`` or ``offline``, also when this process is lost; None: no
            message.

    Attributes:
        shown: the broker for people, without anything secret.
        client: the library's, to publish with.
        refusal: what went wrong last, after the broker's name; None: nothing.

    Raises:
        BadInputError: a secret or a certificate cannot be used.
    """

    def __init__(
        self,
        where: str,
        address: BrokerAddress,
        client_id: str,
        *,
        password_variable: str | None = None,
        keepalive_s: int = 30,
        subscription: Subscription | None = None,
        availability: str | None = None,
    ) -> None:
        password = read_secret(f"{where}: password", address.password_file, password_variable)
        self._address = address
        self._port = address.port or (8883 if address.tls else 1883)
        self._keepalive_s = keepalive_s
        self._subscription = subscription
        self._availability = availability
        self._started = False
        self._subscribed = threading.Event()
        self.shown = f"{'mqtts' if address.tls else 'mqtt'}://{address.host}:{self._port}"
        self.refusal: str | None = None
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv311, clean_session=True
        )
        client.connect_timeout = CONNECT_SECONDS
        # Each machine comes back after waits of its own, so that they do not all come at once.
        client.reconnect_delay_set(1, random.randint(15, 45))
        if availability is not None:
            client.will_set(availability, b"offline", qos=1, retain=True)
        if address.username is not None:
            client.username_pw_set(address.username, password)
        if address.tls:
            # paho imports ssl only where there is one, and so its parameter has no type.
            client.tls_set_context(client_context(where, address))  # pyright: ignore[reportUnknownMemberType]
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self.client.is_connected()

    @property
    def listening(self) -> bool:
        """Whether the broker confirmed the subscription."""
        return self._subscribed.is_set()

    @property
    def trouble(self) -> str | None:
        """Why the broker is not there now; None when it is, and before the start."""
        if not self._started or self.connected:
            return None
        return f"{self.shown} {self.refusal or 'is being connected'}"

    def open(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._started = True
        self.client.connect_async(self._address.host, self._port, keepalive=self._keepalive_s)
        self.client.loop_start()

    def close(self) -> None:
        """Say ``offline`` and close the connection; takes two seconds at most."""
        if self._started:
            # The library's thread may stand in a connection that does not come about, and must not hold up the stop.
            ending = threading.Thread(target=self._end, name="mqtt-close", daemon=True)
            ending.start()
            ending.join(_CLOSE_SECONDS)

    def _end(self) -> None:
        if self._availability is not None and self.connected:
            self.client.publish(self._availability, b"offline", qos=1, retain=True).wait_for_publish(1.0)
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self.refusal = f"refuses the connection: {code}; check username, password_file and its access rules"
            return
        self.refusal = None
        if self._availability is not None:
            client.publish(self._availability, b"online", qos=1, retain=True)
        if self._subscription is not None:
            client.subscribe([(topic, 1) for topic in self._subscription.topics])

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        self.refusal = "cannot be reached" + ("; check host, port and ca_file" if self._address.tls else "")

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        if self._subscription is not None and any(code.is_failure for code in codes):
            self.refusal = f"refuses {self._subscription.shown}; check its access rules"
        else:
            self._subscribed.set()

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: paho.DisconnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        self._subscribed.clear()
        if code.is_failure and self.refusal is None:
            self.refusal = f"went away: {code}"

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        if self._subscription is not None:
            self._subscription.take(message)
