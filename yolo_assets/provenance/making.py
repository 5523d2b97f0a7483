"""How a version was made and judged, collected from the store: what the statements and the bill of materials quote.

Everything is either bound by a hash that the version's manifest names, or signed by promotion and verified here; what
is only written down in the store (recipe, machine, code) is told as such. Does not belong here: the formats of others.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.evaluation import Evaluation
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.contracts.names import parse_model_version, proposal_key, training_key
from yolo_assets.models.approvals import Approvals
from yolo_assets.models.bundle import StoredManifest
from yolo_assets.models.gate_report import GateReport
from yolo_assets.models.gate_status import read_gate_report
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError
from yolo_assets.training.jobs import RESULT, StoredJob, TrainingRan, TrainingResult
from yolo_assets.validation.content import (
    ApprovalFacts,
    DataFacts,
    approval_facts,
    data_facts,
    gate_report_key,
    judged_evaluation,
)

GATE, PROPOSAL = "gate.json", "proposal.json"
"""Originals with their own signatures, by the names that they have in an export."""


@dataclass(frozen=True)
class Making:
    """How a version came about.

    Attributes:
        stored: its manifest, with the bytes.
        job: what was asked of the training; None where it was not trained here, or that is not in the store.
        ran: what the trainer says it ran.
        data: of the dataset; None where there is none on record.
        parent_sha256: of the manifest of the version that it was trained from or built of.
        start_sha256: of the weights that training started from.
        report: the gate's, its signature verified.
        judged: the evaluation that the gate judged.
        approvals: who stands for it, and where it was served.
        originals: signed objects as they are in the store, by name.
        gaps: what is not on record, a sentence each.
    """

    stored: StoredManifest
    job: StoredJob | None
    ran: TrainingRan | None
    data: DataFacts | None
    parent_sha256: str | None
    start_sha256: str | None
    report: GateReport | None
    judged: Evaluation | None
    approvals: ApprovalFacts
    originals: dict[str, bytes]
    gaps: tuple[str, ...]

    @property
    def manifest(self) -> ModelManifest:
        """Of the version."""
        return self.stored.manifest

    @property
    def parent(self) -> str | None:
        """``<name>/<version>`` that it was trained from or built of."""
        return self.manifest.built.of if self.manifest.built is not None else self.manifest.parent_version

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every file of the bundle by name, the manifest too."""
        hashes = {name: entry.sha256 for name, entry in self.manifest.files.items()}
        return dict(sorted({**hashes, "manifest.json": self.stored.sha256}.items()))


def collect_making(registry: Registry, stored: StoredManifest, channel: str, approvals: Approvals | None) -> Making:
    """What the store says of how a version was made.

    Args:
        registry: with the key of promotion.
        stored: manifest of the version.
        channel: whose proposal and releases are told.
        approvals: of the plant; None where nobody has to approve.

    Raises:
        SignatureError: a gate report, proposal or release that no trusted key signed.
        BadInputError: one that is about another file.
    """
    manifest, store = stored.manifest, registry.store
    gaps: list[str] = []
    data = data_facts(store, manifest, gaps)
    report = read_gate_report(registry, manifest)
    if report is None:
        gaps.append("The gate never judged this version.")
    judged = judged_evaluation(store, manifest, report)
    job, ran = _training(registry, manifest, gaps)
    parent = manifest.built.of if manifest.built is not None else manifest.parent_version
    parent_sha256 = None
    if parent is not None:
        try:
            parent_sha256 = registry.read_manifest(*parse_model_version(parent), signed=False).sha256
        except (BadInputError, ObjectNotFoundError) as error:
            gaps.append(f"{parent}, which it was made from, cannot be read: {error}")
    originals: dict[str, bytes] = {}
    wanted = {GATE: gate_report_key(manifest), PROPOSAL: proposal_key(manifest.name, channel, manifest.version)}
    for name, key in wanted.items():
        try:
            if key is not None:
                originals[name] = store.get(key)
        except ObjectNotFoundError:
            continue
    return Making(
        stored=stored,
        job=job,
        ran=ran,
        data=data,
        parent_sha256=parent_sha256,
        start_sha256=job.parent_weights_sha256 if job is not None else None,
        report=report,
        judged=judged.candidate if judged is not None else None,
        approvals=approval_facts(registry, manifest, channel, approvals),
        originals=originals,
        gaps=tuple(gaps),
    )


def _training(
    registry: Registry, manifest: ModelManifest, gaps: list[str]
) -> tuple[StoredJob | None, TrainingRan | None]:
    """The request and the trainer's own words; both are written by training, which holds no key."""
    key = manifest.training_fingerprint
    if manifest.imported is not None or manifest.built is not None:
        return None, None
    if key is None:
        gaps.append("The training of this version is not on record.")
        return None, None
    try:
        job = StoredJob.from_json(registry.store.get(training_key(key, "job.json")), "job.json")
    except (BadInputError, ObjectNotFoundError):
        gaps.append("The recipe of its training is not in the store.")
        return None, None
    try:
        ran = TrainingResult.from_json(registry.store.get(training_key(key, RESULT)), RESULT).training.ran
    except (BadInputError, ObjectNotFoundError):
        ran = None
    if ran is None or not ran.code:
        gaps.append("Which code trained it is not on record.")
    return job, ran
