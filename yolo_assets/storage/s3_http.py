"""Notices an HTTP answer that ends within its headers.

Python's HTTP client takes the end of the line for the end of the headers. An answer cut there is a good one with fewer
headers and no body: a listing that finds nothing, an object that is empty, an etag of three digits. TLS does not help:
a connection may end there as well. Such an answer is a lost one.
"""

from __future__ import annotations

from http.client import HTTPResponse, RemoteDisconnected
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection


class WholeAnswer(HTTPResponse):
    """An answer whose headers end with an empty line."""

    def begin(self) -> None:
        """Read status and headers.

        Raises:
            RemoteDisconnected: the line ended first.
        """
        if self.headers is not None:
            return
        file: Any = self.fp
        lines = _Lines(file)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = file
        if lines.last not in (b"\r\n", b"\n"):
            raise RemoteDisconnected("the answer was cut within its headers")


class _Lines:
    """A file read by lines, and the last of them."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


def notice_cut_headers() -> None:
    """Let every client of botocore in this process notice it; to do so again changes nothing."""
    AWSHTTPConnection.response_class = WholeAnswer
    AWSHTTPSConnection.response_class = WholeAnswer
