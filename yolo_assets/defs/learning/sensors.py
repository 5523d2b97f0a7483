"""The labels sensor: imports what people put into the inbox and reports it as ``labels``."""

import hashlib

import dagster as dg

from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.defs.locations import Locations
from yolo_assets.defs.metadata import table


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
    listing = hashlib.sha256(
        "\n".join(f"{info.key} {info.etag}" for info in store.list(LABELS_INBOX)).encode()
    ).hexdigest()
    if listing == context.cursor:
        return dg.SkipReason("the inbox did not change")
    report = import_inbox(store, locations.class_names or None)
    for problem in report.problems:
        context.log.warning(problem)
    if not report.new:
        return dg.SensorResult(cursor=listing, skip_reason="every file was imported before")
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
    )
