"""A plant's services on PostgreSQL, as their units start them: what lies in the spool goes to archive and catalog."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from yolo_assets.catalog.read import query
from yolo_assets.catalog.versions import read_pointer
from yolo_assets.contracts.times import Hour
from yolo_assets.storage import open_store
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.plant_instance import plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import Database

NIGHT = Hour.from_key("20260301_02")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_spool_goes_to_the_catalog_by_daemon_and_code_server(tmp_path: Path, database: Database) -> None:
    home = tmp_path / "var"
    for camera in ("cam1", "cam2"):
        write_hour(home / "spool", camera, NIGHT)
    environment = plant_environment(home, database)
    environment |= {"YOLO_ASSETS_HOME": str(home), "YOLO_ASSETS_GRACE_SECONDS": "1"}
    with PlantServices(home, environment, ("code", "daemon")) as services:
        store = open_store((home / "store").as_uri())
        deadline = time.monotonic() + 600
        while read_pointer(store) is None and time.monotonic() < deadline:
            services["daemon"].check()
            time.sleep(1)
        rows = query(store, "SELECT camera_id, frame_count FROM archives ORDER BY camera_id").rows()
        assert rows == [("cam1", 3), ("cam2", 3)]
        (good,) = database.query("SELECT count(*) FROM runs WHERE status = 'SUCCESS'")
        assert good[0] and database.query("SELECT count(*) FROM runs WHERE status = 'FAILURE'") == [(0,)]
    assert not (home / "dagster" / "history").exists(), "nothing is in SQLite"
