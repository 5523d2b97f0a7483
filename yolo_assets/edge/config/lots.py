"""The option ``lots``: where the agent hears which batch and which part is in front of a camera."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from yolo_assets.edge.config.section import Section

LOT_FILES = ("password_file", "ca_file", "client_cert", "client_key")
"""Options that name files; relative ones count from the configuration's folder."""


def _lot_topic(value: str) -> str:
    try:
        fields = [field for _, field, how, turn in string.Formatter().parse(value) if field is not None or how or turn]
    except ValueError:
        fields = [None]
    levels = value.split("/")
    if fields != ["camera_id"] or "{camera_id}" not in levels or any(sign in value for sign in "+#\0"):
        raise ValueError("a topic for lots holds {camera_id} once, as a level of its own, and no + or #")
    return value


class LotBroker(Section):
    """MQTT 3.1.1, a topic for each camera. A message is the batch as text, or JSON with batch_id, part_id, at."""

    host: str = Field(min_length=1, description="name or address of the broker")
    port: int | None = Field(default=None, ge=1, le=65535, description="None: 8883 with tls, 1883 without")
    tls: bool = Field(default=False, description="encrypt the connection and verify the broker")
    username: str | None = Field(default=None, description="None: no login")
    password_file: Path | None = Field(default=None, description="file with the password")
    ca_file: Path | None = Field(
        default=None, description="certificate authority of the broker, PEM; None: the system's"
    )
    client_cert: Path | None = Field(default=None, description="certificate that this device shows, PEM")
    client_key: Path | None = Field(default=None, description="its private key, PEM")
    topic: Annotated[str, AfterValidator(_lot_topic)] = Field(
        default="yolo-assets/lots/{camera_id}", description="where lots are published; retained messages are welcome"
    )

    @model_validator(mode="after")
    def _fits(self) -> LotBroker:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together; give both or none")
        if self.username is None and self.password_file is not None:
            raise ValueError("a password needs a username")
        if not self.tls and (self.ca_file or self.client_cert):
            raise ValueError("ca_file and client_cert need tls: true")
        return self


class Lots(Section):
    """How the agent hears of lots, besides ``PUT /v1/cameras/{id}/batch`` and codes in the picture."""

    mqtt: LotBroker | None = Field(default=None, description="a broker that lots are published to")
