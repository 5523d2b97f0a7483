"""``raw_frames``: external, made by cameras and agents; the spool sensor reports its hours."""

import dagster as dg

from yolo_assets.defs.partitions import hourly

raw_frames = dg.AssetSpec(
    "raw_frames",
    description=(
        "Frames and detection records of all cameras, as the edge agents wrote them to the spool: one partition an "
        "hour, reported when a camera's hour is closed. The data version is the hash of the closed set."
    ),
    group_name="intake",
    kinds={"file"},
    owners=["team:edge"],
    partitions_def=hourly,
)
