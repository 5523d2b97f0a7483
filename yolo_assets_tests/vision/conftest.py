"""A small model, and the reference of the parity tests: made once a session, in another process, offline."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from yolo_assets.contracts.model import ONNX, FileEntry, ModelManifest, Thresholds
from yolo_assets_tests.support.tiny_model import tiny_bundle_files
from yolo_assets_tests.support.ultralytics_program import run_ultralytics
from yolo_assets_tests.vision import ultralytics_reference as program
from yolo_assets_tests.vision.reference_frames import reference_frames


@dataclass(frozen=True)
class Reference:
    """Exported files and what Ultralytics predicts with them."""

    folder: Path
    frames: list[NDArray[np.uint8]]

    def bundle(self, layout: str, shape: str) -> tuple[ModelManifest, dict[str, bytes]]:
        """A manifest for one exported file, and the file."""
        data = (self.folder / f"{layout}-{shape}.onnx").read_bytes()
        manifest = ModelManifest.model_validate(
            {
                "name": "parity",
                "version": f"{layout}-{shape}",
                "files": {ONNX: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))},
                "class_names": program.NAMES,
                "input_shape": (1, 3, *program.SHAPES[shape]),
                "output_layout": layout,
                "stride": 32,
                "thresholds": Thresholds(
                    confidence=program.CONFIDENCE, iou=program.IOU, max_detections=program.MAX_DETECTIONS
                ),
                "created_at": datetime(2026, 1, 2, tzinfo=UTC),
            }
        )
        return manifest, {ONNX: data}

    def arrays(self, layout: str, shape: str, kind: str) -> list[NDArray[np.float32]]:
        """``boxes`` or ``input`` of the frames, in order."""
        with np.load(self.folder / f"{layout}-{shape}.npz") as archive:
            return [archive[name] for name in sorted(archive.files) if name.startswith(f"{kind}/")]


@pytest.fixture(scope="session")
def tiny_bundle() -> tuple[ModelManifest, dict[str, bytes]]:
    """Manifest and files of a small working model."""
    return tiny_bundle_files()


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Two networks (raw and end2end heads) in two shapes, on every frame."""
    folder = tmp_path_factory.mktemp("ultralytics")
    frames = reference_frames()
    np.savez(folder / "frames.npz", **{f"{i:03}": frame for i, frame in enumerate(frames)})  # pyright: ignore[reportArgumentType]
    run_ultralytics(program.__file__, str(folder / "frames.npz"), str(folder), folder=folder, seconds=240)
    return Reference(folder, frames)
