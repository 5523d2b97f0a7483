"""Who may do what in the store root, by prefix: a key that leaks from a training or a device writes nothing else.

A training reads datasets and models and writes its own files and bundles, never a signature; a device reads what it
serves and writes what it reports. The archiver has no rights here, and none of these roles has any in the archive root.
Listing shows names of the whole bucket: a condition on prefixes would be one more that stores read differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_assets.contracts.names import DEVICE_AUDITS, FLEET
from yolo_assets.storage.admin.policy import SID, BucketPlace

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_DELETE = ("s3:DeleteObject",)
_BUCKET = ("s3:ListBucket", "s3:ListBucketMultipartUploads")


@dataclass(frozen=True)
class StoreRights:
    """What a role may do, by prefixes of the store root; ``""`` is all of it.

    Attributes:
        read: objects that it may read.
        write: objects that it may write and overwrite.
        delete: objects that it may delete.
        never_write: patterns among ``write`` that it may not write all the same.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    delete: tuple[str, ...] = ()
    never_write: tuple[str, ...] = ()


STORE_ROLES: Mapping[str, StoreRights] = {
    "platform": StoreRights(read=("",), write=("",), delete=("",)),
    "training": StoreRights(
        read=("datasets/", "models/", "training/"),
        write=("models/", "training/"),
        delete=("training/",),  # checkpoints of a training that is done
        # Promotion signs, and it alone. An asterisk for each folder: Ceph 16.2 does not try a second place for one.
        never_write=("models/*/*/manifest.json.dsse", "models/*/*/manifest.json.sig"),
    ),
    "edge": StoreRights(read=("channels/", "models/", FLEET, DEVICE_AUDITS), write=(FLEET, DEVICE_AUDITS)),
}


def store_statements(role: str, place: BucketPlace, principal: str | None = None) -> list[dict[str, Any]]:
    """The statements of a role.

    Args:
        role: a name in ``STORE_ROLES``.
        place: of the store root.
        principal: ARN of the user, in the policy of a bucket; None in a policy that is attached to the user.
    """
    rights = STORE_ROLES[role]
    who = {} if principal is None else {"Principal": {"AWS": [principal]}}

    def statement(what: str, effect: str, actions: tuple[str, ...], resources: list[str]) -> dict[str, Any]:
        sid = f"{SID}{role.title()}{what}"
        return {"Sid": sid, "Effect": effect, **who, "Action": list(actions), "Resource": resources}

    made = [statement("Bucket", "Allow", _BUCKET, [place.arn("bucket")])]
    for what, actions, prefixes in (
        ("Reads", _READ, rights.read),
        ("Writes", _WRITE, rights.write),
        ("Deletes", _DELETE, rights.delete),
    ):
        if prefixes:
            made.append(statement(what, "Allow", actions, [_below(place, prefix) for prefix in prefixes]))
    if rights.never_write:
        forbidden = [_below(place, pattern).removesuffix("*") for pattern in rights.never_write]
        made.append(statement("NeverWrites", "Deny", ("s3:PutObject",), forbidden))
    return made


def store_policy(role: str, place: BucketPlace) -> dict[str, Any]:
    """What to attach to a user of the store root, where users have policies of their own (AWS, MinIO)."""
    return {"Version": "2012-10-17", "Statement": store_statements(role, place)}


def store_bucket_policy(place: BucketPlace, principals: Mapping[str, str]) -> dict[str, Any]:
    """The policy of the store's bucket, where users have none of their own (Ceph).

    Args:
        place: of the store root.
        principals: role to the ARN of its user, like ``arn:aws:iam:::user/training``.
    """
    statements = [
        statement for role, principal in principals.items() for statement in store_statements(role, place, principal)
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _below(place: BucketPlace, prefix: str) -> str:
    return place.arn("objects").removesuffix("*") + f"{prefix}*"
