"""An annotator that never errs: answers an annotation batch from the truth, as the COCO file a person would export.

The file goes where any other goes: into ``labels/inbox/``, through the same import and its checks. It names its
annotator, so that simulated labels are never taken for human ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.truth import truth_for

ANNOTATOR = "simulated-annotator"


def label_batch(
    manifest: Mapping[str, Any], truth: Path, *, class_names: Iterable[str] = CLASS_NAMES
) -> dict[str, Any]:
    """Labels of every frame of a batch; a frame without a defect is an image without annotations.

    Args:
        manifest: an annotation batch's ``manifest.json``: ``items`` with ``file`` and ``image_path``.
        truth: the truth folder of the simulation that made the frames.
        class_names: categories, ids counting from 1.

    Returns:
        A COCO document.

    Raises:
        BadInputError: not such a manifest, or a frame that was not simulated here.
    """
    items = manifest.get("items")
    whole = isinstance(items, list) and all(isinstance(i, dict) and {"file", "image_path"} <= i.keys() for i in items)
    if not whole or not items:
        raise BadInputError("this is not the manifest of an annotation batch: it needs items with file and image_path")
    frames = truth_for(truth, [item["image_path"] for item in items])
    ids = {name: number for number, name in enumerate(class_names, 1)}
    images, annotations = [], []
    for image_id, item in enumerate(items, 1):
        frame = frames[item["image_path"]]
        images.append(
            {
                "id": image_id,
                "file_name": item["file"],
                "image_path": item["image_path"],
                "width": frame.width,
                "height": frame.height,
                "annotator": ANNOTATOR,
                "reviewed": True,  # no box is an answer here, also where the model saw something
            }
        )
        for box in frame.boxes:
            x1, y1, x2, y2 = box.bbox
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": ids[box.class_name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "hard": box.hard,
                }
            )
    return {
        "info": {"description": "simulated labels, answered from the simulator's truth"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
