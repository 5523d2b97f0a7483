"""Tries what an S3 bucket really enforces, with small objects of its own that it removes again where it may.

Belongs here: the questions, their order, and what a refusal to answer means. Each is asked by real requests; what a
store reports about itself counts only where nothing can be tried. What the answers mean together: ``findings.unsafe``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from yolo_assets.storage.admin.findings import Examined, Facts, Role, StoreFinding, Verdict, command
from yolo_assets.storage.admin.lifecycle import ARCHIVED, Deletion, deletions
from yolo_assets.storage.admin.profiles import PROFILES, profile_of
from yolo_assets.storage.s3_bucket import (
    bare_etag,
    content_md5,
    error_code,
    http_status,
    refused,
    unreachable,
    version_of,
)
from yolo_assets.storage.s3_client import Body, is_aws

TRIALS = ".doctor"
"""Folder below a root in which the small objects of an examination lie."""
_FIRST = ("put, head, get, list", "resumable multipart upload")
_PLAIN = "use a plain bucket, without versioning and object lock: " + command(
    "store", "s3://NEW-BUCKET/root", create=True
)
_HELD = timedelta(seconds=30)
"""How long the one object under retention stays: long enough to try to delete it."""
_SKEW = timedelta(minutes=5)


def examine_bucket(client: Any, bucket: str, prefix: str, role: Role, url: str) -> Examined:
    """Ask everything.

    Args:
        client: of ``s3_client.make_client``.
        bucket: its name.
        prefix: of the root, without slashes around it; may be empty.
        role: what the root is used for.
        url: as a person wrote it.

    Raises:
        UserError: the store cannot be reached at all.
    """
    probe = _BucketProbe(client, bucket, prefix, role, url)
    try:
        _reach(probe)
    except ClientError as error:
        if error_code(error) == "NoSuchBucket":
            days = 183 if role == "archive" else None
            make = command(role, url, create=True, retention_days=days)
            probe.found("reach", f"bucket {bucket} does not exist at {probe.endpoint}", "unsafe", make)
            return probe.examined
        raise refused(error, url=url, bucket=bucket, endpoint=probe.endpoint, key="the bucket") from None
    except BotoCoreError as error:
        raise unreachable(error, endpoint=probe.endpoint) from None
    archive = role == "archive"
    for question, ask in (  # they build on each other
        (_FIRST[0], _round_trip),
        (_FIRST[1], _multipart),
        ("wrong Content-MD5", _wrong_digest),
        ("other bytes than signed", _wrong_body),
        ("wrong x-amz-checksum-crc32", _wrong_checksum),
        ("versioning", _versioning),
        ("put-if-absent on a taken key", _conditional_put),
        ("overwrite", _overwrite) if archive else ("compare-and-swap", _swap),
        ("object lock", _object_lock),
        *([("retention", _retention)] if archive else []),
        ("deletion", _deletion),
        ("encryption at rest", _encryption),
        ("lifecycle", _lifecycle),
    ):
        try:
            ask(probe)
        except (ClientError, BotoCoreError) as error:
            code = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            needed = question != "encryption at rest" and (role == "store" or question in _FIRST)
            probe.found(question, f"refused: {code}", "unsafe" if needed else "note")
    probe.clean_up()
    return probe.examined


def prove_retention(client: Any, bucket: str, prefix: str, url: str) -> str | None:
    """Hold an object of its own and try to delete it.

    Returns:
        Why a retention does not hold there; None when it does.

    Raises:
        ClientError: the store refused the attempt.
        BotoCoreError: it cannot be reached.
    """
    probe = _BucketProbe(client, bucket, prefix, "archive", url)
    try:
        _object_lock(probe)
        _retention(probe)
    finally:
        probe.clean_up(bypass=True)
    facts = probe.examined.facts
    if facts.lock and facts.retention_proven and facts.held_against_delete:
        return None
    wrong = probe.examined.findings[-1]
    return f"{wrong.question}: {wrong.answer}"


def prove_swap(client: Any, bucket: str, prefix: str, url: str) -> str | None:
    """Move a pointer of its own by compare-and-swap.

    Returns:
        What the store did instead; None when it works.

    Raises:
        ClientError: the store refused the attempt.
        BotoCoreError: it cannot be reached.
    """
    probe = _BucketProbe(client, bucket, prefix, "store", url)
    try:
        _swap(probe)
    finally:
        probe.clean_up()
    (found,) = probe.examined.findings
    return None if probe.examined.facts.swap else found.answer


def longest_retention(client: Any, bucket: str, root: str) -> int:
    """Days from upload to the end of the retention that objects here carry, by a sample of the receipts.

    A retention comes from a setting, which changes rarely: the first receipt of up to 100 days is looked at, the days
    evenly spread over all that there are.

    Args:
        client: of ``s3_client.make_client``.
        bucket: its name.
        root: prefix of the root with the slash at its end; may be empty.

    Raises:
        ClientError: the store refused to tell.
        BotoCoreError: it cannot be reached.
    """
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{root}receipts/", Delimiter="/")
    dates = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
    step = max(1, -(-len(dates) // 100))
    longest = timedelta()
    for date in dates[::-step]:  # the newest among them
        for entry in client.list_objects_v2(Bucket=bucket, Prefix=date, MaxKeys=1).get("Contents", ()):
            head = client.head_object(Bucket=bucket, Key=entry["Key"])
            if until := head.get("ObjectLockRetainUntilDate"):
                longest = max(longest, until - head["LastModified"])
    return -(-longest // timedelta(days=1))


class _BucketProbe:
    """What the questions share.

    Attributes:
        client: of ``s3_client.make_client``.
        bucket: its name.
        folder: where the small objects of this examination lie; ends with a slash.
        endpoint: of the store.
        examined: what was found.
        root: prefix of the root with the slash at its end; may be empty.
        init: the command line that sets this root up.
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
        self.folder = f"{prefix}/{TRIALS}/{uuid.uuid4().hex[:12]}/".lstrip("/")
        self.endpoint: str = client.meta.endpoint_url
        self.examined = Examined(role, url, "generic", facts=Facts(bucket=bucket, url=url))
        self.root = f"{prefix}/" if prefix else ""
        self.init = command(role, url)
        self.made: list[tuple[str, str | None]] = []

    def found(self, question: str, answer: str, verdict: Verdict, advice: str = "") -> None:
        """Take a finding down."""
        self.examined.findings.append(StoreFinding(question, answer, verdict, advice))

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

    def clean_up(self, *, bypass: bool = False) -> None:
        """Remove what was made; what stays is in ``examined.left``.

        Args:
            bypass: also what is under governance, where these credentials may.
        """
        for key, version in self.made:
            more: dict[str, Any] = {"VersionId": version} if version else {}
            try:
                self.client.delete_object(
                    Bucket=self.bucket, Key=key, **more, **({"BypassGovernanceRetention": True} if bypass else {})
                )
            except (ClientError, BotoCoreError):
                self.examined.left.append(key)


def _reach(probe: _BucketProbe) -> None:
    """Where the store is, whose it is, how far its clock is off, whether the line is encrypted."""
    # A listing asks for the right to list, which a HEAD of the bucket does not.
    answer = probe.client.list_objects_v2(Bucket=probe.bucket, Prefix=probe.folder, MaxKeys=1)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    profile = profile_of(probe.endpoint, headers)
    probe.examined.profile = profile.name
    probe.found("reach", f"{probe.endpoint}, bucket {probe.bucket}, as a {profile.name} store", "ok")
    skew = abs(datetime.now(UTC) - parsedate_to_datetime(headers["date"]).astimezone(UTC))
    advice = "set the clock of this machine: timedatectl set-ntp true" if skew > _SKEW else ""
    probe.found("clock", f"differs by {skew.total_seconds():.0f} s", "warn" if advice else "ok", advice)
    parts = urlsplit(probe.endpoint)
    safe = probe.examined.facts.encrypted_line = parts.scheme == "https" or _is_here(parts.hostname or "")
    outcome = "TLS" if parts.scheme == "https" else "no TLS, within this host" if safe else "no TLS"
    probe.found("TLS", outcome, "ok" if safe else "warn", "" if safe else "use https:// in AWS_ENDPOINT_URL_S3")


def _round_trip(probe: _BucketProbe) -> None:
    """Put, head, get, list."""
    probe.put("plain")
    where = {"Bucket": probe.bucket, "Key": probe.folder + "plain"}
    size = probe.client.head_object(**where)["ContentLength"]
    data = probe.client.get_object(**where)["Body"].read()
    listed = probe.client.list_objects_v2(Bucket=probe.bucket, Prefix=probe.folder).get("KeyCount")
    good = (size, data, listed) == (11, b"yolo_assets", 1)
    probe.found("put, head, get, list", "work" if good else "return something else", "ok" if good else "unsafe")


def _multipart(probe: _BucketProbe) -> None:
    """Whether a broken upload can be resumed."""
    where = {"Bucket": probe.bucket, "Key": probe.folder + "multipart"}
    data = b"a part"
    upload = probe.client.create_multipart_upload(**where)["UploadId"]
    try:
        sent = probe.client.upload_part(**where, UploadId=upload, PartNumber=1, Body=data, ContentMD5=content_md5(data))
        parts = probe.client.list_parts(**where, UploadId=upload).get("Parts", [])
        etag = bare_etag(parts[0]["ETag"]) if parts else ""
        listed = [{"PartNumber": 1, "ETag": sent["ETag"]}]
        done = probe.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": listed})
    except ClientError:
        with contextlib.suppress(ClientError):
            probe.client.abort_multipart_upload(**where, UploadId=upload)
        raise
    probe.made.append((where["Key"], version_of(done)))
    if etag == hashlib.md5(data, usedforsecurity=False).hexdigest():
        probe.found("resumable multipart upload", "the parts that arrived are listed with their MD5", "ok")
    elif etag:
        outcome = "the parts that arrived are listed, with etags that are not an MD5"
        probe.found("resumable multipart upload", outcome, "note", "resuming relies on .archiving.parts in the spool")
    else:
        outcome = "the parts that arrived are not listed"
        probe.found("resumable multipart upload", outcome, "warn", "a broken upload is sent again from its beginning")


def _wrong_digest(probe: _BucketProbe) -> None:
    """Whether a wrong Content-MD5 is refused."""
    wrong = content_md5(b"something else")
    refused = probe.refuses(lambda: probe.put("wrong-md5", ContentMD5=wrong))
    probe.examined.facts.digest_checked = refused
    advice = "" if refused else "read every archive back: yolo-assets archive run --verify full"
    probe.found("wrong Content-MD5", "refused" if refused else "stored", "ok" if refused else "warn", advice)


class _OtherWhenSent(Body):
    """A body that was damaged between its signature and the line."""

    def begin_sending(self) -> None:
        """From here on it reads as other bytes of the same length."""
        super().begin_sending()
        self._data = memoryview(bytes(len(self._data)))


def _wrong_body(probe: _BucketProbe) -> None:
    """Whether a body is refused that is not what the request was signed with, nor has its checksum, as parts are."""
    where = {"Bucket": probe.bucket, "Key": probe.folder + "wrong-body"}

    def send() -> None:
        answer = probe.client.put_object(**where, Body=_OtherWhenSent(memoryview(b"yolo_assets")))
        probe.made.append((where["Key"], version_of(answer)))

    refused = probe.refuses(send)
    probe.examined.facts.digest_checked = probe.examined.facts.digest_checked is not False and refused
    advice = "" if refused else "read every archive back: yolo-assets archive run --verify full"
    probe.found("other bytes than signed", "refused" if refused else "stored", "ok" if refused else "warn", advice)


def _wrong_checksum(probe: _BucketProbe) -> None:
    """Whether a wrong checksum of the store's own kind is refused."""
    wrong = base64.b64encode(bytes(4)).decode()
    refused = probe.refuses(lambda: probe.put("wrong-crc", ChecksumCRC32=wrong))
    outcome = "refused" if refused else "ignored: Content-MD5 and signed bodies protect what is sent"
    probe.found("wrong x-amz-checksum-crc32", outcome, "ok" if refused else "note")


def _conditional_put(probe: _BucketProbe) -> None:
    """Whether put-if-absent holds."""
    probe.put("taken")
    refused = probe.refuses(lambda: probe.put("taken", b"second", IfNoneMatch="*"))
    probe.examined.facts.conditional_put = refused
    if refused:
        probe.found("put-if-absent on a taken key", "refused", "ok")
    elif probe.examined.facts.versions:
        outcome = "stored as a newer version: the original stays readable by its id"
        probe.found("put-if-absent on a taken key", outcome, "note")
    else:
        advice = f"switch on versioning: {probe.init}" if probe.examined.role == "archive" else _PLAIN
        probe.found("put-if-absent on a taken key", "overwritten", "warn", advice)


def _swap(probe: _BucketProbe) -> None:
    """Whether compare-and-swap holds."""
    etag = bare_etag(probe.put("pointer", b"one")["ETag"])
    shown = f'"{etag}"' if is_aws(probe.endpoint) else etag
    wrong = probe.refuses(lambda: probe.put("pointer", b"two", IfMatch=shown.replace(etag, "0" * 32)))
    right = not probe.refuses(lambda: probe.put("pointer", b"three", IfMatch=shown))
    probe.examined.facts.swap = wrong and right
    if wrong and right:
        probe.found("compare-and-swap", "works", "ok")
    else:
        outcome = "does nothing" if not right else "overwrites whatever is there"
        probe.found("compare-and-swap", outcome, "unsafe", _PLAIN)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _versioning(probe: _BucketProbe) -> None:
    """Whether the bucket keeps versions."""
    on = probe.client.get_bucket_versioning(Bucket=probe.bucket).get("Status") == "Enabled"
    probe.examined.facts.versions = on
    if probe.examined.role == "archive":
        advice = "" if on else f"an overwrite then leaves the original: {probe.init}"
        probe.found("versioning", "on" if on else "off", "ok" if on else "warn", advice)
    else:
        probe.found("versioning", "on" if on else "off", "warn" if on else "ok", _PLAIN if on else "")


def _overwrite(probe: _BucketProbe) -> None:
    """Whether an overwrite leaves the original."""
    first = version_of(probe.put("overwritten", b"original"))
    probe.put("overwritten", b"forged")
    if first is None:
        probe.found("overwrite", "the original is lost: no versions", "warn", f"switch on versioning: {probe.init}")
        return
    where = {"Bucket": probe.bucket, "Key": probe.folder + "overwritten", "VersionId": first}
    good = probe.client.get_object(**where)["Body"].read() == b"original"
    probe.found(
        "overwrite",
        "the original stays readable by its version id" if good else "the original is lost",
        "ok" if good else "unsafe",
    )


def _object_lock(probe: _BucketProbe) -> None:
    """Whether the bucket can lock objects."""
    try:
        answer = probe.client.get_object_lock_configuration(Bucket=probe.bucket)["ObjectLockConfiguration"]
    except ClientError as error:
        if http_status(error) in (403, 501):
            raise
        answer = {}
    on = probe.examined.facts.lock = answer.get("ObjectLockEnabled") == "Enabled"
    default = answer.get("Rule", {}).get("DefaultRetention")
    outcome = "off" if not on else "on" + (f", by default {_lasting(default)}" if default else ", no default retention")
    if probe.examined.role == "archive":
        advice = (
            ""
            if on
            else "nothing can be held against deletion here; only a new bucket gets it: "
            + command("archive", "s3://NEW-BUCKET/root", create=True, retention_days=183)
        )
        probe.found("object lock", outcome, "ok" if on else "note", advice)
    else:
        probe.found("object lock", outcome, "unsafe" if on else "ok", _PLAIN if on else "")


def _retention(probe: _BucketProbe) -> None:
    """Whether retention can be set, is shown, and holds against deletion."""
    if not probe.examined.facts.lock:
        return
    version = version_of(probe.put("held"))
    where = {"Bucket": probe.bucket, "Key": probe.folder + "held", "VersionId": version}
    until = (datetime.now(UTC) + _HELD).replace(microsecond=0)
    try:
        shown = probe.client.get_object_retention(**where).get("Retention", {})
    except ClientError:
        shown = {}
    try:
        if "RetainUntilDate" not in shown:  # a default of the bucket is retention enough
            terms = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
            probe.client.put_object_retention(**where, Retention=terms)
            shown = probe.client.get_object_retention(**where)["Retention"]
    except ClientError as error:
        probe.examined.facts.retention_proven = False
        probe.found("retention", f"refused: {error_code(error)}", "warn", "give the right PutObjectRetention")
        return
    proven = probe.examined.facts.retention_proven = shown["RetainUntilDate"].astimezone(UTC) >= until
    probe.found("retention", "set and shown again" if proven else "not shown again", "ok" if proven else "unsafe")
    held = probe.refuses(lambda: probe.client.delete_object(**where))
    probe.examined.facts.held_against_delete = held
    outcome = "refused" if held else "deleted"
    probe.found("deleting a version under retention", outcome, "ok" if held else "unsafe")


def _deletion(probe: _BucketProbe) -> None:
    """Whether these credentials may delete for good."""
    answer = probe.put("to-delete")
    where = {"Bucket": probe.bucket, "Key": probe.folder + "to-delete"}
    version = version_of(answer)
    try:
        probe.client.delete_object(**where, **({"VersionId": version} if version else {}))
        may = True
        probe.made.pop()
    except ClientError:
        may = False
    probe.examined.facts.may_delete = may
    if probe.examined.role == "archive":
        advice = f"the archiver needs no right to delete: {probe.init} --archiver ARN" if may else ""
        outcome = "these credentials may delete for good" if may else "refused"
        probe.found("deletion", outcome, "warn" if may else "ok", advice)
    else:
        outcome = "works" if may else "refused: old tables and catalogs would stay for ever"
        probe.found("deletion", outcome, "ok" if may else "warn", "" if may else "give the right s3:DeleteObject")


def _encryption(probe: _BucketProbe) -> None:
    """Whether the bucket encrypts at rest."""
    try:
        answer = probe.client.get_bucket_encryption(Bucket=probe.bucket)
    except ClientError as error:
        if http_status(error) == 403:
            raise
        answer = {}
    # Ceph 16.2 answers without any rule where AWS reports that there is no configuration.
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    kinds = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
    kind = next((kind for kind in kinds if kind), None)
    outcome = f"{kind} by default" if kind else "none by default"
    can = kind or not PROFILES[probe.examined.profile].encryption
    advice = "" if can else f"set it: {probe.init}"
    probe.found("encryption at rest", outcome, "ok" if kind else "note", advice)


def _lifecycle(probe: _BucketProbe) -> None:
    """Which rules delete what lies in the root, and whether abandoned uploads are removed."""
    try:
        rules = probe.client.get_bucket_lifecycle_configuration(Bucket=probe.bucket).get("Rules", [])
    except ClientError as error:
        if http_status(error) == 403:
            raise
        rules = []
    aborts = any("AbortIncompleteMultipartUpload" in rule and rule.get("Status") == "Enabled" for rule in rules)
    advice = "" if aborts else f"have them removed after a week: {probe.init}"
    probe.found(
        "abandoned uploads", "removed by a rule" if aborts else "stay for ever", "ok" if aborts else "note", advice
    )
    _expiry(probe, [deletion for deletion in deletions(rules, probe.root) if not deletion.versions])


def _expiry(probe: _BucketProbe, expiring: list[Deletion]) -> None:
    """What deletes the newest version of what lies in the root."""
    facts, archive = probe.examined.facts, probe.examined.role == "archive"
    if archive:  # an audit is no archive
        expiring = [deletion for deletion in expiring if deletion.whole or deletion.touches(probe.root, ARCHIVED)]
    for deletion in expiring:
        answer = f"deletes {deletion.prefix}* {deletion.when}, " + ("of storage init" if deletion.ours else "not ours")
        verdict: Verdict = "unsafe"
        advice = command(probe.examined.role, probe.examined.url, retention_days=0)
        if not deletion.ours:
            verdict = "warn" if archive or not deletion.whole else "unsafe"
            advice = "see whether it is meant for what lies there, and change it where it was made"
        elif archive and facts.lock:
            verdict, advice = "ok", ""
        probe.found(f"rule {deletion.rule}", answer, verdict, advice)
        if archive or verdict == "unsafe":
            facts.expires = deletion.days if facts.expires is None else min(facts.expires, deletion.days)
            facts.own_expiry |= deletion.ours
    if not expiring:
        probe.found("expiry", "no rule deletes what lies there", "ok")


def _lasting(default: dict[str, Any]) -> str:
    length = f"{default['Days']} days" if "Days" in default else f"{default.get('Years')} years"
    return f"{length} {default.get('Mode', '').lower()}"
