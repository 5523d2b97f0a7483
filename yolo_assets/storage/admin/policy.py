"""Who may do what in the archive root: policies of least privilege, all written from the one table below.

The archiver has no right to delete and none to loosen; the auditor reads; the operator sets up and holds. Policies name
roles by placeholders until ``init`` knows the bucket. Ceph 16.2 knows users only in bucket policies, and a condition it
does not know (``s3:if-none-match``) denies everything: its policy has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from yolo_assets.storage.admin.profiles import StoreProfile

On = Literal["bucket", "objects"]
SID = "YoloAssets"
"""Our statements' names begin so; statements of others are left alone."""

ARCHIVER: dict[On, tuple[str, ...]] = {
    "bucket": (
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:ListBucketMultipartUploads",
        "s3:GetBucketObjectLockConfiguration",
    ),
    "objects": (
        "s3:PutObject",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:PutObjectRetention",
        "s3:GetObjectRetention",
    ),
}
AUDITOR: dict[On, tuple[str, ...]] = {
    "bucket": ("s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketObjectLockConfiguration"),
    "objects": (
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:GetObjectRetention",
        "s3:GetObjectLegalHold",
        "s3:RestoreObject",
    ),
}
OPERATOR: dict[On, tuple[str, ...]] = {
    "bucket": (
        "s3:CreateBucket",
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:GetBucketVersioning",
        "s3:PutBucketVersioning",
        "s3:GetBucketObjectLockConfiguration",
        "s3:PutBucketObjectLockConfiguration",
        "s3:GetEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:GetBucketPolicy",
        "s3:PutBucketPolicy",
    ),
    "objects": (
        "s3:PutObject",  # an object of its own, by which a retention is proven
        "s3:PutObjectRetention",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:GetObjectRetention",
        "s3:GetObjectLegalHold",
        "s3:PutObjectLegalHold",
    ),
}
# What the archiver may never do, whatever another policy allows.
FORBIDDEN: dict[On, tuple[str, ...]] = {
    "bucket": ("s3:DeleteBucket", "s3:PutBucketPolicy", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration"),
    "objects": ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
}
ROLES = {"archiver": ARCHIVER, "auditor": AUDITOR, "operator": OPERATOR}
KMS = ("kms:GenerateDataKey", "kms:Decrypt")


@dataclass(frozen=True)
class BucketPlace:
    """Where the archive root lies.

    Attributes:
        bucket: its name.
        prefix: of the root, without slashes around it; may be empty.
    """

    bucket: str = "BUCKET"
    prefix: str = "PREFIX"

    def arn(self, on: On) -> str:
        """What a statement is about."""
        whole = f"arn:aws:s3:::{self.bucket}"
        if on == "bucket":
            return whole
        return f"{whole}/{self.prefix}/*" if self.prefix else f"{whole}/*"


def role_policy(role: str, place: BucketPlace, *, kms_key: str | None = None) -> dict[str, Any]:
    """What to attach to the archiver, auditor or operator, where users have policies of their own (AWS, MinIO)."""
    statements = [
        _statement(f"{SID}{role.title()}{on.title()}", "Allow", actions, [place.arn(on)])
        for on, actions in ROLES[role].items()
    ]
    if kms_key is not None:
        statements.append(_statement(f"{SID}{role.title()}Key", "Allow", KMS, [kms_key]))
    return _policy(statements)


def bucket_policy(profile: StoreProfile, place: BucketPlace, archiver: str) -> dict[str, Any]:
    """The policy of the bucket.

    Args:
        profile: of the store.
        place: of the archive root.
        archiver: ARN of the user or role that archives: ``arn:aws:iam::123456789012:role/archiver``, on Ceph
            ``arn:aws:iam:::user/archiver``.
    """
    principal = {"AWS": [archiver]}
    statements = []
    if profile.policy == "basic":  # users have no policies of their own: what is allowed is here too
        statements += [
            _statement(f"{SID}Archiver{on.title()}", "Allow", actions, [place.arn(on)], principal)
            for on, actions in ARCHIVER.items()
        ]
    statements += [
        _statement(f"{SID}NoDeletion{on.title()}", "Deny", actions, [place.arn(on)], principal)
        for on, actions in FORBIDDEN.items()
    ]
    if profile.policy == "full":
        insecure = _statement(
            f"{SID}OnlyTls", "Deny", ("s3:*",), [place.arn("bucket"), f"{place.arn('bucket')}/*"], "*"
        )
        statements.append({**insecure, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
    return _policy(statements)


def _statement(sid: str, effect: str, actions: Sequence[str], resources: list[str], who: Any = None) -> dict[str, Any]:
    principal = {} if who is None else {"Principal": who}
    return {"Sid": sid, "Effect": effect, **principal, "Action": list(actions), "Resource": resources}


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
