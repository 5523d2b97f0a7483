"""The gate's verdict on a version that was brought: measured on labels of the plant, kept and signed like any other.

Does not belong here: reading the labels (``learning.test_set``), the rules (``models.gate``), moving a channel.
"""

from __future__ import annotations

from pathlib import Path

from yolo_assets.classes.stored import read_class_list
from yolo_assets.learning.dataset import Dataset
from yolo_assets.models.gate import decide
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport
from yolo_assets.models.gate_status import anchor_of
from yolo_assets.models.gated_release import keep_report
from yolo_assets.models.promotion import Promoter
from yolo_assets.training.candidates import evaluate_candidate


def judge_version(
    promoter: Promoter,
    name: str,
    version: str,
    test_set: Dataset,
    policy: GatePolicy,
    work_dir: Path,
    *,
    channel: str = "stable",
) -> GateReport:
    """Evaluate a registered version on a test set, against what the channel serves, and keep the gate's report.

    Args:
        promoter: registry and promotion key; no channel is moved.
        name: of the model.
        version: of the model.
        test_set: its split ``test`` counts.
        policy: the limits; a build is asked to be no worse, whatever they ask of a new model.
        work_dir: local folder.
        channel: whose version is the champion; none where it does not exist, or serves this version.

    Raises:
        UserError: the evaluation failed; the message says why.
    """
    registry = promoter.registry
    serving = registry.channel(name, channel).pointer()
    champion = None if serving is None or serving.version == version else serving.model_version
    manifest = registry.read_manifest(name, version, signed=False).manifest
    served = None
    if serving is not None and champion is not None:
        served = registry.read_manifest(name, serving.version).manifest
    if manifest.built is not None:
        # The same network with cheaper arithmetic cannot be better; that it is no worse is what is asked.
        policy = policy.model_copy(update={"improvement": "not_worse"})
    anchor = anchor_of(registry, manifest, channel)
    evaluated = evaluate_candidate(
        registry, test_set, manifest.model_version, champion, work_dir, anchor=anchor, nice=0
    )
    report = decide(
        evaluated.comparison,
        policy,
        class_names=manifest.class_names,
        champion_class_names=served.class_names if served else None,
        class_list=manifest.class_list,
        champion_class_list=served.class_list if served else None,
        plant_classes=read_class_list(registry.store),
    )
    keep_report(promoter, manifest, report)
    return report
