"""In-toto statements about a version: how it was made (SLSA provenance v1), and the gate's verdict (test result v0.1).

The formats are those of in-toto attestation v1, https://github.com/in-toto/attestation; each statement is an envelope
of its own, and ``<name>.intoto.jsonl`` holds one a line. Names of ours are URIs ``urn:yolo-assets:…``. Does not belong
here: finding the facts (``making``), the signature (``export_key``).
"""

from __future__ import annotations

import base64
from typing import Any

from yolo_assets import __version__
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.times import format_time
from yolo_assets.models.bundle import sha256_of
from yolo_assets.provenance.making import GATE, PROPOSAL, Making

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_URN = "urn:yolo-assets"

Descriptor = dict[str, Any]
"""A resource descriptor of in-toto: name, digest, and what else is known."""


def statements_of(making: Making) -> list[bytes]:
    """Every statement about a version, as JSON; the test result only where the gate judged it."""
    predicates = [(PROVENANCE, _provenance(making))]
    if making.report is not None:
        predicates.append((TEST_RESULT, _test_result(making)))
    subject = [_descriptor(name, sha256) for name, sha256 in making.files.items()]
    subject.sort(key=lambda one: one["name"] != ONNX)
    return [
        canonical_json({"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate})
        for kind, predicate in predicates
    ]


def _descriptor(name: str, sha256: str | None = None, **more: Any) -> Descriptor:
    digest = {"digest": {"sha256": sha256}} if sha256 is not None else {}
    return {"name": name, **digest, **{key: value for key, value in more.items() if value is not None}}


def _provenance(making: Making) -> dict[str, Any]:
    manifest, job, ran = making.manifest, making.job, making.ran
    kind = "training"
    external: dict[str, Any] = {}
    internal: dict[str, Any] = {}
    if manifest.imported is not None:
        kind = "import"
        external = {"file": manifest.imported.file, "note": manifest.imported.note}
        internal = {"by": manifest.imported.by, "changes": list(manifest.imported.changes)}
    elif manifest.built is not None:
        kind = "build"
        external = {"of": manifest.built.of, "precision": manifest.built.precision}
        internal = {"by": manifest.built.by, "tool": manifest.built.tool, "pictures": manifest.built.pictures}
    elif job is not None:
        external = {"recipe": job.spec.model_dump(mode="json")}
        internal = {"fingerprint": manifest.training_fingerprint, "libraries": job.libraries}
        if ran is not None:
            internal |= {"ran": ran.model_dump(mode="json")}
    external["model"] = manifest.model_version
    if manifest.class_list is not None:
        external["class_list"] = manifest.class_list.label
    version = ran.code if ran is not None and ran.code else {"version": "unknown"}
    metadata = {"finishedOn": format_time(manifest.created_at)}
    if manifest.training_fingerprint is not None:
        metadata["invocationId"] = manifest.training_fingerprint
    if job is not None:
        metadata["startedOn"] = format_time(job.started_at)
    return {
        "buildDefinition": {
            "buildType": f"{_URN}:{kind}:v1",
            "externalParameters": external,
            "internalParameters": internal,
            "resolvedDependencies": _dependencies(making),
        },
        "runDetails": {
            "builder": {"id": f"{_URN}:platform", "version": dict(version)},
            "metadata": metadata,
            "byproducts": _byproducts(making),
        },
    }


def _dependencies(making: Making) -> list[Descriptor]:
    """What went in: dataset, label files, start weights, the version before, the code."""
    manifest, data = making.manifest, making.data
    found: list[Descriptor] = []
    if manifest.imported is not None:
        found.append(_descriptor(manifest.imported.file, manifest.imported.source_sha256))
    if manifest.dataset_sha256 is not None:
        counts = {split: facts.images for split, facts in data.splits.items()} if data is not None else None
        found.append(_descriptor("dataset", manifest.dataset_sha256, mediaType="application/json", annotations=counts))
    for label in data.label_files if data is not None else ():
        by = {"labelled_by": list(label.by)} if label.by else None
        found.append(_descriptor(f"labels/{label.file}", label.sha256, annotations=by))
    if making.start_sha256 is not None:
        found.append(_descriptor("start weights", making.start_sha256))
    if making.parent is not None:
        found.append(_descriptor(making.parent, making.parent_sha256))
    code = making.ran.code if making.ran is not None else {}
    if code:
        commit = code.get("git_commit", "")
        whole = {"gitCommit": commit} if len(commit) == 40 else {}
        found.append({
            "name": "yolo_assets",
            "uri": f"pkg:pypi/yolo-assets@{code.get('version', __version__)}",
            **({"digest": whole} if whole else {}),
            "annotations": code,
        })  # fmt: skip
    return found


def _byproducts(making: Making) -> list[Descriptor]:
    """What came beside the files: the gate's report, the proposal with the signatures on it, and each release."""
    found: list[Descriptor] = []
    agreed, originals = making.approvals, making.originals
    if making.report is not None and GATE in originals:
        said = {"answer": making.report.verdict, "summary": making.report.summary}
        found.append(_descriptor(GATE, sha256_of(originals[GATE]), annotations=said))
    if PROPOSAL in originals:
        signed = [one.model_dump(mode="json") for one in agreed.signatures]
        said = {"approved_by": list(agreed.approved_by), "signatures": signed, "needed": agreed.needed or 0}
        if agreed.proposed_at is not None:
            said |= {"proposed_by": agreed.proposed_by, "proposed_at": format_time(agreed.proposed_at)}
        found.append(_descriptor(PROPOSAL, sha256_of(originals[PROPOSAL]), annotations=said))
    for release in agreed.releases:
        said = release.model_dump(mode="json")
        found.append(_descriptor(f"release {release.release} of {release.channel}", annotations=said))
    return found


def _test_result(making: Making) -> dict[str, Any]:
    report = making.report
    assert report is not None
    policy = canonical_json(report.policy.model_dump(mode="json"))
    limits = _descriptor(
        "gate policy",
        sha256_of(policy),
        mediaType="application/json",
        content=base64.b64encode(policy).decode(),
    )
    return {
        "result": "PASSED" if report.passed else "FAILED",
        "configuration": [limits, _descriptor("test set", report.test_sha256)],
        "passedTests": [rule.rule for rule in report.rules if rule.passed and rule.judged],
        "failedTests": [rule.rule for rule in report.rules if not rule.passed],
    }
