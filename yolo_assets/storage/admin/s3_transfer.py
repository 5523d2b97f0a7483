"""Questions about moving bytes: does what arrives arrive, and does a broken upload go on.

Each asks by real requests and takes down what came of it; a store's word about itself counts only where nothing can be
tried.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from yolo_assets.storage.admin.profiles import profile_of
from yolo_assets.storage.admin.s3_asking import Asking
from yolo_assets.storage.s3_bucket import bare_etag, content_md5, version_of
from yolo_assets.storage.s3_client import is_aws

_SKEW = timedelta(minutes=5)


def reach(asking: Asking) -> None:
    """Where the store is, whose it is, how far its clock is off, whether the line is encrypted."""
    # A listing asks for the right to list, which a HEAD of the bucket does not.
    answer = asking.client.list_objects_v2(Bucket=asking.bucket, Prefix=asking.folder, MaxKeys=1)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    profile = profile_of(asking.endpoint, headers)
    asking.examined.profile = profile.name
    asking.found("reach", f"{asking.endpoint}, bucket {asking.bucket}, as a {profile.name} store", "ok")
    skew = abs(datetime.now(UTC) - parsedate_to_datetime(headers["date"]).astimezone(UTC))
    advice = "set the clock of this machine, for example with NTP" if skew > _SKEW else ""
    asking.found("clock", f"differs by {skew.total_seconds():.0f} s", "warn" if advice else "ok", advice)
    parts = urlsplit(asking.endpoint)
    safe = asking.examined.facts.encrypted_line = parts.scheme == "https" or _is_here(parts.hostname or "")
    said = "TLS" if parts.scheme == "https" else "no TLS, within this host" if safe else "no TLS"
    asking.found("TLS", said, "ok" if safe else "warn", "" if safe else "use https:// in AWS_ENDPOINT_URL_S3")


def round_trip(asking: Asking) -> None:
    """Put, head, get, list."""
    asking.put("plain")
    where = {"Bucket": asking.bucket, "Key": asking.folder + "plain"}
    size = asking.client.head_object(**where)["ContentLength"]
    data = asking.client.get_object(**where)["Body"].read()
    listed = asking.client.list_objects_v2(Bucket=asking.bucket, Prefix=asking.folder).get("KeyCount")
    good = (size, data, listed) == (11, b"yolo_assets", 1)
    asking.found("put, head, get, list", "work" if good else "give back something else", "ok" if good else "unsafe")


def multipart(asking: Asking) -> None:
    """Whether a broken upload can be gone on with."""
    where = {"Bucket": asking.bucket, "Key": asking.folder + "multipart"}
    data = b"a part"
    upload = asking.client.create_multipart_upload(**where)["UploadId"]
    try:
        sent = asking.client.upload_part(
            **where, UploadId=upload, PartNumber=1, Body=data, ContentMD5=content_md5(data)
        )
        parts = asking.client.list_parts(**where, UploadId=upload).get("Parts", [])
        etag = bare_etag(parts[0]["ETag"]) if parts else ""
        listed = [{"PartNumber": 1, "ETag": sent["ETag"]}]
        done = asking.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": listed})
    except ClientError:
        with contextlib.suppress(ClientError):
            asking.client.abort_multipart_upload(**where, UploadId=upload)
        raise
    asking.made.append((where["Key"], version_of(done)))
    if etag == hashlib.md5(data, usedforsecurity=False).hexdigest():
        asking.found("resumable multipart upload", "the parts that arrived are listed with their MD5", "ok")
    elif etag:
        said = "the parts that arrived are listed, with etags that are no MD5"
        asking.found("resumable multipart upload", said, "note", "resuming relies on .archiving.parts in the spool")
    else:
        said = "the parts that arrived are not listed"
        asking.found("resumable multipart upload", said, "warn", "a broken upload is sent again from its beginning")


def wrong_digest(asking: Asking) -> None:
    """Whether a wrong Content-MD5 is refused."""
    wrong = content_md5(b"something else")
    refused = asking.refuses(lambda: asking.put("wrong-md5", ContentMD5=wrong))
    asking.examined.facts.digest_checked = refused
    asking.found("wrong Content-MD5", "refused" if refused else "stored", "ok" if refused else "warn")


def wrong_checksum(asking: Asking) -> None:
    """Whether a wrong checksum of the store's own kind is refused."""
    wrong = base64.b64encode(bytes(4)).decode()
    refused = asking.refuses(lambda: asking.put("wrong-crc", ChecksumCRC32=wrong))
    said = "refused" if refused else "ignored: Content-MD5 protects what is sent"
    asking.found("wrong x-amz-checksum-crc32", said, "ok" if refused else "note")


def conditional_put(asking: Asking) -> None:
    """Whether put-if-absent holds."""
    asking.put("taken")
    refused = asking.refuses(lambda: asking.put("taken", b"second", IfNoneMatch="*"))
    asking.examined.facts.conditional_put = refused
    if refused:
        asking.found("put-if-absent on a taken key", "refused", "ok")
    elif asking.examined.facts.versions:
        said = "stored as a newer version: the original stays readable by its id"
        asking.found("put-if-absent on a taken key", said, "note")
    else:
        asking.found("put-if-absent on a taken key", "overwritten", "warn")


def swap(asking: Asking) -> None:
    """Whether compare-and-swap holds."""
    etag = bare_etag(asking.put("pointer", b"one")["ETag"])
    shown = f'"{etag}"' if is_aws(asking.endpoint) else etag
    wrong = asking.refuses(lambda: asking.put("pointer", b"two", IfMatch=shown.replace(etag, "0" * 32)))
    right = not asking.refuses(lambda: asking.put("pointer", b"three", IfMatch=shown))
    asking.examined.facts.swap = wrong and right
    if wrong and right:
        asking.found("compare-and-swap", "works", "ok")
    else:
        said = "does nothing" if not right else "overwrites whatever is there"
        asking.found("compare-and-swap", said, "unsafe", "use a plain bucket: no versioning, no object lock")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
