"""Tries what an S3 bucket really enforces, with small objects of its own that it removes again where it may.

Every question is asked by a real request; a store's word about itself counts only where nothing can be tried. Belongs
here: requests and their answers as findings. What they mean together is ``findings.unsafe``.
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

from yolo_assets.storage.admin.findings import Examined, Facts, Finding, Role, Verdict
from yolo_assets.storage.admin.profiles import profile_of
from yolo_assets.storage.s3_answers import bare_etag, content_md5, version_of
from yolo_assets.storage.s3_client import is_aws
from yolo_assets.storage.s3_errors import error_code, http_status, refused, unreachable

_SKEW = timedelta(minutes=5)
_HELD = timedelta(seconds=30)
"""How long the one object under retention stays: long enough to try to delete it."""


class S3Probe:
    """One examination of one root. Questions build on each other: ask them in the order of ``examine``."""

    def __init__(self, client: Any, bucket: str, prefix: str, role: Role, url: str) -> None:
        """Nothing is asked yet.

        Args:
            client: of ``s3_client.make_client``.
            bucket: its name.
            prefix: of the root, without slashes around it; may be empty.
            role: what the root is used for.
            url: as a person wrote it.
        """
        self._client = client
        self._bucket = bucket
        self._folder = f"{prefix}/.doctor/{uuid.uuid4().hex[:12]}/".lstrip("/")
        self._endpoint: str = client.meta.endpoint_url
        self.examined = Examined(role, url, "generic", facts=Facts(bucket=bucket))
        self._made: list[tuple[str, str | None]] = []

    def examine(self) -> Examined:
        """Ask everything.

        Raises:
            UserError: the bucket cannot be reached at all, in words.
        """
        try:
            self._reach()
        except ClientError as error:
            raise refused(
                error, url=self.examined.url, bucket=self._bucket, endpoint=self._endpoint, key="the bucket"
            ) from None
        except BotoCoreError as error:
            raise unreachable(error, endpoint=self._endpoint) from None
        archive = self.examined.role == "archive"
        for question, ask in (
            ("put, head, get, list", self._round_trip),
            ("resumable multipart upload", self._multipart),
            ("wrong Content-MD5", self._wrong_digest),
            ("wrong x-amz-checksum-crc32", self._wrong_checksum),
            ("versioning", self._versioning),
            ("put-if-absent on a taken key", self._conditional_put),
            *([] if archive else [("compare-and-swap", self._swap)]),
            *([("overwrite", self._overwrite)] if archive else []),
            ("object lock", self._object_lock),
            *([("retention", self._retention)] if archive else []),
            ("deletion", self._deletion),
            ("encryption at rest", self._encryption),
            ("abandoned uploads", self._abandoned),
        ):
            self._ask(question, ask)
        self._clean_up()
        return self.examined

    def _ask(self, question: str, ask: Callable[[], None]) -> None:
        try:
            ask()
        except (ClientError, BotoCoreError) as error:
            code = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            needed = self.examined.role == "store" or question in ("put, head, get, list", "resumable multipart upload")
            self._found(
                question, f"refused: {code}", "unsafe" if needed and question != "encryption at rest" else "note"
            )

    def _found(self, question: str, answer: str, verdict: Verdict, advice: str = "") -> None:
        self.examined.findings.append(Finding(question, answer, verdict, advice))

    def _put(self, name: str, data: bytes = b"yolo_assets", **more: Any) -> dict[str, Any]:
        key = self._folder + name
        more.setdefault("ContentMD5", content_md5(data))
        answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=data, **more)
        self._made.append((key, version_of(answer)))
        return answer

    def _reach(self) -> None:
        # A listing asks for the right to list, which a HEAD of the bucket does not.
        answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._folder, MaxKeys=1)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        profile = profile_of(self._endpoint, headers.get("server"))
        self.examined.profile = profile.name
        self._found("reach", f"{self._endpoint}, bucket {self._bucket}, as a {profile.name} store", "ok")
        skew = abs(datetime.now(UTC) - parsedate_to_datetime(headers["date"]).astimezone(UTC))
        advice = "set the clock of this machine, for example with NTP" if skew > _SKEW else ""
        self._found("clock", f"differs by {skew.total_seconds():.0f} s", "warn" if advice else "ok", advice)
        parts = urlsplit(self._endpoint)
        safe = self.examined.facts.encrypted_line = parts.scheme == "https" or _is_here(parts.hostname or "")
        said = "TLS" if parts.scheme == "https" else "no TLS, within this host" if safe else "no TLS"
        self._found("TLS", said, "ok" if safe else "warn", "" if safe else "use https:// in AWS_ENDPOINT_URL_S3")

    def _round_trip(self) -> None:
        self._put("plain")
        where = {"Bucket": self._bucket, "Key": self._folder + "plain"}
        size = self._client.head_object(**where)["ContentLength"]
        data = self._client.get_object(**where)["Body"].read()
        listed = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._folder).get("KeyCount")
        good = (size, data, listed) == (11, b"yolo_assets", 1)
        self._found("put, head, get, list", "work" if good else "give back something else", "ok" if good else "unsafe")

    def _multipart(self) -> None:
        where = {"Bucket": self._bucket, "Key": self._folder + "multipart"}
        data = b"a part"
        upload = self._client.create_multipart_upload(**where)["UploadId"]
        try:
            sent = self._client.upload_part(
                **where, UploadId=upload, PartNumber=1, Body=data, ContentMD5=content_md5(data)
            )
            parts = self._client.list_parts(**where, UploadId=upload).get("Parts", [])
            etag = bare_etag(parts[0]["ETag"]) if parts else ""
            listed = [{"PartNumber": 1, "ETag": sent["ETag"]}]
            done = self._client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": listed})
        except ClientError:
            with contextlib.suppress(ClientError):
                self._client.abort_multipart_upload(**where, UploadId=upload)
            raise
        self._made.append((where["Key"], version_of(done)))
        if etag == hashlib.md5(data, usedforsecurity=False).hexdigest():
            self._found("resumable multipart upload", "the parts that arrived are listed with their MD5", "ok")
        elif etag:
            said = "the parts that arrived are listed, with etags that are no MD5"
            self._found("resumable multipart upload", said, "note", "resuming relies on .archiving.parts in the spool")
        else:
            said = "the parts that arrived are not listed"
            self._found("resumable multipart upload", said, "warn", "a broken upload is sent again from its beginning")

    def _wrong_digest(self) -> None:
        wrong = content_md5(b"something else")
        refused = self._refuses(lambda: self._put("wrong-md5", ContentMD5=wrong))
        self.examined.facts.digest_checked = refused
        self._found("wrong Content-MD5", "refused" if refused else "stored", "ok" if refused else "warn")

    def _wrong_checksum(self) -> None:
        wrong = base64.b64encode(bytes(4)).decode()
        refused = self._refuses(lambda: self._put("wrong-crc", ChecksumCRC32=wrong))
        said = "refused" if refused else "ignored: Content-MD5 protects what is sent"
        self._found("wrong x-amz-checksum-crc32", said, "ok" if refused else "note")

    def _versioning(self) -> None:
        on = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status") == "Enabled"
        self.examined.facts.versions = on
        if self.examined.role == "archive":
            advice = "" if on else "switch it on: an overwrite then leaves the original"
            self._found("versioning", "on" if on else "off", "ok" if on else "warn", advice)
        else:
            self._found("versioning", "on" if on else "off", "warn" if on else "ok")

    def _conditional_put(self) -> None:
        self._put("taken")
        refused = self._refuses(lambda: self._put("taken", b"second", IfNoneMatch="*"))
        self.examined.facts.conditional_put = refused
        if refused:
            self._found("put-if-absent on a taken key", "refused", "ok")
        elif self.examined.facts.versions:
            said = "stored as a newer version: the original stays readable by its id"
            self._found("put-if-absent on a taken key", said, "note")
        else:
            self._found("put-if-absent on a taken key", "overwritten", "warn")

    def _swap(self) -> None:
        etag = bare_etag(self._put("pointer", b"one")["ETag"])
        shown = f'"{etag}"' if is_aws(self._endpoint) else etag
        wrong = self._refuses(lambda: self._put("pointer", b"two", IfMatch=shown.replace(etag, "0" * 32)))
        right = not self._refuses(lambda: self._put("pointer", b"three", IfMatch=shown))
        self.examined.facts.swap = wrong and right
        if wrong and right:
            self._found("compare-and-swap", "works", "ok")
        else:
            said = "does nothing" if not right else "overwrites whatever is there"
            self._found("compare-and-swap", said, "unsafe", "use a plain bucket: no versioning, no object lock")

    def _overwrite(self) -> None:
        first = version_of(self._put("overwritten", b"original"))
        self._put("overwritten", b"forged")
        if first is None:
            self._found("overwrite", "the original is gone: no versions", "warn")
            return
        where = {"Bucket": self._bucket, "Key": self._folder + "overwritten", "VersionId": first}
        good = self._client.get_object(**where)["Body"].read() == b"original"
        self._found(
            "overwrite",
            "the original stays readable by its version id" if good else "the original is gone",
            "ok" if good else "unsafe",
        )

    def _object_lock(self) -> None:
        try:
            answer = self._client.get_object_lock_configuration(Bucket=self._bucket)["ObjectLockConfiguration"]
        except ClientError as error:
            if http_status(error) in (403, 501):
                raise
            answer = {}
        on = self.examined.facts.lock = answer.get("ObjectLockEnabled") == "Enabled"
        default = answer.get("Rule", {}).get("DefaultRetention")
        said = (
            "off" if not on else "on" + (f", by default {_lasting(default)}" if default else ", no default retention")
        )
        if self.examined.role == "archive":
            self._found("object lock", said, "ok" if on else "note")
        else:
            self._found("object lock", said, "unsafe" if on else "ok")

    def _retention(self) -> None:
        if not self.examined.facts.lock:
            return
        version = version_of(self._put("held"))
        where = {"Bucket": self._bucket, "Key": self._folder + "held", "VersionId": version}
        until = (datetime.now(UTC) + _HELD).replace(microsecond=0)
        try:
            shown = self._client.get_object_retention(**where).get("Retention", {})
        except ClientError:
            shown = {}
        try:
            if "RetainUntilDate" not in shown:  # a default of the bucket is retention enough
                wanted = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
                self._client.put_object_retention(**where, Retention=wanted)
                shown = self._client.get_object_retention(**where)["Retention"]
        except ClientError as error:
            self.examined.facts.retention_proven = False
            self._found("retention", f"refused: {error_code(error)}", "warn", "give the right PutObjectRetention")
            return
        proven = self.examined.facts.retention_proven = shown["RetainUntilDate"].astimezone(UTC) >= until
        self._found("retention", "set and shown again" if proven else "not shown again", "ok" if proven else "unsafe")
        held = self._refuses(lambda: self._client.delete_object(**where))
        self.examined.facts.held_against_delete = held
        said = "refused" if held else "deleted"
        self._found("deleting a version under retention", said, "ok" if held else "unsafe")

    def _deletion(self) -> None:
        answer = self._put("to-delete")
        where = {"Bucket": self._bucket, "Key": self._folder + "to-delete"}
        version = version_of(answer)
        try:
            self._client.delete_object(**where, **({"VersionId": version} if version else {}))
            may = True
            self._made.pop()
        except ClientError:
            may = False
        self.examined.facts.may_delete = may
        if self.examined.role == "archive":
            advice = "the archiver needs no right to delete: attach the policy of deploy/storage" if may else ""
            said = "these credentials may delete for good" if may else "refused"
            self._found("deletion", said, "warn" if may else "ok", advice)
        else:
            said = "works" if may else "refused: old tables and catalogs would stay for ever"
            self._found("deletion", said, "ok" if may else "warn")

    def _encryption(self) -> None:
        try:
            answer = self._client.get_bucket_encryption(Bucket=self._bucket)
        except ClientError as error:
            if http_status(error) == 403:
                raise
            answer = {}
        # Ceph 16.2 answers without any rule where AWS says that there is no configuration.
        rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        kinds = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
        kind = next((kind for kind in kinds if kind), None)
        said = f"{kind} by default" if kind else "none by default"
        advice = "" if kind else "storage init sets it where the store can"
        self._found("encryption at rest", said, "ok" if kind else "note", advice)

    def _abandoned(self) -> None:
        try:
            rules = self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket).get("Rules", [])
        except ClientError as error:
            if http_status(error) == 403:
                raise
            rules = []
        aborts = any("AbortIncompleteMultipartUpload" in rule and rule.get("Status") == "Enabled" for rule in rules)
        advice = "" if aborts else "storage init sets a rule that removes them after a week"
        self._found(
            "abandoned uploads", "removed by a rule" if aborts else "stay for ever", "ok" if aborts else "note", advice
        )

    def _refuses(self, call: Callable[[], Any]) -> bool:
        try:
            call()
        except ClientError as error:
            if http_status(error) >= 500 and error_code(error) != "UnknownError":
                raise
            return True
        return False

    def _clean_up(self) -> None:
        for key, version in self._made:
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key, **({"VersionId": version} if version else {}))
            except (ClientError, BotoCoreError):
                self.examined.left.append(key)


def _lasting(default: dict[str, Any]) -> str:
    length = f"{default['Days']} days" if "Days" in default else f"{default.get('Years')} years"
    return f"{length} {default.get('Mode', '').lower()}"


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
