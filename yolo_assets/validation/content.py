"""What a validation pack says, collected from the store.

Nothing is computed here that the gate did not rest on, except the exact intervals of counted shares and the measured
independence of the data. Does not belong here: how it is written down (``pack``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import pairwise

from pydantic import ConfigDict, Field

from yolo_assets import __version__
from yolo_assets.contracts.base import Record, Time, canonical_json
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.evaluation import Evaluation, PairedEvaluation
from yolo_assets.contracts.model import ONNX, Interval, ModelManifest
from yolo_assets.contracts.names import training_key
from yolo_assets.contracts.releasing import Meaning
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.dataset import read_dataset
from yolo_assets.learning.label_history import accepted
from yolo_assets.learning.records import DatasetItem, DatasetManifest, Split
from yolo_assets.models.approvals import Approvals
from yolo_assets.models.gate_report import GateReport
from yolo_assets.models.gate_status import COMPARISON, REPORT, read_gate_report
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_LEVEL = 0.95


class SplitFacts(Record):
    """One split of the dataset."""

    images: int
    boxes: dict[str, int] = Field(description="by class")
    backgrounds: int
    objects: int | None = Field(description="different parts or defects; None where they are not known")
    cameras: tuple[str, ...]
    first: Time | None
    last: Time | None


class LabelSource(Record):
    """One label file that went into the dataset."""

    file: str
    sha256: str
    imported_at: Time | None
    by: tuple[str, ...]


class Independence(Record):
    """How far the test pictures are from those that trained and chose the model; measured, not promised."""

    same_pictures: int = Field(description="test pictures whose bytes are in another split")
    shared_groups: int = Field(description="groups of near-duplicates that are in the test split and in another one")
    shared_objects: int | None = Field(description="objects in the test split and in another one; None: not known")
    closest_seconds: float | None = Field(
        description="between a test picture and the next one of another split of its camera; None: no times"
    )
    golden: int = Field(description="test pictures of the frozen golden set")


class DataFacts(Record):
    """The dataset that the version was trained and tested on."""

    sha256: str
    splits: dict[str, SplitFacts]
    label_files: tuple[LabelSource, ...]
    independence: Independence
    warnings: tuple[str, ...]


class LimitFacts(Record):
    """The limits of the gate, and what shows when they were set."""

    policy: dict[str, object]
    first_used_for: str = Field(description="<name>/<version> of the oldest evaluation judged by these very limits")
    first_used_at: Time | None
    set_before: bool = Field(description="they judged another version before this one was evaluated")


class CountedShare(Record):
    """A share of counted boxes, with its exact (Clopper-Pearson) interval."""

    found: int
    of: int
    interval: Interval


class ClassOutcome(Record):
    """One class on the test set, at the operating threshold."""

    truth: int
    recall: CountedShare
    precision: float
    ap50: float


class RuleOutcome(Record):
    """One rule of the gate, as its signed report has it."""

    rule: str
    passed: bool
    judged: bool
    sentence: str
    value: float | None
    limit: float | None


class OutcomeFacts(Record):
    """What was measured, and the gate's verdict."""

    frames: int
    map50: Interval
    map50_95: Interval
    gain: Interval | None
    compared_with: str | None
    classes: dict[str, ClassOutcome]
    engine: str
    latency_ms_p95: float
    evaluated_at: Time
    passed: bool
    verdict: str
    rules: tuple[RuleOutcome, ...]


class ReleaseFact(Record):
    """One time that a channel served the version."""

    channel: str
    release: int
    at: Time
    by: str
    reason: str
    forced: bool
    unjudged: bool


class SignatureFact(Record):
    """The signature of a person who approved: name, meaning, time; the last two null where they are not on record."""

    name: str
    meaning: Meaning | None
    at: Time | None


class ApprovalFacts(Record):
    """Who stands for the release."""

    needed: int | None = Field(description="people who had to approve it; None where the plant asks nobody")
    approved_by: tuple[str, ...]
    signatures: tuple[SignatureFact, ...] = Field(
        default=(), description="the same with the time and the meaning of each"
    )
    proposed_by: str | None
    proposed_at: Time | None
    releases: tuple[ReleaseFact, ...]


class ValidationRecord(Record):
    """``validation.json``: the pack for machines; the PDF says the same."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: int = 1
    made_at: Time
    made_by: str
    tool_version: str
    model_version: str
    manifest_sha256: str
    onnx_sha256: str
    class_names: tuple[str, ...]
    confidence: float = Field(description="operating threshold; those of single classes are in the manifest")
    origin: str
    intended_use: str = Field(description="as the plant states it")
    data: DataFacts | None
    limits: LimitFacts | None
    results: OutcomeFacts | None
    approvals: ApprovalFacts
    gaps: tuple[str, ...] = Field(description="what an assessor would ask for and is not on record")


def collect(
    registry: Registry,
    manifest: ModelManifest,
    manifest_sha256: str,
    *,
    intended_use: str,
    by: str,
    channel: str,
    approvals: Approvals | None,
) -> ValidationRecord:
    """Everything that the store says of a version.

    Args:
        registry: with the key of promotion.
        manifest: of the version.
        manifest_sha256: of its bytes.
        intended_use: what it is for, and what not; a person says it.
        by: who makes the pack.
        channel: whose proposal and releases count as approval.
        approvals: of the plant; None where nobody has to approve.

    Raises:
        BadInputError: no intended use; or the gate's report is about another file.
        SignatureError: the gate's report is not signed by a trusted key.
    """
    if not intended_use.strip():
        raise BadInputError('say what the model is for, with --use "finds cracks and pores on welds of line A"')
    gaps: list[str] = []
    report = read_gate_report(registry, manifest)
    comparison = judged_evaluation(registry.store, manifest, report)
    data = data_facts(registry.store, manifest, gaps)
    results = _results(comparison, report) if comparison is not None and report is not None else None
    limits = _limits(registry, manifest, report, comparison) if report is not None else None
    agreed = approval_facts(registry, manifest, channel, approvals)
    if report is None:
        gaps.append("The gate never judged this version: no limits were set, and nothing was measured against them.")
    elif comparison is None:
        gaps.append("The evaluation that the gate judged is not in the store any more: its figures are in the rules.")
    if limits is not None and not limits.set_before:
        gaps.append("No earlier use of these limits is on record: that they were set before the test is not shown.")
    if report is not None and not report.passed:
        gaps.append("The gate refused this version.")
    if agreed.needed is None:
        gaps.append("The plant asks nobody to approve a release: the names are those of who moved the channel.")
    elif len(agreed.approved_by) < agreed.needed:
        gaps.append(f"It was approved by {len(agreed.approved_by)} of {agreed.needed} people who must approve it.")
    if not agreed.releases:
        gaps.append(f"The channel {channel} never served this version.")
    return ValidationRecord(
        made_at=utc_now(),
        made_by=by,
        tool_version=__version__,
        model_version=manifest.model_version,
        manifest_sha256=manifest_sha256,
        onnx_sha256=manifest.files[ONNX].sha256,
        class_names=manifest.class_names,
        confidence=manifest.thresholds.confidence,
        origin=_origin(manifest),
        intended_use=intended_use.strip(),
        data=data,
        limits=limits,
        results=results,
        approvals=agreed,
        gaps=tuple(gaps),
    )


def _origin(manifest: ModelManifest) -> str:
    if manifest.built is not None:
        return f"built of {manifest.built.of} ({manifest.built.precision}) by {manifest.built.by}"
    if manifest.imported is not None:
        return f"imported by {manifest.imported.by} from {manifest.imported.file}: its training is not on record"
    return f"trained here from {manifest.parent_version or 'random weights, or the weights that its recipe names'}"


def judged_evaluation(
    store: ObjectStore, manifest: ModelManifest, report: GateReport | None
) -> PairedEvaluation | None:
    """The evaluation that the gate judged: of the same file on the same test set, the newest of those."""
    if manifest.evidence is None or report is None:
        return None
    found: list[PairedEvaluation] = []
    for info in store.list(training_key(manifest.evidence, "evaluation/")):
        if not info.key.endswith(f"/{COMPARISON}"):
            continue
        try:
            found.append(PairedEvaluation.from_json(store.get(info.key), info.key))
        except (BadInputError, ObjectNotFoundError):
            continue
    fitting = [
        one
        for one in found
        if (one.candidate.onnx_sha256, one.candidate.test_sha256) == (report.onnx_sha256, report.test_sha256)
        and (one.champion.model_version if one.champion else None) == report.champion
    ]
    return max(fitting, key=lambda one: one.candidate.evaluated_at, default=None)


def data_facts(store: ObjectStore, manifest: ModelManifest, gaps: list[str]) -> DataFacts | None:
    """The dataset that a version was trained and tested on; None, and a sentence in ``gaps``, where it is not known."""
    if manifest.dataset_sha256 is None:
        gaps.append("The data that trained this version are not on record.")
        return None
    try:
        dataset = read_dataset(store, manifest.dataset_sha256).manifest
    except (BadInputError, IntegrityError, ObjectNotFoundError) as error:
        gaps.append(f"The dataset cannot be read: {error}")
        return None
    files = {labels.source_sha256: labels for labels in accepted(store)}
    sources: list[LabelSource] = []
    for sha256 in dataset.labels:
        labels = files.get(sha256)
        if labels is None:
            sources.append(LabelSource(file="not in the store any more", sha256=sha256, imported_at=None, by=()))
            continue
        by = sorted({image.annotator for image in labels.images if image.annotator})
        place = LabelSource(file=labels.source_file, sha256=sha256, imported_at=labels.imported_at, by=tuple(by))
        sources.append(place)
    return DataFacts(
        sha256=manifest.dataset_sha256,
        splits={split: _split(dataset, split) for split in _SPLITS},
        label_files=tuple(sources),
        independence=independence(dataset.items),
        warnings=dataset.warnings,
    )


def _split(dataset: DatasetManifest, split: Split) -> SplitFacts:
    items = [item for item in dataset.items if item.split == split]
    boxes: defaultdict[str, int] = defaultdict(int)
    for item in items:
        for box in item.boxes:
            boxes[box.class_name] += 1
    times = [item.captured_at for item in items if item.captured_at is not None]
    return SplitFacts(
        images=len(items),
        boxes=dict(sorted(boxes.items())),
        backgrounds=sum(not item.boxes for item in items),
        objects=len(objects) if (objects := _objects(items)) is not None else None,
        cameras=tuple(sorted({item.camera_id for item in items if item.camera_id})),
        first=min(times, default=None),
        last=max(times, default=None),
    )


def _objects(items: Iterable[DatasetItem]) -> set[str] | None:
    """The objects of pictures; None where a picture with boxes does not tell them."""
    found: set[str] = set()
    for item in items:
        if item.boxes and not item.object_ids:
            return None
        found |= set(item.object_ids)
    return found


def independence(items: Collection[DatasetItem]) -> Independence:
    """What the test split shares with the others, and how near in time its pictures come."""
    test = [item for item in items if item.split == "test"]
    others = [item for item in items if item.split != "test"]
    here, there = _objects(test), _objects(others)
    return Independence(
        same_pictures=len({item.sha256 for item in test} & {item.sha256 for item in others}),
        shared_groups=len({item.group for item in test} & {item.group for item in others}),
        shared_objects=len(here & there) if here is not None and there is not None else None,
        closest_seconds=_closest(items),
        golden=sum(item.golden for item in test),
    )


def _closest(items: Iterable[DatasetItem]) -> float | None:
    """The shortest time between neighbours of one camera of which exactly one is a test picture, seconds."""
    by_camera: defaultdict[str, list[tuple[datetime, bool]]] = defaultdict(list)
    for item in items:
        if item.camera_id is not None and item.captured_at is not None:
            by_camera[item.camera_id].append((item.captured_at, item.split == "test"))
    gaps = [
        (later - earlier).total_seconds()
        for moments in by_camera.values()
        for (earlier, one), (later, other) in pairwise(sorted(moments))
        if one != other
    ]
    return min(gaps, default=None)


def _limits(
    registry: Registry, manifest: ModelManifest, report: GateReport, comparison: PairedEvaluation | None
) -> LimitFacts:
    """The policy, and the oldest version that the very same one judged, by the signed reports of the store."""
    same = canonical_json(report.policy.model_dump(mode="json"))
    used: list[tuple[datetime, str]] = []
    for entry in registry.list_bundles(manifest.name):
        try:
            other = registry.read_manifest(entry.name, entry.version, signed=False).manifest
            told = read_gate_report(registry, other)
        except UserError:
            continue
        if told is None or canonical_json(told.policy.model_dump(mode="json")) != same:
            continue
        measured = judged_evaluation(registry.store, other, told)
        used.append((measured.candidate.evaluated_at if measured else other.created_at, other.model_version))
    at, first = min(used, default=(None, manifest.model_version))
    mine = comparison.candidate.evaluated_at if comparison is not None else manifest.created_at
    return LimitFacts(
        policy=report.policy.model_dump(mode="json"),
        first_used_for=first,
        first_used_at=at,
        set_before=first != manifest.model_version and at is not None and at < mine,
    )


def _results(comparison: PairedEvaluation, report: GateReport) -> OutcomeFacts:
    candidate = comparison.candidate
    return OutcomeFacts(
        frames=candidate.frames,
        map50=candidate.map50,
        map50_95=candidate.map50_95,
        gain=comparison.map50_gain,
        compared_with=comparison.champion.model_version if comparison.champion else None,
        classes=_classes(candidate),
        engine=candidate.engine,
        latency_ms_p95=candidate.latency_ms_p95,
        evaluated_at=candidate.evaluated_at,
        passed=report.passed,
        verdict=report.summary,
        rules=tuple(
            RuleOutcome(
                rule=rule.rule,
                passed=rule.passed,
                judged=rule.judged,
                sentence=rule.sentence,
                value=rule.value,
                limit=rule.limit,
            )
            for rule in report.rules
        ),
    )


def _classes(candidate: Evaluation) -> dict[str, ClassOutcome]:
    return {
        name: ClassOutcome(
            truth=figures.truth,
            recall=counted(round(figures.recall * figures.truth), figures.truth),
            precision=figures.precision,
            ap50=figures.ap50,
        )
        for name, figures in sorted(candidate.classes.items())
    }


def counted(found: int, of: int) -> CountedShare:
    """A share of counted things with its exact interval (Clopper-Pearson, 95 %)."""
    from scipy.stats import binomtest  # takes a third of a second to import

    exact = binomtest(found, of).proportion_ci(_LEVEL, method="exact")
    interval = Interval(value=found / of, low=float(exact.low), high=float(exact.high), level=_LEVEL)
    return CountedShare(found=found, of=of, interval=interval)


def approval_facts(
    registry: Registry, manifest: ModelManifest, channel: str, approvals: Approvals | None
) -> ApprovalFacts:
    """Who approved a version on a channel, and each release that served it there."""
    proposed = approvals.status(manifest.name, channel, manifest.version) if approvals is not None else None
    releases = [
        ReleaseFact(
            channel=channel,
            release=past.entry.pointer.release,
            at=past.entry.pointer.moved_at,
            by=past.entry.pointer.moved_by,
            reason=past.entry.pointer.reason,
            forced=past.entry.pointer.forced,
            unjudged=past.entry.pointer.unjudged,
        )
        for past in registry.channel(manifest.name, channel).history().releases
        if past.state != "unconfirmed" and past.entry.pointer.version == manifest.version
    ]
    return ApprovalFacts(
        needed=approvals.needed if approvals is not None else None,
        approved_by=proposed.approved_by if proposed is not None else (),
        signatures=tuple(
            SignatureFact(name=one.name, meaning=one.meaning, at=one.at)
            for one in (proposed.signatures if proposed is not None else ())
        ),
        proposed_by=proposed.proposal.by if proposed is not None else None,
        proposed_at=proposed.proposal.proposed_at if proposed is not None else None,
        releases=tuple(releases),
    )


def gate_report_key(manifest: ModelManifest) -> str | None:
    """Where the signed report on a version lies; None for a version that says of no training, import or build."""
    return training_key(manifest.evidence, REPORT) if manifest.evidence is not None else None
