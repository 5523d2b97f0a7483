"""Announcements by HTTP POST, for those who publish to the receiver of a centre and to no broker."""

from __future__ import annotations

import urllib3
from urllib3.exceptions import HTTPError

from yolo_assets import __version__
from yolo_assets.contracts.announcements import Announcement
from yolo_assets.contracts.brokers import HttpReceiverAt
from yolo_assets.runtime.credentials import client_context, read_secret
from yolo_assets.runtime.delivery import DeliveryError

_SECONDS = 5.0
_MOST_ANSWER = 1 << 16


class Http:
    """One receiver."""

    trouble: str | None = None
    listening = False

    def __init__(self, settings: HttpReceiverAt) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        where = f"events.{settings.name}"
        token = read_secret(f"{where}: token", settings.token_file, None)
        self.shown = settings.url
        self._headers = {"User-Agent": f"yolo-assets/{__version__}", "Content-Type": "application/cloudevents+json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        tls = {"ssl_context": client_context(where, settings)} if settings.url.startswith("https:") else {}
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False, **tls)  # type: ignore[arg-type]

    def open(self) -> None:
        """The first request connects."""

    def publish(self, announcement: Announcement) -> None:
        """Send it.

        Raises:
            DeliveryError: no answer in time, or the answer is not 2xx.
        """
        try:
            answer = self._pool.request(
                "POST",
                self.shown,
                body=announcement.to_json(),
                headers=self._headers,
                timeout=urllib3.Timeout(connect=_SECONDS, read=_SECONDS),
                redirect=False,
                preload_content=False,
            )
            try:
                answer.read(_MOST_ANSWER)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            raise DeliveryError(f"{self.shown} cannot be reached: {type(error).__name__}") from None
        if not 200 <= answer.status < 300:
            hint = "; check token_file" if answer.status in (401, 403) else ""
            raise DeliveryError(f"{self.shown} answers {answer.status}{hint}")

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()
