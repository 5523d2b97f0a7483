"""Where in S3 a store lies, its errors in words, and the one question every other request builds on: is it there?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from yolo_assets.storage.base import ObjectInfo, StoreUnavailableError
from yolo_assets.storage.keys import check_key
from yolo_assets.storage.s3_answers import info_of
from yolo_assets.storage.s3_errors import http_status, refused, unreachable


class S3Location:
    """A prefix in a bucket, and the client that reaches it."""

    def __init__(self, bucket: str, prefix: str, client: Any, url: str) -> None:
        """Wrap a client; nothing is asked of the server.

        Args:
            bucket: its name.
            prefix: without slashes around it; may be empty.
            client: a boto3 S3 client, best made with ``s3_client.client_config``: with retries of its own a dead
                line is noticed late, with its own checksums some relatives of S3 refuse every write.
            url: the root as a person wrote it.
        """
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client
        self._url = url
        self._endpoint: str = client.meta.endpoint_url
        # Relatives of S3 that do not know x-amz-checksum refuse or ignore it: see s3_client.client_config.
        self._checksums: bool = client.meta.config.request_checksum_calculation == "when_supported"
        self._bucket_seen = False

    @property
    def url(self) -> str:
        """The root as a person wrote it."""
        return self._url

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn what boto3 raises, and no method expected, into the one line that says what to do."""
        try:
            yield
        except ClientError as error:
            raise refused(error, url=self._url, bucket=self._bucket, endpoint=self._endpoint, key=key) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise unreachable(error, endpoint=self._endpoint) from error
        except (KeyError, ValueError) as error:  # from botocore, or a field that is missing
            raise StoreUnavailableError(
                f"an answer of {self._endpoint} about {key or self._url} was damaged on the way; run again"
            ) from error
        self._bucket_seen = True

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """Information, or None when there is no such object or version."""
        answer = self._head(key, version_id)
        return None if answer is None else info_of(key, answer)

    def _head(self, key: str, version_id: str | None) -> Any | None:
        """The answer to a HEAD; None when there is no such object or version."""
        asked = {"VersionId": version_id} if version_id is not None else {}
        if self._checksums:
            asked["ChecksumMode"] = "ENABLED"
        with self._explained(key):
            try:
                return self._client.head_object(**self._at(key), **asked)
            except ClientError as error:
                status = http_status(error)
                if status in (400, 403) or (status == 404 and not self._bucket_seen):
                    # The answer to a HEAD has no body. One that has says whether key, bucket or credentials are wrong.
                    self._raise_cause(status)
                if status == 404 or (version_id is not None and status in (400, 405)):
                    return None
                raise

    def _raise_cause(self, status: int) -> None:
        try:
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except ClientError as error:
            # A listing is never "not found" but for its bucket. Who may not list has still learnt: no such object.
            if status != 404 or http_status(error) == 404:
                raise
