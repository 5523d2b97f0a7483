"""Questions about keeping: what an overwrite, a deletion, a lock and time do to what is stored.

Each asks by real requests and takes down what came of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.admin.s3_asking import Asking
from yolo_assets.storage.s3_bucket import error_code, http_status, version_of

_HELD = timedelta(seconds=30)
"""How long the one object under retention stays: long enough to try to delete it."""


def versioning(asking: Asking) -> None:
    """Whether the bucket keeps versions."""
    on = asking.client.get_bucket_versioning(Bucket=asking.bucket).get("Status") == "Enabled"
    asking.examined.facts.versions = on
    if asking.examined.role == "archive":
        advice = "" if on else "switch it on: an overwrite then leaves the original"
        asking.found("versioning", "on" if on else "off", "ok" if on else "warn", advice)
    else:
        asking.found("versioning", "on" if on else "off", "warn" if on else "ok")


def overwrite(asking: Asking) -> None:
    """Whether an overwrite leaves the original."""
    first = version_of(asking.put("overwritten", b"original"))
    asking.put("overwritten", b"forged")
    if first is None:
        asking.found("overwrite", "the original is gone: no versions", "warn")
        return
    where = {"Bucket": asking.bucket, "Key": asking.folder + "overwritten", "VersionId": first}
    good = asking.client.get_object(**where)["Body"].read() == b"original"
    asking.found(
        "overwrite",
        "the original stays readable by its version id" if good else "the original is gone",
        "ok" if good else "unsafe",
    )


def object_lock(asking: Asking) -> None:
    """Whether the bucket can lock objects."""
    try:
        answer = asking.client.get_object_lock_configuration(Bucket=asking.bucket)["ObjectLockConfiguration"]
    except ClientError as error:
        if http_status(error) in (403, 501):
            raise
        answer = {}
    on = asking.examined.facts.lock = answer.get("ObjectLockEnabled") == "Enabled"
    default = answer.get("Rule", {}).get("DefaultRetention")
    said = "off" if not on else "on" + (f", by default {_lasting(default)}" if default else ", no default retention")
    if asking.examined.role == "archive":
        asking.found("object lock", said, "ok" if on else "note")
    else:
        asking.found("object lock", said, "unsafe" if on else "ok")


def retention(asking: Asking) -> None:
    """Whether retention can be set, is shown, and holds against deletion."""
    if not asking.examined.facts.lock:
        return
    version = version_of(asking.put("held"))
    where = {"Bucket": asking.bucket, "Key": asking.folder + "held", "VersionId": version}
    until = (datetime.now(UTC) + _HELD).replace(microsecond=0)
    try:
        shown = asking.client.get_object_retention(**where).get("Retention", {})
    except ClientError:
        shown = {}
    try:
        if "RetainUntilDate" not in shown:  # a default of the bucket is retention enough
            wanted = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
            asking.client.put_object_retention(**where, Retention=wanted)
            shown = asking.client.get_object_retention(**where)["Retention"]
    except ClientError as error:
        asking.examined.facts.retention_proven = False
        asking.found("retention", f"refused: {error_code(error)}", "warn", "give the right PutObjectRetention")
        return
    proven = asking.examined.facts.retention_proven = shown["RetainUntilDate"].astimezone(UTC) >= until
    asking.found("retention", "set and shown again" if proven else "not shown again", "ok" if proven else "unsafe")
    held = asking.refuses(lambda: asking.client.delete_object(**where))
    asking.examined.facts.held_against_delete = held
    said = "refused" if held else "deleted"
    asking.found("deleting a version under retention", said, "ok" if held else "unsafe")


def deletion(asking: Asking) -> None:
    """Whether these credentials may delete for good."""
    answer = asking.put("to-delete")
    where = {"Bucket": asking.bucket, "Key": asking.folder + "to-delete"}
    version = version_of(answer)
    try:
        asking.client.delete_object(**where, **({"VersionId": version} if version else {}))
        may = True
        asking.made.pop()
    except ClientError:
        may = False
    asking.examined.facts.may_delete = may
    if asking.examined.role == "archive":
        advice = "the archiver needs no right to delete: attach the policy of deploy/storage" if may else ""
        said = "these credentials may delete for good" if may else "refused"
        asking.found("deletion", said, "warn" if may else "ok", advice)
    else:
        said = "works" if may else "refused: old tables and catalogs would stay for ever"
        asking.found("deletion", said, "ok" if may else "warn")


def encryption(asking: Asking) -> None:
    """Whether the bucket encrypts at rest."""
    try:
        answer = asking.client.get_bucket_encryption(Bucket=asking.bucket)
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
    asking.found("encryption at rest", said, "ok" if kind else "note", advice)


def abandoned(asking: Asking) -> None:
    """Whether uploads that nobody ended are removed."""
    try:
        rules = asking.client.get_bucket_lifecycle_configuration(Bucket=asking.bucket).get("Rules", [])
    except ClientError as error:
        if http_status(error) == 403:
            raise
        rules = []
    aborts = any("AbortIncompleteMultipartUpload" in rule and rule.get("Status") == "Enabled" for rule in rules)
    advice = "" if aborts else "storage init sets a rule that removes them after a week"
    asking.found(
        "abandoned uploads", "removed by a rule" if aborts else "stay for ever", "ok" if aborts else "note", advice
    )


def _lasting(default: dict[str, Any]) -> str:
    length = f"{default['Days']} days" if "Days" in default else f"{default.get('Years')} years"
    return f"{length} {default.get('Mode', '').lower()}"
