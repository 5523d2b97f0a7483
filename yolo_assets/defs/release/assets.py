"""``trained_weights`` and ``promoted_model``: a candidate, and whether it is released."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.defs.automation import on_good_change, on_training_due
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.launched_by import acting_for
from yolo_assets.defs.links import UiLinks
from yolo_assets.defs.metadata import table
from yolo_assets.defs.release.checks import EXPORTED_FILE_EVALUATED, GATE_PASSED, exported_file_evaluated, gate_passed
from yolo_assets.defs.release.training import train
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.contracts.evaluation import PairedEvaluation
    from yolo_assets.training.jobs import TrainingRan
    from yolo_assets.training.spec import Recipe, TrainSpec

CHANNEL = "stable"


def champion_of(locations: Locations) -> str | None:
    """``<name>/<version>`` that the stable channel serves, its signature checked; None before the first release."""
    pointer = locations.registry().channel(locations.settings.model_name, CHANNEL).pointer()
    return pointer.model_version if pointer else None


@dg.asset(
    deps=["training_dataset"],
    automation_condition=on_training_due(),
    check_specs=[EXPORTED_FILE_EVALUATED],
    pool="training",
    group_name="release",
    kinds={"pytorch", "yolo", "onnx"},
    owners=["team:data"],
    code_version=code_version("training", "vision"),
    description=(
        "Prepare, train, export, evaluate: each in a process of its own, resumed after eviction. The same dataset, "
        "recipe and parent return the earlier result."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def trained_weights(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Train a candidate from the champion's weights (or from random ones) and evaluate the exported file."""
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.training.candidates import evaluate_candidate

    registry, settings = locations.registry(), locations.settings
    dataset = latest_dataset(registry.store)
    if dataset is None:
        raise BadInputError("there is no dataset yet; materialize training_dataset first")
    champion = champion_of(locations)
    spec, checkpoint = next_training(locations, champion, dataset.sha256)
    result = train(context, locations, dataset, spec)
    other = None if champion == result.model_version else champion
    evaluated = evaluate_candidate(registry, dataset, result.model_version, other, settings.home / "training")
    return dg.MaterializeResult(
        metadata={
            "model": result.model_version,
            "fingerprint": result.fingerprint,
            "dataset": dataset.sha256,
            "parent": result.parent or (str(checkpoint) if checkpoint is not None else "random weights"),
            "reused": result.reused,
            "epochs": result.training.epochs,
            "training_s": round(result.training.seconds, 1),
            "cpu_s": round(result.training.cpu_seconds, 1),
            "peak_rss_mb": round(result.training.peak_rss_bytes / 1e6, 1),
            "device": result.training.device,
            **ran_metadata(result.training.ran),
            **locations.links().report(result.model_version),
            **evaluation_metadata(evaluated.comparison),
            **locations.links().plots(evaluated.plots, evaluated.stored),
            **_curve(locations, result.fingerprint),
        },
        data_version=dg.DataVersion(result.fingerprint),
        check_results=[exported_file_evaluated(evaluated.comparison.candidate)],
    )


@dg.asset(
    deps=["trained_weights"],
    automation_condition=on_good_change(),
    check_specs=[GATE_PASSED],
    pool="release",
    group_name="release",
    kinds={"onnx"},
    owners=["team:quality"],
    code_version=code_version("models"),
    description=(
        "The newest candidate against the champion: confidence interval, per-class floors, hard cases, latency. "
        "If it passes, it is signed and the stable channel moves; if it is refused, the report says why."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def promoted_model(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Put the candidate through the gate; everything the decision rests on is verified again here."""
    from yolo_assets.classes.stored import read_class_list
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.contracts.names import parse_model_version
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.events.announcer import announcer_of, moved
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.models.approvals import ApprovalsMissingError
    from yolo_assets.models.gate_policy import GatePolicy
    from yolo_assets.models.gate_status import anchor_of
    from yolo_assets.models.gated_release import release_candidate
    from yolo_assets.models.rollout import release_in_waves
    from yolo_assets.trail.trail import AuditTrail
    from yolo_assets.training.candidates import evaluate_candidate

    registry, settings = locations.registry(), locations.settings
    candidate = _newest_candidate(context)
    dataset = latest_dataset(registry.store)
    if candidate is None or dataset is None:
        raise BadInputError("there is no candidate yet; materialize trained_weights first")
    champion = champion_of(locations)
    policy = GatePolicy.load(settings.gate_policy)
    compared = None if champion == candidate else champion
    manifest = registry.read_manifest(*parse_model_version(candidate), signed=False).manifest
    anchor = anchor_of(registry, manifest, CHANNEL)
    evaluated = evaluate_candidate(registry, dataset, candidate, compared, settings.home / "training", anchor=anchor)
    if champion == candidate:
        return _served_already(candidate, evaluated.comparison, locations.links())
    promoter, rollout = locations.plant_promoter(), load_plant(settings).rollout
    by, target = acting_for(context.run, "promoted_model"), TrailTarget(model=candidate, channel=CHANNEL)
    trail = AuditTrail.of(settings, by, role=f"Dagster run {context.run_id}")
    try:
        with trail.recording("models promote", target) as act:
            outcome = release_candidate(
                promoter,
                evaluated.comparison,
                policy,
                channel=CHANNEL,
                by=by,
                release=release_in_waves(promoter, rollout) if rollout is not None else None,
                plant_classes=read_class_list(registry.store),
            )
            moved_to = f"done: release {outcome.pointer.release}" if outcome.pointer else "not released"
            act.result = f"{moved_to}: {outcome.report.summary}"
    except ApprovalsMissingError as error:
        return _waits_for_people(candidate, champion, str(error), evaluated.comparison, locations.links())
    if outcome.pointer is not None:
        with announcer_of(settings, context.log.warning) as announcer:
            announcer.announce(moved(outcome.pointer))
    report = outcome.report
    return dg.MaterializeResult(
        metadata={
            "model": candidate,
            "champion": champion or "none yet",
            "anchor": anchor or "the champion",
            "answer": report.verdict,
            "verdict": report.summary,
            "labels_needed": report.plan or "none",
            **locations.links().report(candidate),
            "gate": dg.MetadataValue.md(report.to_markdown()),
            "release": outcome.pointer.release if outcome.pointer else "unchanged",
            **({"released_by": outcome.pointer.moved_by, "why": outcome.pointer.reason} if outcome.pointer else {}),
            **evaluation_metadata(evaluated.comparison),
            **locations.links().plots(evaluated.plots, evaluated.stored),
        },
        data_version=dg.DataVersion(outcome.pointer.model_version if outcome.pointer else champion or "none"),
        check_results=[gate_passed(report.passed, report.summary)],
    )


def next_training(
    locations: Locations, champion: str | None, dataset_sha256: str, recipe: "Recipe | None" = None
) -> "tuple[TrainSpec, Path | None]":
    """What is trained next, and the file of the plant that it starts from, where there is one.

    Args:
        locations: with the plant's recipe.
        champion: ``<name>/<version>`` that serves.
        dataset_sha256: the dataset version.
        recipe: in place of the plant's.

    Raises:
        BadInputError: the recipe does not fit, or running agents would refuse the result.
    """
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.contracts.names import parse_model_version
    from yolo_assets.training.architectures import agents_refuse
    from yolo_assets.training.candidates import keep_start_weights
    from yolo_assets.training.spec import DEFAULT_ARCHITECTURE, Recipe

    registry, settings = locations.registry(), locations.settings
    if recipe is None:
        recipe = Recipe.load(settings.training_recipe) if settings.training_recipe else Recipe()
    parent, imgsz = _parent(locations, champion, dataset_sha256)
    checkpoint = recipe.weights(parent)
    weights = keep_start_weights(registry.store, checkpoint) if checkpoint is not None else None
    spec = recipe.spec(settings.model_name, parent, imgsz, weights=weights)
    if champion is not None and not recipe.agents_start_anew:
        serving = registry.read_manifest(*parse_model_version(champion), signed=False).manifest
        from_nothing = spec.parent is None and spec.weights is None
        architecture = spec.architecture or (DEFAULT_ARCHITECTURE if from_nothing else None)
        if refusal := agents_refuse(serving, architecture, spec.sides):
            raise BadInputError(
                f"nothing is trained: agents that serve {champion} would refuse the result ({'; '.join(refusal)}); "
                "change the training recipe, or set agents_start_anew in it and start each agent with an empty state "
                "folder after the release"
            )
    return spec, checkpoint


def _parent(
    locations: Locations, champion: str | None, dataset_sha256: str
) -> tuple[str | None, tuple[int, int] | None]:
    """Which weights to start from, and the champion's input size, which its successor must keep for the agents.

    The champion's weights, or those of its own parent when it was trained on this dataset already: fine-tuning a
    model on the data it was made from would give another model every night, while the champion's own inputs give its
    result back. A champion that was imported as an ONNX file has no weights.
    """
    from yolo_assets.contracts.model import WEIGHTS
    from yolo_assets.contracts.names import parse_model_version

    if champion is None:
        return None, None
    manifest = locations.registry().read_manifest(*parse_model_version(champion), signed=False).manifest
    sides = manifest.input_shape[2:]
    if WEIGHTS not in manifest.files:
        return None, sides
    trained_on_it = manifest.dataset_sha256 == dataset_sha256
    return manifest.parent_version if trained_on_it else champion, sides


def ran_metadata(ran: "TrainingRan | None") -> dict[str, Any]:
    """What was really trained, as the UI shows it; trainings of 0.1 do not tell it."""
    if ran is None:
        return {}
    height, width = (ran.imgsz, ran.imgsz) if isinstance(ran.imgsz, int) else ran.imgsz
    return {
        "architecture": ran.architecture or "not told by the checkpoint",
        "parameters": ran.parameters,
        "taken_over": f"{ran.taken_over:.0%} of the parameters",
        "input": f"{width} x {height} px",
        "batch": ran.batch,
        "hardware": ran.hardware,
        "libraries": ", ".join(f"{name} {version}" for name, version in sorted(ran.libraries.items())),
    }


def _curve(locations: Locations, fingerprint: str) -> dict[str, dg.MetadataValue[Any]]:
    """Losses and accuracy by epoch; trainings of 0.1 have no such picture."""
    from yolo_assets.contracts.names import training_key
    from yolo_assets.runtime.files import write_atomic
    from yolo_assets.storage import ObjectNotFoundError
    from yolo_assets.training.jobs import CURVE

    key = training_key(fingerprint, CURVE)
    path = locations.settings.home / "training" / fingerprint[:16] / CURVE
    try:
        data = locations.store().get(key)
    except ObjectNotFoundError:
        return {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return locations.links().plots({"epochs": path}, {"epochs": key})


def _served_already(candidate: str, comparison: "PairedEvaluation", links: UiLinks) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        metadata={
            "model": candidate,
            "verdict": "the channel serves it already",
            **links.report(candidate),
            **evaluation_metadata(comparison),
        },
        data_version=dg.DataVersion(candidate),
        check_results=[gate_passed(True, "served already")],
    )


def _waits_for_people(
    candidate: str, champion: str | None, sentence: str, comparison: "PairedEvaluation", links: UiLinks
) -> dg.MaterializeResult:
    """The gate passed it, and people must approve it: ``models approve``, then this asset again."""
    return dg.MaterializeResult(
        metadata={
            "model": candidate,
            "verdict": sentence,
            "release": "unchanged",
            **links.report(candidate),
            **evaluation_metadata(comparison),
        },
        data_version=dg.DataVersion(champion or "none"),
        check_results=[gate_passed(True, sentence)],
    )


def _newest_candidate(context: dg.AssetExecutionContext) -> str | None:
    """``<name>/<version>`` that the newest materialization of ``trained_weights`` made."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey("trained_weights"))
    if event is None or event.asset_materialization is None:
        return None
    model = event.asset_materialization.metadata.get("model")
    return str(model.value) if model is not None else None


def evaluation_metadata(comparison: "PairedEvaluation") -> dict[str, Any]:
    """Figures of a comparison, as the UI shows them."""
    candidate, champion, changes = comparison.candidate, comparison.champion, comparison.changes
    rows = [
        {
            "class": name,
            "boxes": figures.truth,
            "objects": figures.objects,
            "ap50": figures.ap50,
            "recall": figures.recall,
            "recall_by_object": figures.recall_by_object or 0.0,
            "precision": figures.precision,
            "threshold": figures.threshold or 0.0,
            "champion_ap50": champion.classes[name].ap50 if champion and name in champion.classes else None,
            "recall_change": changes.classes[name].recall.value if changes and name in changes.classes else None,
        }
        for name, figures in sorted(candidate.classes.items())
    ]
    gain = comparison.map50_gain
    alarms = candidate.false_alarms
    return {
        "map50": candidate.map50.value,
        "map50_low": candidate.map50.low,
        "map50_high": candidate.map50.high,
        "map50_95": candidate.map50_95.value,
        "map50_by_ultralytics": candidate.ultralytics_map50 or 0.0,
        "gain": f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else "no champion",
        "false_alarms_per_1000_good_frames": round(alarms, 1)
        if alarms is not None
        else "no good frame in the test set",
        "test_frames": candidate.frames,
        "test_units": f"{candidate.units} {candidate.units_are}",
        "latency_ms_p95": candidate.latency_ms_p95,
        "classes": table(
            rows,
            {
                "class": str,
                "boxes": int,
                "objects": int,
                "ap50": float,
                "recall": float,
                "recall_by_object": float,
                "precision": float,
                "threshold": float,
                "champion_ap50": float,
                "recall_change": float,
            },
        ),
    }
