"""A client of an MQTT broker, set up in one way for everything that publishes or listens.

Does not belong here: topics, messages, and what happens when the connection comes or goes.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

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


def port_of(address: BrokerAddress) -> int:
    """The port to connect to."""
    return address.port or (8883 if address.tls else 1883)


def shown(address: BrokerAddress) -> str:
    """The broker for people, without anything secret."""
    return f"{'mqtts' if address.tls else 'mqtt'}://{address.host}:{port_of(address)}"


def new_client(where: str, address: BrokerAddress, client_id: str, password_variable: str | None = None) -> paho.Client:
    """A client that connects to nothing yet and comes back by itself.

    Args:
        where: what errors should name: the option and the name of the section.
        address: of the broker.
        client_id: unique at the broker.
        password_variable: of the environment, instead of the file.

    Raises:
        BadInputError: a secret or a certificate cannot be used.
    """
    password = read_secret(f"{where}: password", address.password_file, password_variable)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv311, clean_session=True)
    client.connect_timeout = CONNECT_SECONDS
    # Each machine comes back after waits of its own, so that they do not all come at once.
    client.reconnect_delay_set(1, random.randint(15, 45))
    if address.username is not None:
        client.username_pw_set(address.username, password)
    if address.tls:
        # paho imports ssl only where there is one, and so its parameter has no type.
        client.tls_set_context(client_context(where, address))  # pyright: ignore[reportUnknownMemberType]
    return client


def close_client(client: paho.Client, last: bytes | None = None, topic: str = "") -> None:
    """Close a connection within two seconds: the library's thread may stand in one that does not come about.

    Args:
        client: whose loop was started.
        last: published to ``topic`` before, retained; None: nothing.
        topic: see ``last``.
    """

    def end() -> None:
        if last is not None and client.is_connected():
            client.publish(topic, last, qos=1, retain=True).wait_for_publish(1.0)
        client.disconnect()
        client.loop_stop()

    ending = threading.Thread(target=end, name="mqtt-close", daemon=True)
    ending.start()
    ending.join(_CLOSE_SECONDS)
