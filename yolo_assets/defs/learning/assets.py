"""``annotation_batch``, ``labels`` (external), ``training_dataset``, ``suspicious_labels``."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from yolo_assets.contracts.names import annotation_key, dataset_key
from yolo_assets.contracts.times import parse_time, utc_now
from yolo_assets.defs.automation import daily, on_change
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.learning.checks import (
    EVERY_CLASS_IN_EVERY_SPLIT,
    NO_LEAK_BETWEEN_SPLITS,
    every_class_in_every_split,
    no_leak_between_splits,
)
from yolo_assets.defs.metadata import listed, table
from yolo_assets.defs.resources import Locations

_MOST_SHOWN = 200


class SamplingConfig(dg.Config):
    """From which frames the batch is chosen, and how many."""

    budget: int = Field(default=200, gt=0, description="frames that people are asked to label")
    since: str | None = Field(default=None, description="ISO time; default: the last seven days")
    until: str | None = Field(default=None, description="ISO time; default: now")
    seed: int = 0


@dg.asset(
    deps=["archive_catalog", "detections", "drift_report"],
    automation_condition=daily(),
    group_name="learning",
    kinds={"labelstudio"},
    owners=["team:data"],
    code_version=code_version(
        "learning/batch.py", "learning/candidates.py", "learning/looks.py", "learning/sampling.py"
    ),
    description=(
        "Frames chosen from the archive under a budget (uncertain, drifting, rare, novel, diverse, random; reasons are "
        "kept; a dirty camera takes no slot, an object one) with the model's predictions, ready for Label Studio or "
        "any COCO tool."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def annotation_batch(
    context: dg.AssetExecutionContext, config: SamplingConfig, locations: Locations
) -> dg.MaterializeResult:
    """Sample the archive and write the batch. Without anything new to label there is no new batch."""
    from yolo_assets.learning.batch import make_batch
    from yolo_assets.learning.candidates import gather_candidates
    from yolo_assets.learning.labels import batches
    from yolo_assets.learning.looks import frame_looks
    from yolo_assets.learning.plant_classes import offered_class_names

    store, archive = locations.store(), locations.archive_to_read(context.log.warning)
    until = parse_time(config.until) if config.until else utc_now()
    since = parse_time(config.since) if config.since else until - timedelta(days=7)
    requested = {item.image_path for batch in batches(store) for item in batch.items}
    pool = gather_candidates(store, archive, since, until, labelled=requested, seed=config.seed)
    looks = frame_looks(archive, pool.candidates, seed=config.seed)
    made = make_batch(
        store,
        archive,
        pool,
        config.budget,
        seed=config.seed,
        labelled=requested,
        class_names=offered_class_names(store, locations.settings),
        looks=looks,
    )
    left_out = pool.left_out | made.left_out
    told = {
        "frames_looked_at": pool.frames,
        "pictures_looked_at": len(looks),
        "bad_pictures": listed(
            [f"{camera}: {why}" for camera, why in sorted(pool.bad_pictures.items())], "every camera's picture is well"
        ),
        "kept_apart_by": "object" if pool.by_object else "time",
        "left_out": len(left_out),
        "left_out_why": _reasons(left_out),
        "boxes_left_out": _reasons(made.boxes_left_out),
    }
    if left_out:
        context.log.warning(f"{len(left_out)} frames or archives were left out; the first: {min(left_out.values())}")
    batch = made.manifest
    if batch is None:
        return dg.MaterializeResult(
            metadata={"frames": 0, "candidates": len(pool.candidates), "already_asked": len(requested)} | told
        )
    reasons = Counter(item.reason for item in batch.items)
    return dg.MaterializeResult(
        metadata={
            "batch": batch.batch,
            "frames": len(batch.items),
            "candidates": len(pool.candidates),
            "reasons": table(
                [{"reason": reason, "frames": count} for reason, count in reasons.most_common()],
                {"reason": str, "frames": int},
            ),
            "where": locations.links().stored("store", annotation_key(batch.batch)),
            **locations.links().batch_sheet(batch.batch),
            **locations.links().label_tool(),
            "next": "label the frames, then put the tool's export into labels/inbox/ of the store",
        }
        | told,
        data_version=dg.DataVersion(batch.batch),
    )


def _reasons(by_name: Mapping[str, str]) -> dg.TableMetadataValue:
    """What was left out, and why; of very many the first."""
    shown = [{"what": name, "why": why} for name, why in sorted(by_name.items())[:_MOST_SHOWN]]
    if len(by_name) > _MOST_SHOWN:
        shown.append({"what": f"and {len(by_name) - _MOST_SHOWN} more", "why": "sample a shorter time to see them"})
    return table(shown, {"what": str, "why": str})


labels = dg.AssetSpec(
    "labels",
    deps=["annotation_batch"],
    group_name="learning",
    kinds={"labelstudio"},
    owners=["team:data"],
    description=(
        "What people labelled: exports of a labelling tool, put into labels/inbox/ of the store; the "
        "labels sensor validates them, accepts what is valid and reports what is not."
    ),
)


@dg.asset(
    deps=["labels"],
    automation_condition=on_change(),
    check_specs=[NO_LEAK_BETWEEN_SPLITS, EVERY_CLASS_IN_EVERY_SPLIT],
    group_name="learning",
    kinds={"yolo"},
    owners=["team:data"],
    code_version=code_version("learning/dataset.py", "learning/split.py", "learning/series.py"),
    description="A content-addressed dataset version with frozen splits; the test split is never trained on.",
    retry_policy=RETRY_POLICY,
)
@by_kind
def training_dataset(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Build the version that follows from all accepted labels; unchanged labels give the same version."""
    from yolo_assets.learning.dataset import build_dataset, latest_dataset

    store = locations.store()
    before = latest_dataset(store)
    dataset = build_dataset(
        store, locations.archive_to_read(context.log.warning), class_names=locations.settings.class_names
    )
    manifest = dataset.manifest
    return dg.MaterializeResult(
        metadata={
            "dataset": dataset.sha256,
            "where": locations.links().stored("store", dataset_key(dataset.sha256)),
            "parent": manifest.parent or "none",
            "dagster/row_count": len(manifest.items),
            "counts": table(
                [{"counted": name, "count": count} for name, count in sorted(manifest.counts.items())],
                {"counted": str, "count": int},
            ),
            "excluded": len(manifest.excluded),
            "warnings": dg.MetadataValue.md("\n".join(f"- {warning}" for warning in manifest.warnings) or "none"),
        },
        data_version=dg.DataVersion(dataset.sha256),
        check_results=[
            no_leak_between_splits(manifest, before.manifest if before else None),
            every_class_in_every_split(manifest),
        ],
    )


@dg.asset(
    deps=["training_dataset", "promoted_model"],
    automation_condition=daily(),
    group_name="learning",
    kinds={"labelstudio"},
    owners=["team:data"],
    code_version=code_version("learning/review.py", "learning/suspicion.py"),
    description=(
        "Labels of the newest dataset that may be wrong (overlooked, swapped, misplaced), found by the model that "
        "serves and by differences between rounds; a review batch shows them to people."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def suspicious_labels(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Let the model look at the dataset; a dataset that it has looked at is not looked at again."""
    from yolo_assets.contracts.model import ONNX
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.learning.review import review_labels
    from yolo_assets.vision.model import Model

    store, registry = locations.store(), locations.registry()
    if latest_dataset(store) is None:
        return dg.MaterializeResult(metadata={"summary": "there is no dataset yet"})
    pointer = registry.channel(locations.settings.model_name, "stable").pointer()
    model = None
    if pointer is not None:
        bundle = registry.read_bundle(pointer.name, pointer.version, only=[ONNX])
        model = Model.load(bundle.manifest, bundle.files, engine="onnxruntime", threads=2)
    try:
        report = review_labels(store, model)
    finally:
        if model is not None:
            model.close()
    for path, why in report.unreadable.items():
        context.log.warning(f"{path} was not looked at: {why}")
    kinds = Counter(one.kind for one in report.suspects)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    batch: dict[str, Any] = {}
    if report.batch is not None:
        batch = {
            "where": locations.links().stored("store", annotation_key(report.batch)),
            **locations.links().batch_sheet(report.batch),
            **locations.links().label_tool(),
            "next": "correct the labels in Label Studio, then put its export into labels/inbox/ of the store",
        }
    return dg.MaterializeResult(
        metadata={
            "summary": f"suspicious labels in {report.images} images: {told}",
            "suspects": len(report.suspects),
            "model": report.model_version or "none released: rounds of labels were compared",
            "not_looked_at": len(report.unreadable),
            "surest": listed([f"{one.image_path}: {one.sentence}" for one in report.suspects], "none"),
            **batch,
        },
        data_version=dg.DataVersion(report.asked),
    )
