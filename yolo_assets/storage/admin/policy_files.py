"""The files of ``deploy/storage``: every policy and every set of lifecycle rules, for each kind of store.

Belongs here: which file holds what. Does not belong here: who may do what (``policy`` for the archive root,
``store_policy`` for the store root), and the rules (``lifecycle``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from yolo_assets.storage.admin.lifecycle import compile_lifecycle
from yolo_assets.storage.admin.policy import ROLES, BucketPlace, bucket_policy, role_policy
from yolo_assets.storage.admin.profiles import PROFILES, ProfileName, StoreProfile
from yolo_assets.storage.admin.store_policy import STORE_ROLES, store_bucket_policy, store_policy

_ARNS: dict[ProfileName, str] = {
    "aws": "arn:aws:iam::ACCOUNT:role/ARCHIVER",
    "minio": "arn:aws:iam:::user/ARCHIVER",
    "ceph": "arn:aws:iam:::user/ARCHIVER",
}
_CLASSES: dict[ProfileName, dict[str, str]] = {
    "aws": {},
    "minio": {"infrequent": "INFREQUENT_TIER", "cold": "COLD_TIER"},
    "ceph": {"infrequent": "INFREQUENT_CLASS", "cold": "COLD_CLASS"},
}
RETENTION_DAYS = 183
"""Six months."""

README = """# Policies and lifecycle rules of the two roots

Written by `yolo-assets storage policy --out deploy/storage`; change the sources, not these files.
`yolo-assets storage init --dry-run` shows what it would set for your bucket, `--apply` sets it and reads it back.
Replace what is in capitals: `BUCKET`, `PREFIX`, `ACCOUNT`, users like `ARCHIVER`, the storage classes of your store.

| file | for |
|---|---|
| `archiver.json` | the user or role that archives: writes, reads, verifies, sets retention; deletes nothing |
| `auditor.json` | reading, verifying, evidence, bringing objects back from cold tiers |
| `operator.json` | `storage init` and legal holds |
| `bucket-policy.json` | the bucket: the archiver never deletes or weakens protection, whatever else is allowed |
| `lifecycle.json` | tiers, expiry after a retention of {days} days, abandoned uploads |

| `store-platform.json` | the store root: Dagster, which reads, writes and deletes there |
| `store-training.json` | the store root: reads datasets and models, writes models and its checkpoints, signs nothing |
| `store-edge.json` | the store root: reads channels and models, writes heartbeats and audit logs of devices |

Ceph knows users only in bucket policies, so its bucket policy also allows what the archiver needs, and
`store-bucket-policy.json` holds the three roles of the store root. The store root is a plain bucket of its own, without
versions and lock. The archiver needs nothing there, and those three nothing in the archive root, but for what Dagster
reads: give its user `auditor.json` of the archive root, and `archiver.json` where Dagster archives itself.

Aliyun OSS has neither object lock nor these policies behind its S3 API: set a WORM policy, RAM policies (PutObject,
GetObject, ListObjects, ListParts, AbortMultipartUpload; no DeleteObject) and lifecycle rules in its own console;
`storage doctor` shows what is then enforced.
"""


def policy_files() -> dict[str, str]:
    """Every file, by its path below ``deploy/storage``."""
    made = {"README.md": README.format(days=RETENTION_DAYS)}
    for name, archiver in _ARNS.items():
        profile, place = PROFILES[name], BucketPlace()
        documents = {"bucket-policy": bucket_policy(profile, place, archiver)}
        if profile.policy == "full":
            documents |= {role: role_policy(role, place) for role in ROLES}
        documents |= _of_the_store_root(profile)
        rules = compile_lifecycle(profile, place.prefix, RETENTION_DAYS, classes=_CLASSES[name]).rules
        documents["lifecycle"] = {"Rules": list(rules)}
        for kind, document in documents.items():
            made[f"{name}/{kind}.json"] = json.dumps(document, indent=2) + "\n"
    return made


def _of_the_store_root(profile: StoreProfile) -> dict[str, dict[str, Any]]:
    place = BucketPlace()
    if profile.policy == "basic":
        principals = {role: f"arn:aws:iam:::user/{role.upper()}" for role in STORE_ROLES}
        return {"store-bucket-policy": store_bucket_policy(place, principals)}
    return {f"store-{role}": store_policy(role, place) for role in STORE_ROLES}


def write_policies(folder: Path) -> list[Path]:
    """Write every file below a folder; returns their paths."""
    written = []
    for name, text in sorted(policy_files().items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written
