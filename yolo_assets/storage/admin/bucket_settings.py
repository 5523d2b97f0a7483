"""The settings of one bucket: read as a whole, changed one by one, and put back when a later change fails.

Belongs here: what a bucket can be told, and how each of it is undone. Does not belong here: what it should be told,
which is ``bucket_setup``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from yolo_assets.storage.admin.bucket_examination import TRIALS
from yolo_assets.storage.s3_bucket import error_code, http_status


class BucketSettings:
    """What is set, and the changes that were made since it was read.

    Attributes:
        client: of ``s3_client.make_client``.
        bucket: its name.
        there: whether it exists; if not, everything below is as in a bucket that was just made.
        headers: of the answer about it, names in lower case.
        versions: ``Enabled``, ``Suspended``, or empty when it never kept versions.
        lock: object lock is on.
        default_days: retention that the bucket gives every object by itself; 0: none.
        encryption: rules of its default encryption.
        rules: of its lifecycle, as the store gave them.
        policy: its policy; None when it has none.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        """Nothing is asked yet."""
        self.client = client
        self.bucket = bucket
        self.there = False
        self.headers: Mapping[str, str] = {}
        self.versions = ""
        self.lock = False
        self.default_days = 0
        self.encryption: list[dict[str, Any]] = []
        self.rules: list[dict[str, Any]] = []
        self.policy: str | None = None
        self._lifecycle_options: dict[str, Any] = {}
        self._where = {"Bucket": bucket}
        self._undo: list[tuple[str, Callable[[], Any]]] = []

    def read(self) -> BucketSettings:
        """Ask the store for everything.

        Raises:
            ClientError: it refused to tell.
            BotoCoreError: it cannot be reached.
        """
        try:
            answer = self.client.head_bucket(**self._where)
            self.there = True
        except ClientError as error:
            if http_status(error) != 404:
                raise
            answer = error.response
        self.headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if not self.there:
            return self
        self.versions = self.client.get_bucket_versioning(**self._where).get("Status", "")
        found = self._ask(self.client.get_object_lock_configuration).get("ObjectLockConfiguration", {})
        self.lock = found.get("ObjectLockEnabled") == "Enabled"
        default = found.get("Rule", {}).get("DefaultRetention", {})
        self.default_days = int(default.get("Days") or 366 * int(default.get("Years") or 0))
        found = self._ask(self.client.get_bucket_encryption).get("ServerSideEncryptionConfiguration", {})
        # Ceph 16.2 answers without any rule where AWS reports that there is no configuration.
        self.encryption = [rule for rule in found.get("Rules", []) if rule.get("ApplyServerSideEncryptionByDefault")]
        found = self._ask(self.client.get_bucket_lifecycle_configuration)
        self.rules = found.get("Rules", [])
        kept = "TransitionDefaultMinimumObjectSize"
        self._lifecycle_options = {kept: found[kept]} if kept in found else {}
        self.policy = self._ask(self.client.get_bucket_policy).get("Policy")
        return self

    def _ask(self, call: Callable[..., Any]) -> dict[str, Any]:
        """The answer; nothing when there is no such setting."""
        try:
            return call(**self._where)
        except ClientError as error:
            if http_status(error) in (404, 405, 501) or error_code(error) in ("InvalidRequest", "NotImplemented"):
                return {}
            raise

    def create(self, *, locked: bool, region: str | None) -> None:
        """Make the bucket.

        Args:
            locked: with object lock, and so with versions.
            region: to make it in; None: the store's own.
        """
        more: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if locked else {}
        if region is not None:
            more["CreateBucketConfiguration"] = {"LocationConstraint": region}
        undo = (f"bucket {self.bucket}, which was made", self._remove)
        try:
            self.client.create_bucket(**self._where, **more)
        except ClientError as error:
            if not 400 <= http_status(error) < 500:  # else it was refused, and a bucket of that name is another's
                self._undo.append(undo)
            raise
        except BotoCoreError:
            self._undo.append(undo)  # the answer may have been lost after it was made
            raise
        self._undo.append(undo)

    def _remove(self) -> None:
        """Remove the bucket that was made, with the small objects by which it was tried."""
        pages = self.client.get_paginator("list_object_versions").paginate(**self._where)
        for page in pages:
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                if f"/{TRIALS}/" in f"/{entry['Key']}":
                    one = {"Key": entry["Key"], "VersionId": entry["VersionId"]}
                    self.client.delete_object(**self._where, **one, BypassGovernanceRetention=True)
        self.client.delete_bucket(**self._where)

    def keep_versions(self) -> None:
        """Switch versioning on. No store switches it off again: undone, it is suspended."""

        def suspend() -> None:
            if self.client.get_bucket_versioning(**self._where).get("Status") == "Enabled":
                self._version("Suspended")

        self._undo.append(("versioning, which was off", suspend))
        self._version("Enabled")

    def _version(self, status: str) -> None:
        self.client.put_bucket_versioning(**self._where, VersioningConfiguration={"Status": status})

    def encrypt(self) -> None:
        """Encrypt at rest by default, with keys of the store."""
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._undo.append(("encryption", lambda: self.client.delete_bucket_encryption(**self._where)))
        self.client.put_bucket_encryption(**self._where, ServerSideEncryptionConfiguration={"Rules": [rule]})

    def set_rules(self, rules: list[dict[str, Any]]) -> None:
        """Replace the lifecycle rules; none at all: remove the configuration."""
        before = self.rules
        self._undo.append(("lifecycle rules", lambda: self._put_rules(before)))
        self._put_rules(rules)

    def _put_rules(self, rules: list[dict[str, Any]]) -> None:
        if not rules:
            self.client.delete_bucket_lifecycle(**self._where)
            return
        options = self._lifecycle_options
        self.client.put_bucket_lifecycle_configuration(
            **self._where, LifecycleConfiguration={"Rules": rules}, **options
        )

    def set_policy(self, policy: dict[str, Any]) -> None:
        """Replace the policy."""
        before = self.policy

        def put_back() -> None:
            if before is None:
                self.client.delete_bucket_policy(**self._where)
            else:
                self.client.put_bucket_policy(**self._where, Policy=before)

        self._undo.append(("policy", put_back))
        self.client.put_bucket_policy(**self._where, Policy=json.dumps(policy))

    def put_back(self) -> tuple[bool, list[str]]:
        """Undo every change, the newest first.

        Returns:
            Whether there was anything to undo, and what could not be undone.
        """
        stuck: list[str] = []
        undo, self._undo = self._undo[::-1], []
        for what, call in undo:
            try:
                call()
            except ClientError as error:
                if http_status(error) not in (404, 405):  # it is not there: as it was
                    stuck.append(what)
            except BotoCoreError:
                stuck.append(what)
        return bool(undo), stuck
