"""What ultralytics' own loader sees in a training folder: every picture, upright, with its box on the object."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import orjson

from yolo_assets.learning.dataset import build_dataset
from yolo_assets.learning.formats import coco
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.labels import import_inbox
from yolo_assets.learning.training_folder import materialise
from yolo_assets_tests.learning.foreign_line import ForeignLine
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.picture_files import ORIENTED, odd_but_sound, saved, scene

LOADER = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
from yolo_assets.training.environment import load_ultralytics, quiet_environment
quiet_environment(folder.parent / "config", 1)
load_ultralytics()
from ultralytics.data.dataset import YOLODataset
dataset = YOLODataset(img_path=str(folder / "images" / "train"), data={"names": {0: "crack"}, "channels": 3}, imgsz=48)
found = []
for number, label in enumerate(dataset.labels):
    image = dataset.load_image(number)[0]
    height, width = image.shape[:2]
    cx, cy, w, h = label["bboxes"][0]
    part = image[round((cy - h / 2) * height) : round((cy + h / 2) * height) or 1,
                 round((cx - w / 2) * width) : round((cx + w / 2) * width) or 1].reshape(-1, 3).mean(0)
    found.append([Path(label["im_file"]).stem, label["shape"], [float(value) for value in part]])
print(json.dumps(found))
"""


def test_ultralytics_sees_what_people_labelled(tmp_path: Path) -> None:
    line = ForeignLine(World.make(tmp_path))
    for orientation in range(1, 9):
        for kind in ORIENTED:
            size = {"width": 48, "height": 32} if orientation in (1, 5, 6, 7, 8) else {"width": 1, "height": 1}
            line.add(f"{kind}{orientation}", kind.lower(), saved(scene(), kind, orientation), **size)
    for case, (ending, data) in odd_but_sound().items():
        line.add(case, ending, data)
    line.process()
    batch = line.batch().manifest
    assert batch is not None
    images = []
    for item in batch.items:  # boxes as drawn by somebody who sees the copies; the red patch, wherever it is
        boxes = [RawBox(p.bbox, "crack") for p in item.predictions] or [RawBox((1, 1, 9, 9), "crack")]
        images.append(RawImage(name=item.file, width=item.width, height=item.height, boxes=boxes))
    line.world.store.put("labels/inbox/all.json", coco.write(images, ("crack",)))
    report = import_inbox(line.world.store)
    assert not report.problems and report.images == len(line.names)
    dataset = build_dataset(line.world.store, line.archive, shares={"train": 1.0})
    items = {item.sha256: item for item in dataset.manifest.items}
    folder = materialise(line.world.store, dataset, tmp_path / "dataset")
    before = {path: path.read_bytes() for path in (folder / "images").rglob("*.*")}
    child = subprocess.run(
        [sys.executable, "-c", LOADER, str(folder)], capture_output=True, text=True, timeout=240, check=True
    )
    found = {stem: (shape, colour) for stem, shape, colour in orjson.loads(child.stdout.splitlines()[-1])}
    assert found.keys() == items.keys()
    for sha256, (shape, (blue, green, red)) in found.items():
        item = items[sha256]
        assert tuple(shape) == (item.height, item.width)
        case = next(name for name, path in line.names.items() if path == item.image_path)
        coloured = not any(word in case for word in ("grey", "16_bit", "one_bit")) and case[-1] not in "234"
        assert not coloured or (red > 150 and blue < 110 and green < 110), (case, PurePosixPath(item.image_path).suffix)
    for path, data in before.items():
        assert path.read_bytes() == data  # nothing was found cut short and written anew
