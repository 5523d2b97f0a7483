"""The boto3 client that the S3 store talks through, made from the standard AWS variables and files alone."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from yolo_assets.contracts.errors import UsageError

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0


def is_aws(endpoint: str) -> bool:
    """Whether an endpoint is Amazon's own, which takes what its relatives refuse."""
    return _host(endpoint).endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _host(endpoint: str) -> str:
    return urlsplit(endpoint).hostname or ""


def client_config(endpoint: str | None) -> Config:
    """How to talk to an endpoint; None is AWS.

    One attempt: whoever calls the store retries, and retries on top of retries hide a dead line for minutes.
    Outside AWS the SDK's own checksums are off, because several stores refuse them (Content-MD5 goes with every write
    instead), and the bucket is part of the path, because names under a bare host or address do not resolve. Aliyun
    accepts only the bucket as a host name.
    """
    outside = endpoint is not None and not is_aws(endpoint)
    checksums = "when_required" if outside else "when_supported"
    aliyun = _host(endpoint or "").endswith(".aliyuncs.com")
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": 1},
        max_pool_connections=32,
        tcp_keepalive=True,
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        s3={"addressing_style": ("virtual" if aliyun else "path") if outside else "auto"},
    )


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
    region = session.region_name or ("us-east-1" if endpoint else None)
    return session.client("s3", endpoint_url=endpoint, region_name=region, config=client_config(endpoint))
