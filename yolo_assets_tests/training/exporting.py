"""Makes exports of Ultralytics in another process, for the tests of imports. No test lives here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2

import yolo_assets_tests
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
    environment = os.environ | {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(folder),
        "MPLCONFIGDIR": str(folder),
        "PYTHONPATH": str(Path(yolo_assets_tests.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, foreign_exports.__file__, str(made.pictures), str(made.folder), *orders],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, f"the exports could not be made:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return made
