"""Addresses of cameras and the secrets in them: where they come from, and how they stay out of every text."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from yolo_assets.contracts.errors import BadInputError

_HIDDEN = "***"


class Address:
    """Where a stream is, with what is needed to get in. Only ``shown`` is meant for people.

    Args:
        camera_id: for messages.
        url: as configured; may hold ``user:password@``.
        variable: name of an environment variable that holds ``user:password``.
        file: file whose only line is ``user:password``.
    """

    def __init__(self, camera_id: str, url: str, variable: str | None, file: Path | None) -> None:
        self._camera_id = camera_id
        self._url = url
        self._variable = variable
        self._file = file

    @property
    def shown(self) -> str:
        """Scheme, host and port. Many cameras take the password in the path or the query, so neither is shown."""
        parts = urlsplit(self._url)
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{place}"

    def full(self) -> str:
        """The address to open. Read anew each time: a changed password counts from the next try.

        Raises:
            BadInputError: the credentials cannot be read.
        """
        pair = self._pair()
        if pair is None:
            return self._url
        user, _, password = pair.partition(":")
        parts = urlsplit(self._url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}"))

    def clean(self, text: str) -> str:
        """The text without the address and without anything of it that may be secret."""
        try:
            full = self.full()
        except BadInputError:
            full = self._url
        parts = urlsplit(full)
        secrets = {full, self._url, parts.netloc.rpartition("@")[0], parts.query}
        for name in (parts.username, parts.password):
            secrets |= {name, unquote(name)} if name else set()
        secrets |= {parts.path, parts.path.lstrip("/")} if len(parts.path) > 3 else set()
        for secret in sorted((s for s in secrets if s), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text

    def _pair(self) -> str | None:
        if self._variable is not None:
            found = os.environ.get(self._variable, "")
            where = f"the environment variable {self._variable}"
        elif self._file is not None:
            where = f"the file {self._file}"
            try:
                found = self._file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                words = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise BadInputError(f"camera {self._camera_id}: cannot read {where}: {words}") from None
        else:
            return None
        if ":" not in found or "\n" in found:
            raise BadInputError(f"camera {self._camera_id}: {where} must hold user:password in one line")
        return found
