"""The labels sensor: imports what people put into the inbox and reports it as ``labels``."""

import hashlib

import dagster as dg

from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.defs.metadata import table
from yolo_assets.defs.resources import Locations


@dg.sensor(
    target=dg.AssetSelection.assets("training_dataset"),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Imports files from labels/inbox/ of the store and reports them to labels.",
)
def labels_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult | dg.SkipReason:
    """Read the inbox once a tick; an inbox that did not change is only listed.

    What to report follows from the accepted labels and the newest report, not from what this tick imported: a tick that
    fails between the import and its report must not keep the labels from the dataset.
    """
    from yolo_assets.learning.labels import accepted, import_inbox

    store = locations.store()
    files = [f"{info.key} {info.etag}" for info in store.list(LABELS_INBOX)]
    listing = hashlib.sha256("\n".join(files).encode()).hexdigest()
    if listing == context.cursor:
        return dg.SkipReason("the inbox did not change")
    report = import_inbox(store, locations.settings.class_names or None)
    for problem in report.problems:
        context.log.warning(problem)
    versions = sorted(labels.source_sha256 for labels in accepted(store))
    version = hashlib.sha256("\n".join(versions).encode()).hexdigest()
    if not report.new and (not versions or version == _reported(context.instance)):
        why = "every file was imported before" if files else "the inbox is empty"
        return dg.SensorResult(cursor=listing, skip_reason=why)
    return dg.SensorResult(
        asset_events=[
            dg.AssetMaterialization(
                "labels",
                metadata={
                    "files": table(
                        [
                            {
                                "file": file.file,
                                "images": file.images,
                                "boxes": file.boxes,
                                "backgrounds": file.backgrounds,
                                "problems": len(file.problems),
                            }
                            for file in report.new
                        ],
                        {"file": str, "images": int, "boxes": int, "backgrounds": int, "problems": int},
                    ),
                    "images": report.images,
                    "problems": dg.MetadataValue.md("\n".join(f"- {p}" for p in report.problems[:100]) or "none"),
                },
                tags={"dagster/data_version": version},
            )
        ],
        cursor=listing,
        # Dagster calls every tick skipped that requests no run; the reason then says what the tick did.
        skip_reason=f"imported {len(report.new)} files with {report.images} images; training_dataset follows",
    )


def _reported(instance: dg.DagsterInstance) -> str | None:
    """The version of the labels that was reported last."""
    event = instance.get_latest_materialization_event(dg.AssetKey("labels"))
    tags = event.asset_materialization.tags if event is not None and event.asset_materialization is not None else None
    return tags.get("dagster/data_version") if tags else None
