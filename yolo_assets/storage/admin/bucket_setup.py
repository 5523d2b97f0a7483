"""Sets up the bucket of an archive root: compares the request with what is there, shows it, sets it, reads it back.

Nothing is loosened: rules and statements of others stay, a default retention is never touched, versioning is never
switched off. Running it again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from yolo_assets.contracts.errors import UserError
from yolo_assets.storage.admin.lifecycle import OWN, Lifecycle, compile_lifecycle
from yolo_assets.storage.admin.policy import SID, BucketPlace, bucket_policy
from yolo_assets.storage.admin.profiles import StoreProfile, profile_of
from yolo_assets.storage.s3_bucket import error_code, http_status, refused, unreachable

Change = Literal["+", "~", "=", "!"]
"""Made, changed, already so, or impossible."""


@dataclass(frozen=True)
class SetupRequest:
    """What the operator wants of the bucket.

    Attributes:
        retention_days: archives are to be write-once for so long; 0: not at all.
        archiver: ARN of the user or role that archives; None: the bucket's policy is left alone.
        classes: storage classes of the tiers as this store calls them.
        create: make the bucket when it is missing.
    """

    retention_days: int = 0
    archiver: str | None = None
    classes: Mapping[str, str] | None = None
    create: bool = False


@dataclass(frozen=True)
class SetupStep:
    """One setting.

    Attributes:
        what: it is about.
        change: see ``Change``.
        detail: from what to what.
    """

    what: str
    change: Change
    detail: str


@dataclass(frozen=True)
class SetupPlan:
    """What is to be done, or was.

    Attributes:
        profile: kind of the store.
        steps: in order.
        notes: what the store does otherwise than the tiers ask for, and why.
    """

    profile: str
    steps: tuple[SetupStep, ...]
    notes: tuple[str, ...]


class BucketSetup:
    """The set-up of one bucket. Ask ``plan``, then ``apply``."""

    def __init__(self, client: Any, place: BucketPlace, request: SetupRequest, url: str) -> None:
        """Nothing is asked yet; ``client`` is of ``s3_client.make_client``."""
        self._client = client
        self._place = place
        self._request = request
        self._url = url
        self._profile: StoreProfile = profile_of(client.meta.endpoint_url)

    def plan(self) -> SetupPlan:
        """What would be done.

        Raises:
            UserError: the bucket cannot be asked.
        """
        return self._run(set_it=False)

    def apply(self) -> SetupPlan:
        """Do it, and prove it: every setting is read back.

        Raises:
            UserError: the store refuses, or does not keep what was set.
        """
        done = self._run(set_it=True)
        again = self._run(set_it=False)
        open_still = [step.what for step in again.steps if step.change in ("+", "~")]
        if open_still:
            raise UserError(
                f"{self._url} accepted the settings but does not show {', '.join(open_still)}; check it there"
            )
        return done

    def _run(self, *, set_it: bool) -> SetupPlan:
        try:
            there = self._bucket_there()
            rules = self._lifecycle()
            steps = list(self._steps(there, rules, set_it))
        except ClientError as error:
            raise refused(
                error,
                url=self._url,
                bucket=self._place.bucket,
                endpoint=self._client.meta.endpoint_url,
                key="the bucket",
            ) from None
        except BotoCoreError as error:
            raise unreachable(error, endpoint=self._client.meta.endpoint_url) from None
        return SetupPlan(self._profile.name, tuple(steps), rules.changes)

    def _bucket_there(self) -> bool:
        try:
            answer = self._client.head_bucket(Bucket=self._place.bucket)
        except ClientError as error:
            if http_status(error) != 404:
                raise
            if not self._request.create:
                raise UserError(
                    f"bucket {self._place.bucket} does not exist; make it with --create, or correct --archive"
                ) from None
            return False
        self._profile = profile_of(self._client.meta.endpoint_url, answer["ResponseMetadata"]["HTTPHeaders"])
        return True

    def _steps(self, there: bool, rules: Lifecycle, set_it: bool) -> Iterator[SetupStep]:
        bucket, locked = {"Bucket": self._place.bucket}, self._request.retention_days > 0
        if there:
            yield SetupStep("bucket", "=", self._place.bucket)
        else:
            yield SetupStep("bucket", "+", f"{self._place.bucket}{', with object lock' if locked else ''}")
            if set_it:
                self._create(locked)
        made = there or set_it
        yield from self._versioning(bucket, made, set_it)
        if locked:
            yield self._lock(bucket, made)
        if self._profile.encryption:
            yield from self._encryption(bucket, made, set_it)
        if self._profile.lifecycle:
            yield from self._rules(bucket, rules, made, set_it)
        if self._request.archiver is not None:
            yield from self._policy(bucket, self._request.archiver, made, set_it)

    def _create(self, locked: bool) -> None:
        region = self._client.meta.region_name
        more: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if locked else {}
        if self._profile.name == "aws" and region != "us-east-1":
            more["CreateBucketConfiguration"] = {"LocationConstraint": region}
        self._client.create_bucket(Bucket=self._place.bucket, **more)

    def _versioning(self, bucket: dict[str, str], made: bool, set_it: bool) -> Iterator[SetupStep]:
        on = made and self._client.get_bucket_versioning(**bucket).get("Status") == "Enabled"
        yield SetupStep("versioning", "=" if on else "+", "on: an overwrite leaves the original readable")
        if not on and set_it:
            self._client.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"})

    def _lock(self, bucket: dict[str, str], made: bool) -> SetupStep:
        days = self._request.retention_days
        if not made:
            return SetupStep("object lock", "+", f"on, for a retention of {days} days")
        found = self._ask(lambda: self._client.get_object_lock_configuration(**bucket), {})
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled":
            return SetupStep("object lock", "=", f"on, for a retention of {days} days")
        return SetupStep(
            "object lock",
            "!",
            f"off, and a bucket gets it only when it is made: make another for a retention of {days} days (--create)",
        )

    def _encryption(self, bucket: dict[str, str], made: bool, set_it: bool) -> Iterator[SetupStep]:
        found = self._ask(lambda: self._client.get_bucket_encryption(**bucket), {}) if made else {}
        rules = found.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        if rules:
            kind = rules[0].get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "as it is")
            yield SetupStep("encryption", "=", kind)
            return
        yield SetupStep("encryption", "+", "AES256")
        if set_it:
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
            self._client.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})

    def _lifecycle(self) -> Lifecycle:
        days, classes = self._request.retention_days, self._request.classes
        return compile_lifecycle(self._profile, self._place.prefix, days, classes=classes)

    def _rules(self, bucket: dict[str, str], lifecycle: Lifecycle, made: bool, set_it: bool) -> Iterator[SetupStep]:
        found = self._ask(lambda: self._client.get_bucket_lifecycle_configuration(**bucket), {}) if made else {}
        before = [_plain(rule) for rule in found.get("Rules", [])]
        foreign = [rule for rule in before if not rule.get("ID", "").startswith(OWN)]
        ours = {rule["ID"]: rule for rule in before if rule not in foreign}
        now = {rule["ID"]: _plain(rule) for rule in lifecycle.rules}
        for name, rule in now.items():
            change: Change = "=" if ours.get(name) == rule else "~" if name in ours else "+"
            yield SetupStep(f"lifecycle {name}", change, _described(rule))
        for name in ours.keys() - now.keys():
            yield SetupStep(f"lifecycle {name}", "~", "is removed: it is no longer asked for")
        for rule in foreign:
            yield SetupStep(f"lifecycle {rule.get('ID', 'without a name')}", "=", "not ours: stays as it is")
        if set_it and ours != now:
            rules = [*foreign, *now.values()]
            self._client.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": rules})

    def _policy(self, bucket: dict[str, str], archiver: str, made: bool, set_it: bool) -> Iterator[SetupStep]:
        if self._profile.policy == "none":
            yield SetupStep(
                "policy", "!", f"a {self._profile.name} store takes none through the S3 API; see deploy/storage"
            )
            return
        policy = bucket_policy(self._profile, self._place, archiver)
        found = self._ask(lambda: self._client.get_bucket_policy(**bucket), None) if made else None
        before = json.loads(found["Policy"]) if found else {"Statement": []}
        foreign = [statement for statement in before["Statement"] if not statement.get("Sid", "").startswith(SID)]
        ours = [statement for statement in before["Statement"] if statement not in foreign]
        same = [_statement(entry) for entry in ours] == [_statement(entry) for entry in policy["Statement"]]
        detail = f"{archiver} archives, and deletes nothing" + (f"; {len(foreign)} others stay" if foreign else "")
        yield SetupStep("policy", "=" if same else "~" if ours else "+", detail)
        if set_it and not same:
            merged = {**policy, "Statement": [*foreign, *policy["Statement"]]}
            self._client.put_bucket_policy(**bucket, Policy=json.dumps(merged))

    def _ask(self, call: Callable[[], Any], nothing: Any) -> Any:
        """The answer, or ``nothing`` when there is no such setting."""
        try:
            return call()
        except ClientError as error:
            if http_status(error) in (404, 405) or error_code(error) in ("InvalidRequest", "NotImplemented"):
                return nothing
            raise


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule without what stores add of their own, so that what was set and what is shown compare."""
    found = {key: value for key, value in rule.items() if value not in ({}, [], None)}
    if "Prefix" in found and "Filter" not in found:
        found["Filter"] = {"Prefix": found.pop("Prefix")}
    found.pop("Prefix", None)
    where = dict(found.get("Filter", {}))
    inner = {key: value for key, value in where.get("And", {}).items() if value not in ([], None)}
    found["Filter"] = {"And": inner} if inner else where
    return found


def _described(rule: Mapping[str, Any]) -> str:
    parts = [f"{entry['StorageClass']} from day {entry['Days']}" for entry in rule.get("Transitions", ())]
    if "Days" in rule.get("Expiration", {}):
        parts.append(f"expires on day {rule['Expiration']['Days']}")
    if "ExpiredObjectDeleteMarker" in rule.get("Expiration", {}):
        parts.append("delete markers with no version behind them are removed")
    if "AbortIncompleteMultipartUpload" in rule:
        parts.append(f"removed after {rule['AbortIncompleteMultipartUpload']['DaysAfterInitiation']} days")
    return ", ".join(parts)


def _statement(statement: Mapping[str, Any]) -> dict[str, Any]:
    """A statement in one form: stores write single entries with and without a list."""
    found = dict(statement)
    for key in ("Action", "Resource"):
        value = found.get(key, [])
        found[key] = sorted([value] if isinstance(value, str) else value)
    principal = found.get("Principal")
    if isinstance(principal, Mapping):
        found["Principal"] = {k: sorted([v] if isinstance(v, str) else v) for k, v in principal.items()}
    return found
