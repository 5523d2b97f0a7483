"""The boto3 client that the S3 store talks through, made from the standard AWS variables and files alone."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from yolo_assets.contracts.errors import UsageError
from yolo_assets.storage.body import begin_sending
from yolo_assets.storage.s3_http import notice_cut_headers

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0


def is_aws(endpoint: str) -> bool:
    """Whether an endpoint is Amazon's own, which takes what its relatives refuse."""
    return _host(endpoint).endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _host(endpoint: str) -> str:
    return urlsplit(endpoint).hostname or ""


def client_config(endpoint: str | None) -> Config:
    """How to talk to an endpoint; None is AWS.

    One attempt: ``storage.retrying`` retries, and retries on top of retries hide a dead connection for minutes.
    Content-MD5 goes with every write. The newer ``x-amz-checksum-*`` go only to AWS, because several of its relatives
    refuse them; for one that takes them (newer MinIO and Ceph), set the standard variables
    ``AWS_REQUEST_CHECKSUM_CALCULATION=when_supported`` and, to check what is read as well,
    ``AWS_RESPONSE_CHECKSUM_VALIDATION=when_supported``. ``when_required`` switches them off on AWS too.

    Outside AWS the bucket is part of the path, because names under a bare host or address do not resolve. Aliyun
    accepts only the bucket as a host name.

    Raises:
        UsageError: one of the two variables has another value.
    """
    outside = endpoint is not None and not is_aws(endpoint)
    usual = "when_required" if outside else "when_supported"
    aliyun = _host(endpoint or "").endswith(".aliyuncs.com")
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
    """Before a request goes out: no checksum that nobody asked for, and Content-MD5 where one is required.

    A write of ours says which checksums it carries. botocore would add a CRC-32 to one with Content-MD5 alone, and AWS
    refuses a part with a checksum when its upload was begun without. For the small documents that botocore writes
    itself (retention, holds, rules) it sends a CRC-32 alone, which older MinIO refuses as no checksum at all.
    """
    if "Content-MD5" in params["headers"]:
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
