"""The notebook of the documentation, run cell by cell on an hour of its own."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets.tables.build import build_hour
from yolo_assets_tests.support.records import frame_record

NOTEBOOK = Path(__file__).parents[2] / "docs" / "how-to" / "read-the-archive.ipynb"
HOUR = Hour.from_key("20260302_03")


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer.load_or_create(tmp_path / "keys" / "archiver")
    archive = Archive(open_store((tmp_path / "archive").as_uri()), TrustedKeys.of(signer))
    picture = cv2.imencode(".jpg", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        for second in range(8):
            at = HOUR.start + timedelta(seconds=second)
            found = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": 0.9, "timestamp": at.isoformat()}
            fields = {"detections": [found], "model_version": "line/1", "device_id": "box1", "captured_at": at}
            writer.write(at, frame_record(fields), picture)
        writer.seal(HOUR)
    archive_hour(SpoolHour.of(tmp_path / "spool", "cam1", HOUR), archive, signer)
    build_hour("cam1", HOUR, tmp_path / "spool", archive, open_store((tmp_path / "store").as_uri()))
    for name in ("archive", "store"):
        monkeypatch.setenv(f"YOLO_ASSETS_{name.upper()}", (tmp_path / name).as_uri())
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))

    document = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells), "outputs are not kept"
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        exec("".join(cell["source"]), namespace)
    assert len(namespace["seen"]) == 8 and all(row[3] == picture for row in namespace["seen"])
    assert namespace["shapes"] == [(4, 24, 32, 3), (4, 24, 32, 3)]
