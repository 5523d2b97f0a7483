"""Receivers by apprise: webhook, mail, chat.

An apprise URL is a secret: it is never printed, logged or put into an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from yolo_assets.alerts.state import Message
from yolo_assets.contracts.alerting import Receiver
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.text import plain

if TYPE_CHECKING:
    from apprise import Apprise

SEND_SECONDS = 10.0
"""In which a receiver must take a message."""
_SHORT = 4
"""Pieces of a URL of fewer characters are no secrets, and may be words of an error."""


@dataclass(frozen=True)
class OpenReceiver:
    """A receiver whose URL was read and is one that apprise knows.

    Attributes:
        name: as in ``plant.yaml``.
        service: what apprise calls it: ``Slack``, ``DingTalk``.
    """

    name: str
    service: str
    _url: str = field(repr=False)
    _apprise: Apprise = field(repr=False)

    @classmethod
    def of(cls, name: str, receiver: Receiver) -> OpenReceiver:
        """Read the URL of a receiver.

        Raises:
            BadInputError: it cannot be read, or is not an apprise URL; the message never holds it.
        """
        import apprise

        url = _read(name, receiver)
        asset = apprise.AppriseAsset(
            app_id="yolo_assets", app_desc="yolo_assets", app_url="", async_mode=False, secure_logging=True
        )
        services = apprise.Apprise(asset=asset)
        if not services.add(url) or len(services) != 1:
            known = "mailtos://, json://, slack://, dingtalk://, wecombot:// and the others in apprise's list"
            raise BadInputError(f"alerts.receivers.{name}: that is not one apprise URL; there are {known}")
        return cls(name, str(services[0].service_name), url, services)

    def send(self, message: Message) -> str | None:
        """Send a message; returns what is wrong in one line, or None when the receiver took it."""
        import apprise

        kinds = {
            "new": apprise.NotifyType.FAILURE,
            "still": apprise.NotifyType.WARNING,
            "resolved": apprise.NotifyType.SUCCESS,
        }
        result = self._apprise.notify(
            body=message.body,
            title=message.title,
            notify_type=kinds[message.news],
            body_format=apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
            timeout=SEND_SECONDS,
        )
        if result:
            return None
        told = [entry.message for entry in result.logs()]
        return self._without_secrets(" ".join(told)) or f"{self.service} did not take the message"

    def _without_secrets(self, text: str) -> str:
        parts = urlsplit(self._url)
        pieces = {unquote(piece) for piece in (*parts.path.split("/"), *parts.query.replace("=", "&").split("&"))}
        pieces |= {parts.username or "", parts.password or "", parts.hostname or ""}
        for piece in sorted(pieces, key=len, reverse=True):
            if len(piece) >= _SHORT:
                text = text.replace(piece, "…")
        return plain(" ".join(text.split()))[:300]


def _read(name: str, receiver: Receiver) -> str:
    where = f"alerts.receivers.{name}"
    if receiver.url_file is not None:
        try:
            text, source = receiver.url_file.read_text(encoding="utf-8").strip(), str(receiver.url_file)
        except OSError as error:
            raise BadInputError(f"{where}: {receiver.url_file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadInputError(f"{where}: {receiver.url_file} is not text") from None
    else:
        text, source = os.environ.get(receiver.url_variable or "", "").strip(), f"the variable {receiver.url_variable}"
    if not text:
        raise BadInputError(f"{where}: {source} is empty or not set; put the apprise URL there")
    if len(text.split()) != 1:
        raise BadInputError(f"{where}: {source} holds more than one word; put one apprise URL there, for one receiver")
    return text
