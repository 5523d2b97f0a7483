"""The boto3 client that the S3 store talks through, made from the standard AWS variables and files alone.

Belongs here: everything about the connection: settings, what is sent as a body, answers that are cut short. Does not
belong here: what is asked.

Python's HTTP client takes the end of a connection for the end of the headers. An answer cut there is a good one with
fewer headers and no body: a listing that finds nothing, an object that is empty, an etag of three digits. TLS does not
help: a connection may end there as well. ``WholeAnswer`` treats such an answer as lost.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from http.client import HTTPResponse, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from yolo_assets.contracts.errors import UsageError
from yolo_assets.storage.base import Pace

_CRC = "x-amz-checksum-crc32"
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0


def is_aws(endpoint: str) -> bool:
    """Whether an endpoint is Amazon's own, which takes what its relatives refuse."""
    return _host(endpoint).endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def is_aliyun(endpoint: str) -> bool:
    """Whether an endpoint is Aliyun's OSS, whose S3 interface leaves out more than others."""
    return _host(endpoint).endswith(".aliyuncs.com")


def _host(endpoint: str) -> str:
    return urlsplit(endpoint).hostname or ""


def client_config(endpoint: str | None) -> Config:
    """How to talk to an endpoint; None is AWS.

    One attempt: ``storage.retrying`` retries, and retries on top of retries hide a dead connection for minutes.
    Content-MD5 goes with every write but the parts of an upload, which carry one cheaper check:
    ``S3Uploads.send_part``. The newer ``x-amz-checksum-*`` go only to AWS, because several of its relatives refuse
    them; for one that takes them (newer MinIO and Ceph), set the standard variables
    ``AWS_REQUEST_CHECKSUM_CALCULATION=when_supported`` and, to check what is read as well,
    ``AWS_RESPONSE_CHECKSUM_VALIDATION=when_supported``. ``when_required`` switches them off on AWS too.

    Outside AWS the bucket is part of the path, because names under a bare host or address do not resolve. Aliyun
    accepts only the bucket as a host name.

    Raises:
        UsageError: one of the two variables has another value.
    """
    outside = endpoint is not None and not is_aws(endpoint)
    usual = "when_required" if outside else "when_supported"
    aliyun = is_aliyun(endpoint or "")
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": 1},
        max_pool_connections=32,
        tcp_keepalive=True,
        request_checksum_calculation=_asked("AWS_REQUEST_CHECKSUM_CALCULATION", usual),
        response_checksum_validation=_asked("AWS_RESPONSE_CHECKSUM_VALIDATION", usual),
        s3={"addressing_style": ("virtual" if aliyun else "path") if outside else "auto"},
    )


def _asked(name: str, usual: str) -> str:
    value = (os.environ.get(name) or usual).lower()
    if value not in ("when_supported", "when_required"):
        raise UsageError(f"{name}={os.environ[name]!r} is not known; use when_supported or when_required")
    return value


def choose_checksum(model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Before a request goes out: no checksum that was not asked for, and Content-MD5 where one is required.

    A write of ours names the checksums it carries. botocore would add a CRC-32 to one with Content-MD5 alone, and AWS
    refuses a part with a checksum when its upload was begun without. For the small documents that botocore writes
    itself (retention, holds, rules) it sends a CRC-32 alone, which older MinIO refuses as no checksum at all.
    """
    if "Content-MD5" in params["headers"]:
        context.pop("checksum", None)
    elif _CRC in params["headers"]:
        # botocore forgets one that was given, and would hash the body again for a signature that TLS makes needless.
        context["checksum"] = {"request_algorithm": {"algorithm": "crc32", "in": "header", "name": _CRC}}
    elif model.name == "UploadPart":  # its signature names the SHA-256 of its body
        context.pop("checksum", None)
    elif model.http_checksum_required or model.http_checksum.get("requestChecksumRequired"):
        digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
        params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
        if context["client_config"].request_checksum_calculation == "when_required":
            context.pop("checksum", None)


def make_client() -> Any:
    """A client for the S3 that the environment names (``AWS_ENDPOINT_URL_S3``, ``AWS_PROFILE`` and so on).

    Raises:
        UsageError: the environment is contradictory: an unknown profile, a malformed endpoint.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    # boto3 reads only AWS_DEFAULT_REGION; every other AWS tool also reads AWS_REGION. Outside AWS any name will do.
    region = os.environ.get("AWS_REGION") or None
    try:
        session = Session(region_name=os.environ.get("AWS_DEFAULT_REGION") or region)
        client = _client(session, endpoint)
        if client.meta.endpoint_url != endpoint and not is_aws(client.meta.endpoint_url):
            client = _client(session, client.meta.endpoint_url)  # the endpoint came from a configuration file
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"the AWS settings do not work: {error}; check the AWS_* variables and ~/.aws") from None
    return client


def _client(session: Any, endpoint: str | None) -> Any:
    notice_cut_headers()
    region = session.region_name or ("us-east-1" if endpoint else None)
    client = session.client("s3", endpoint_url=endpoint, region_name=region, config=client_config(endpoint))
    client.meta.events.register("before-call.s3", choose_checksum)
    client.meta.events.register("before-send.s3", begin_sending)
    return client


class Body(io.RawIOBase):
    """A request body over memory that the caller owns: sent as it is, without a copy, no faster than its pace allows.

    boto3 takes bytes or a file; a part of an upload is neither but a view of a buffer that is used again. This is the
    readable, seekable file around it. Signing, sending and sending again each begin with a seek.
    """

    def __init__(self, data: memoryview, pace: Pace | None = None) -> None:
        """Read from ``data``, which must stay as it is until the request has ended.

        ``pace`` is asked before bytes are handed out, once ``begin_sending`` was called: signing reads them too.
        """
        self._data = data
        self._pace = pace
        self._sending = False
        self._place = 0

    def begin_sending(self) -> None:
        """From here on what is read goes over the line."""
        self._sending = True

    def __len__(self) -> int:
        return len(self._data)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Copy the next bytes; 0 at the end."""
        count = min(len(buffer), len(self._data) - self._place)
        if self._pace is not None and self._sending:
            self._pace(count)
        buffer[:count] = self._data[self._place : self._place + count]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, never beyond either end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = min(max(0, base + offset), len(self._data))
        return self._place

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._place


def begin_sending(request: Any, **_: Any) -> None:
    """boto3's ``before-send``: the request is signed and goes out now."""
    if isinstance(request.body, Body):
        request.body.begin_sending()


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
