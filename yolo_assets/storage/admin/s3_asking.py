"""Requests to the bucket under examination, what they left behind, and the findings so far.

Does not belong here: what is asked (``s3_transfer``, ``s3_keeping``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from yolo_assets.storage.admin.findings import Examined, Facts, Finding, Role, Verdict
from yolo_assets.storage.s3_bucket import content_md5, error_code, http_status, version_of


class Asking:
    """What the questions share.

    Attributes:
        client: of ``s3_client.make_client``.
        bucket: its name.
        folder: where the small objects of this examination lie; ends with a slash.
        endpoint: of the store.
        examined: what was found.
        made: objects to remove again, each with its version id.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, role: Role, url: str) -> None:
        """Nothing is asked yet.

        Args:
            client: of ``s3_client.make_client``.
            bucket: its name.
            prefix: of the root, without slashes around it; may be empty.
            role: what the root is used for.
            url: as a person wrote it.
        """
        self.client = client
        self.bucket = bucket
        self.folder = f"{prefix}/.doctor/{uuid.uuid4().hex[:12]}/".lstrip("/")
        self.endpoint: str = client.meta.endpoint_url
        self.examined = Examined(role, url, "generic", facts=Facts(bucket=bucket))
        self.made: list[tuple[str, str | None]] = []

    def found(self, question: str, answer: str, verdict: Verdict, advice: str = "") -> None:
        """Take a finding down."""
        self.examined.findings.append(Finding(question, answer, verdict, advice))

    def put(self, name: str, data: bytes = b"yolo_assets", **more: Any) -> dict[str, Any]:
        """Put a small object; returns the store's answer.

        Raises:
            ClientError: the store refused.
        """
        key = self.folder + name
        more.setdefault("ContentMD5", content_md5(data))
        answer = self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **more)
        self.made.append((key, version_of(answer)))
        return answer

    def refuses(self, call: Callable[[], Any]) -> bool:
        """Whether the store refuses a request; one that it could not answer is an error.

        Raises:
            ClientError: the store failed.
        """
        try:
            call()
        except ClientError as error:
            if http_status(error) >= 500 and error_code(error) != "UnknownError":
                raise
            return True
        return False

    def clean_up(self) -> None:
        """Remove what was made; what stays is in ``examined.left``."""
        for key, version in self.made:
            try:
                self.client.delete_object(Bucket=self.bucket, Key=key, **({"VersionId": version} if version else {}))
            except (ClientError, BotoCoreError):
                self.examined.left.append(key)
