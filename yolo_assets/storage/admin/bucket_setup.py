"""Sets up the bucket of a root: compares the request with what is there, shows it, sets it, reads it back.

The whole plan is made and checked before the first change; one impossible step and nothing is changed. Nothing is
loosened: rules and statements of others stay, a default retention is never touched, versioning is never switched off.
What deletes (expiry) is installed last, and only after an object under retention was tried to be deleted in that very
bucket and was not. A step that fails undoes the steps before it. Running it again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from yolo_assets.contracts.errors import UserError
from yolo_assets.storage.admin.bucket_examination import longest_retention, prove_retention, prove_swap
from yolo_assets.storage.admin.bucket_settings import BucketSettings
from yolo_assets.storage.admin.findings import Role, command
from yolo_assets.storage.admin.lifecycle import (
    OWN,
    Lifecycle,
    compile_lifecycle,
    deletions,
    filter_prefix,
    store_root_lifecycle,
)
from yolo_assets.storage.admin.policy import SID, BucketPlace, bucket_policy
from yolo_assets.storage.admin.profiles import StoreProfile, profile_of
from yolo_assets.storage.s3_bucket import refused, unreachable

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
        role: of the root that lies in it. A store root has no retention, archiver or tiers.
    """

    retention_days: int = 0
    archiver: str | None = None
    classes: Mapping[str, str] | None = None
    create: bool = False
    role: Role = "archive"


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

    @property
    def impossible(self) -> tuple[SetupStep, ...]:
        """The steps that cannot be done; with one of them nothing is."""
        return tuple(step for step in self.steps if step.change == "!")

    @property
    def never_locked(self) -> bool:
        """A bucket is made without object lock, which most stores give only to a new bucket."""
        made = {step.what: step.change for step in self.steps}
        return made.get("bucket") == "+" and made.get("object lock") == "="


@dataclass
class _Draft:
    """A plan in the making, with what to call for it.

    Attributes:
        steps: in order.
        notes: as in ``SetupPlan``.
        calls: to be made in order, after the bucket was made.
    """

    steps: list[SetupStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    calls: list[Callable[[], Any]] = field(default_factory=list)

    def add(self, what: str, change: Change, detail: str, call: Callable[[], Any] | None = None) -> None:
        """Take a step down; ``call`` does it."""
        self.steps.append(SetupStep(what, change, detail))
        if call is not None and change in ("+", "~"):
            self.calls.append(call)


class BucketSetup:
    """The set-up of one bucket. Ask ``plan``, then ``apply``."""

    def __init__(self, client: Any, place: BucketPlace, request: SetupRequest, url: str) -> None:
        """Nothing is asked yet; ``client`` is of ``s3_client.make_client``."""
        self._client = client
        self._place = place
        self._request = request
        self._url = url
        self._profile: StoreProfile = profile_of(client.meta.endpoint_url)
        self._root = f"{place.prefix}/" if place.prefix else ""

    def plan(self) -> SetupPlan:
        """What would be done. Changes nothing.

        Raises:
            UserError: the bucket cannot be asked, or is missing and not to be made.
        """
        try:
            return self._plan(self._draft(self._read()))
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from None

    def apply(self) -> SetupPlan:
        """Do it, and prove it: every setting is read back. All of it, or nothing.

        Raises:
            UserError: a step is impossible, or the store refuses, or does not keep what was set. What had been changed
                was put back; the message names what could not be.
        """
        settings = BucketSettings(self._client, self._place.bucket)
        try:
            plan = self.plan()
            if plan.impossible:
                raise UserError(f"{plan.impossible[0].what}: {plan.impossible[0].detail}")
            self._carry_out(settings)
        except (ClientError, BotoCoreError) as error:
            raise self._put_back(settings, self._explained(error)) from None
        except UserError as error:
            raise self._put_back(settings, error) from None
        except BaseException:
            settings.put_back()
            raise
        return plan

    def _carry_out(self, settings: BucketSettings) -> None:
        request = self._request
        if not settings.read().there:
            region = self._client.meta.region_name
            elsewhere = self._profile.name == "aws" and region != "us-east-1"
            settings.create(locked=request.retention_days > 0, region=region if elsewhere else None)
            settings.read()
        draft = self._draft(settings)  # the store gives a new bucket settings of its own
        if self._plan(draft).impossible:
            raise UserError(f"{self._url} changed while it was set up; run again")
        for call in draft.calls:
            call()
        again = self._draft(BucketSettings(self._client, self._place.bucket).read())
        open_still = [step.what for step in again.steps if step.change != "="]
        if open_still:
            raise UserError(f"{self._url} accepted the settings but does not show {', '.join(open_still)}")

    def _put_back(self, settings: BucketSettings, error: UserError) -> UserError:
        changed, stuck = settings.put_back()
        if not changed:
            return UserError(f"{error}; nothing was changed")
        if not stuck:
            return UserError(f"{error}; everything is as it was before")
        return UserError(f"{error}; not as before: {', '.join(stuck)}; put that right, or run the same command again")

    def _explained(self, error: ClientError | BotoCoreError) -> UserError:
        endpoint, bucket = self._client.meta.endpoint_url, self._place.bucket
        if isinstance(error, ClientError):
            return refused(error, url=self._url, bucket=bucket, endpoint=endpoint, key="the bucket")
        return unreachable(error, endpoint=endpoint)

    def _read(self) -> BucketSettings:
        settings = BucketSettings(self._client, self._place.bucket).read()
        self._profile = profile_of(self._client.meta.endpoint_url, settings.headers)
        if not settings.there and not self._request.create:
            make = command(self._request.role, self._url, create=True, retention_days=self._request.retention_days)
            raise UserError(
                f"bucket {self._place.bucket} does not exist; make it with --create ({make}), or correct the URL"
            )
        return settings

    def _plan(self, draft: _Draft) -> SetupPlan:
        return SetupPlan(self._profile.name, tuple(draft.steps), tuple(draft.notes))

    def _draft(self, settings: BucketSettings) -> _Draft:
        draft, locked = _Draft(), self._request.retention_days > 0
        with_lock = ", with object lock" if locked else ""
        draft.add("bucket", "=" if settings.there else "+", self._place.bucket + ("" if settings.there else with_lock))
        if self._request.role == "store":
            self._store_root(draft, settings)
        else:
            self._archive_root(draft, settings)
        return draft

    # What has no way back comes late, and what deletes comes last.

    def _archive_root(self, draft: _Draft, settings: BucketSettings) -> None:
        request, locked = self._request, self._request.retention_days > 0
        self._lock(draft, settings)
        self._encryption(draft, settings)
        if request.archiver is not None:
            self._policy(draft, settings, request.archiver)
        if locked:
            self._versioning(draft, settings)
        held = request.retention_days
        if locked and settings.there and settings.lock:
            carried = longest_retention(self._client, self._place.bucket, self._root)
            held = max(held, settings.default_days, carried)
            if held > request.retention_days:
                draft.notes.append(f"what lies there is held for {held} days: nothing expires earlier")
        lifecycle = compile_lifecycle(self._profile, self._place.prefix, held, classes=request.classes)
        draft.notes += lifecycle.changes
        self._rules(draft, settings, lifecycle, held if locked else None)
        if not locked:
            self._versioning(draft, settings)

    def _store_root(self, draft: _Draft, settings: BucketSettings) -> None:
        another = "give the store root a bucket of its own"
        if settings.versions == "Enabled":
            draft.add("versioning", "!", f"on, which breaks compare-and-swap on many stores; {another}")
        else:
            draft.add("versioning", "=", "suspended" if settings.versions else "off")
        if settings.lock:
            draft.add("object lock", "!", f"on, and what is written again and again cannot be locked; {another}")
        for deletion in deletions(settings.rules, self._root):
            if deletion.versions or (deletion.ours and self._is_own_place(deletion.prefix)):
                continue
            if deletion.whole:
                draft.add(f"lifecycle {deletion.rule}", "!", f"deletes what lies there {deletion.when}; {another}")
            else:
                draft.notes.append(f"the rule {deletion.rule} deletes {deletion.prefix}… {deletion.when}")
        draft.notes.append("compare-and-swap is tried with small objects before anything is set")
        draft.calls.append(self._prove_swap)
        self._encryption(draft, settings)
        self._rules(draft, settings, store_root_lifecycle(self._profile, self._place.prefix), None)

    def _lock(self, draft: _Draft, settings: BucketSettings) -> None:
        days = self._request.retention_days
        if not days:
            detail = "on" if settings.lock else "off: nothing here can be held against deletion"
            draft.add("object lock", "=", detail)
        elif not self._profile.object_lock:
            draft.add("object lock", "!", f"a {self._profile.name} store has none through the S3 API; use its console")
        elif settings.there and not settings.lock:
            draft.add(
                "object lock",
                "!",
                f"off, and a bucket gets it only when it is made: make another for a retention of {days} days "
                f"(--create), or go without: {command('archive', self._url, retention_days=0)}",
            )
        else:
            draft.add("object lock", "=" if settings.there else "+", f"on, for a retention of {days} days")

    def _versioning(self, draft: _Draft, settings: BucketSettings) -> None:
        change: Change = "=" if settings.versions == "Enabled" else "+"
        draft.add("versioning", change, "on: an overwrite leaves the original readable", settings.keep_versions)

    def _encryption(self, draft: _Draft, settings: BucketSettings) -> None:
        if not self._profile.encryption:
            return
        if settings.encryption:
            kind = settings.encryption[0]["ApplyServerSideEncryptionByDefault"].get("SSEAlgorithm", "as it is")
            draft.add("encryption", "=", kind)
        else:
            draft.add("encryption", "+", "AES256", settings.encrypt)

    def _is_own_place(self, prefix: str) -> bool:
        """Whether a rule of ours is about this root, and not about another one in the bucket."""
        return prefix.startswith(self._root)

    def _rules(self, draft: _Draft, settings: BucketSettings, lifecycle: Lifecycle, held: int | None) -> None:
        """The lifecycle.

        Args:
            draft: gets the steps.
            settings: of the bucket.
            lifecycle: what it should be.
            held: days for which what lies there is write-once; None: not at all.
        """
        if not self._profile.lifecycle:
            return
        before = [_plain(rule) for rule in settings.rules]
        ours = {
            rule["ID"]: rule
            for rule in before
            if rule.get("ID", "").startswith(OWN) and self._is_own_place(filter_prefix(rule))
        }
        foreign = [rule for rule in before if rule.get("ID") not in ours]
        taken = {rule.get("ID") for rule in foreign}
        now: dict[str, dict[str, Any]] = {}
        for rule in lifecycle.rules:
            name = str(rule["ID"])
            if name in taken:  # by another root of ours in this bucket
                name += "-" + hashlib.sha256(self._root.encode()).hexdigest()[:8]
            now[name] = _plain({**rule, "ID": name})
        for name, rule in now.items():
            change: Change = "=" if ours.get(name) == rule else "~" if name in ours else "+"
            draft.add(f"lifecycle {name}", change, _described(rule))
        for name in ours.keys() - now.keys():
            draft.add(f"lifecycle {name}", "~", "is removed: it is no longer requested")
        for rule in foreign:
            draft.add(f"lifecycle {rule.get('ID', 'without a name')}", "=", "not ours: stays as it is")
        for deletion in deletions(foreign, self._root):
            if held and not deletion.versions and deletion.days < held:
                draft.notes.append(
                    f"the rule {deletion.rule}, which is not ours, hides what lies there {deletion.when}, although it "
                    f"is held for {held} days; change it where it was made"
                )
        if ours != now:
            if held:
                draft.calls.append(self._prove_retention)
            draft.calls.append(lambda: settings.set_rules([*foreign, *now.values()]))

    def _policy(self, draft: _Draft, settings: BucketSettings, archiver: str) -> None:
        if self._profile.policy == "none":
            draft.add("policy", "!", f"a {self._profile.name} store takes none through the S3 API; see deploy/storage")
            return
        policy = bucket_policy(self._profile, self._place, archiver)
        before = json.loads(settings.policy) if settings.policy else {"Statement": []}
        foreign = [statement for statement in before["Statement"] if not statement.get("Sid", "").startswith(SID)]
        ours = [statement for statement in before["Statement"] if statement not in foreign]
        same = [_statement(entry) for entry in ours] == [_statement(entry) for entry in policy["Statement"]]
        detail = f"{archiver} archives, and deletes nothing" + (f"; {len(foreign)} others stay" if foreign else "")
        merged = {**policy, "Statement": [*foreign, *policy["Statement"]]}
        draft.add("policy", "=" if same else "~" if ours else "+", detail, lambda: settings.set_policy(merged))

    def _prove_retention(self) -> None:
        """Hold an object and try to delete it, before anything is told to delete archives.

        Raises:
            UserError: it was not held.
        """
        problem = prove_retention(self._client, self._place.bucket, self._place.prefix, self._url)
        if problem is not None:
            raise UserError(f"a retention does not hold in {self._url} ({problem}), so nothing may expire there")

    def _prove_swap(self) -> None:
        problem = prove_swap(self._client, self._place.bucket, self._place.prefix, self._url)
        if problem is not None:
            raise UserError(f"compare-and-swap does not work in {self._url} ({problem}); use another store or bucket")


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
