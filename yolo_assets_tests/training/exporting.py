"""Makes exports of Ultralytics in another process, for the tests of imports. No test lives here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2

from yolo_assets_tests.support.ultralytics_program import run_ultralytics
from yolo_assets_tests.training import foreign_exports
from yolo_assets_tests.vision.reference_frames import reference_frames


@dataclass(frozen=True)
class Exports:
    """Exported files, the pictures that they were tried on, and what Ultralytics finds in those."""

    folder: Path
    pictures: Path

    def file(self, network: str, option: str) -> Path:
        """The exported file."""
        return self.folder / f"{network}-{option}.{'pt' if option == 'checkpoint' else 'onnx'}"

    def boxes(self, network: str, option: str) -> dict[str, list[list[float]]]:
        """What Ultralytics found with it: x1, y1, x2, y2, confidence, class, by picture."""
        return json.loads(self.file(network, option).with_suffix(".json").read_text())


def exports(folder: Path, *orders: str, pictures: int = 12) -> Exports:
    """Export ``<network>:<option>,<option>`` each, and predict the pictures with them; a network takes seconds."""
    made = Exports(folder / "exports", folder / "pictures")
    made.folder.mkdir()
    made.pictures.mkdir()
    for number, frame in enumerate(reference_frames()[:pictures]):
        cv2.imwrite(str(made.pictures / f"{number:03d}.png"), frame)
    arguments = (str(made.pictures), str(made.folder), *orders)
    run_ultralytics(foreign_exports.__file__, *arguments, folder=folder, seconds=1200)
    return made
