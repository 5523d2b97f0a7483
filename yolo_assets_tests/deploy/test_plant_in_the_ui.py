"""What an engineer sees in the morning: six pages of a plant whose daemon, code server, UI and pages run on PostgreSQL.

The pictures of docs/operations.md are those of this test; look at them before they are committed:

    PICTURES=docs WEIGHTS=var/store/models/line/…/weights.pt python -m pytest -m soak -s …/test_plant_in_the_ui.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from yolo_assets.pages.links import PageLinks
from yolo_assets_tests.deploy.plant_to_look_at import (
    BAD,
    HOURS,
    MOST_BYTES,
    NEVER,
    carry,
    looking,
    plant_to_look_at,
    wait_for,
)
from yolo_assets_tests.support.postgres_server import Database

ASSETS = {"raw_frames", "detections", "hourly_archives", "archive_catalog", "trained_weights", "deployed_model"}


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_hours_labels_and_a_failed_camera_are_seen_in_the_ui(tmp_path: Path, database: Database) -> None:
    folder = Path(os.environ.get("PICTURES", tmp_path))
    weights = Path(os.environ["WEIGHTS"]).resolve() if "WEIGHTS" in os.environ else None
    with plant_to_look_at(tmp_path / "var", database, weights) as plant:
        carry(plant)
        bad = {(BAD, plant.first.next(number)) for number in range(2, HOURS)}
        assert not bad & plant.archived(), "not what it could not archive"
        plant.materialize("today")
        wall = plant.settings.home / "store" / "today" / "today.html"
        before = wall.stat().st_mtime_ns if wall.exists() else 0
        wait_for(lambda: wall.exists() and wall.stat().st_mtime_ns != before, 300, "today by hand")
        with looking(plant.services.ui, plant.settings.home, folder) as look:
            today = look.today()
            assert "1 absent, 1 failed" in today and f"{NEVER} absent: It never sent a frame" in today
            assert f"{BAD} failed: hourly_archives failed in {HOURS - 2} hours" in today
            assert "is in the way" in today and "remove it" in today, "the cause, and what to do"
            assert "4 cameras, 144 frames" in look.hour(plant.first.next(1))
            assert f"{BAD} {plant.first.next(HOURS - 1).key}: " in look.failed_camera()
            report = look.gate(PageLinks(plant.services.pages).model(f"line/{plant.released()}"))
            assert "Gate: passed" in report and "recall/crack" in report
            assert re.search(r"\d+ archives of 4 cameras; 3 hours not archived", look.catalog())
            assert set(look.lineage().split()) >= ASSETS
    pictures = sorted(folder.glob("ui-*.webp"))
    assert len(pictures) == 6 and max(path.stat().st_size for path in pictures) < MOST_BYTES
