"""The policies and rules as files for people who set up stores by other means: ``deploy/storage``.

Written from the same sources as ``init`` uses. Placeholders in capitals are to be filled in.
"""

from __future__ import annotations

import json
from pathlib import Path

from yolo_assets.storage.admin.lifecycle import compile_lifecycle
from yolo_assets.storage.admin.policy import ROLES, Place, bucket_policy, role_policy
from yolo_assets.storage.admin.profiles import PROFILES, ProfileName

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

README = """# Policies and lifecycle rules of the archive root

Written by `yolo-assets storage policy --out deploy/storage`; change the sources, not these files.
`yolo-assets storage init --dry-run` shows what it would set for your bucket, `--apply` sets it and reads it back.
Fill in what is in capitals: `BUCKET`, `PREFIX`, `ACCOUNT`, `ARCHIVER`, the storage classes of your store.

| file | for |
|---|---|
| `archiver.json` | the user or role that archives: writes, reads, verifies, sets retention; deletes nothing |
| `auditor.json` | reading, verifying, evidence, bringing objects back from cold tiers |
| `operator.json` | `storage init` and legal holds |
| `bucket-policy.json` | the bucket: nobody who archives deletes or loosens, whatever else is allowed |
| `lifecycle.json` | tiers, expiry after a retention of {days} days, abandoned uploads |

Ceph knows users only in bucket policies, so its bucket policy also allows what the archiver needs. The store root is a
plain bucket of its own, without versions and lock; whoever runs the platform may read, write and delete there.

Aliyun OSS has neither object lock nor these policies behind its S3 API: set a WORM policy, RAM policies (PutObject,
GetObject, ListObjects, ListParts, AbortMultipartUpload; no DeleteObject) and lifecycle rules in its own console;
`storage doctor` tells what then holds.
"""


def files() -> dict[str, str]:
    """Every file, by its path below ``deploy/storage``."""
    made = {"README.md": README.format(days=RETENTION_DAYS)}
    for name, archiver in _ARNS.items():
        profile, place = PROFILES[name], Place()
        documents = {"bucket-policy": bucket_policy(profile, place, archiver)}
        if profile.policy == "full":
            documents |= {role: role_policy(role, place) for role in ROLES}
        rules = compile_lifecycle(profile, place.prefix, RETENTION_DAYS, classes=_CLASSES[name]).rules
        documents["lifecycle"] = {"Rules": list(rules)}
        for kind, document in documents.items():
            made[f"{name}/{kind}.json"] = json.dumps(document, indent=2) + "\n"
    return made


def write(folder: Path) -> list[Path]:
    """Write every file below a folder; returns their paths."""
    written = []
    for name, text in sorted(files().items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written
