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
    """One look at the inbox a tick; an inbox that did not change is only listed."""
    from yolo_assets.learning.labels import accepted, import_inbox

    store = locations.store()
    files = [f"{info.key} {info.etag}" for info in store.list(LABELS_INBOX)]
    listing = hashlib.sha256("\n".join(files).encode()).hexdigest()
    if listing == context.cursor:
        return dg.SkipReason("the inbox did not change")
    report = import_inbox(store, locations.settings.class_names or None)
    for problem in report.problems:
        context.log.warning(problem)
    if not report.new:
        why = "every file was imported before" if files else "the inbox is empty"
        return dg.SensorResult(cursor=listing, skip_reason=why)
    versions = sorted(labels.source_sha256 for labels in accepted(store))
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
                tags={"dagster/data_version": hashlib.sha256("\n".join(versions).encode()).hexdigest()},
            )
        ],
        cursor=listing,
        # Dagster calls every tick skipped that starts no run by itself; then it should say what it did.
        skip_reason=f"imported {len(report.new)} files with {report.images} images; training_dataset follows",
    )
