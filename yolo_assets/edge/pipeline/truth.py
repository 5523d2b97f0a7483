"""Writes what a simulation knows about its kept frames, outside the spool. Real cameras never come here."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from yolo_assets.contracts.times import Hour
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.cameras import SimulatedCameras
from yolo_assets.edge.types import Frame
from yolo_assets.runtime.files import write_all


class TruthWriter:
    """Appends one line for each kept frame of a simulated camera that has a truth folder.

    Raises:
        BadInputError: a truth folder and the spool lie one inside the other.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._folders: dict[str, Path] = {}
        self._lock = threading.Lock()
        for camera in config.cameras:
            if isinstance(camera, SimulatedCameras) and camera.truth is not None:
                from yolo_assets.simulator.truth import check_truth_dir

                check_truth_dir(camera.truth, config.spool)
                self._folders |= dict.fromkeys(camera.camera_ids, camera.truth)

    def write(self, frame: Frame, image_path: str) -> None:
        """Append the truth of a frame whose image was kept."""
        folder = self._folders.get(frame.camera_id)
        if folder is None or frame.truth is None:
            return
        from yolo_assets.simulator.truth import FrameTruth, true_boxes, truth_file

        height, width = frame.image.shape[:2]
        line = FrameTruth(
            image_path=image_path,
            camera_id=frame.camera_id,
            captured_at=frame.captured_at,
            width=width,
            height=height,
            boxes=true_boxes(frame.truth),
        ).to_json()
        path = truth_file(folder, frame.camera_id, Hour.of(frame.captured_at))
        with self._lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, line + b"\n")
            finally:
                os.close(descriptor)
