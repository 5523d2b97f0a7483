"""An hour of two simulated cameras with tables, for tests and pictures of the pages."""

from __future__ import annotations

import shutil

from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour
from yolo_assets.pages.places import Places
from yolo_assets.simulator.simulation import simulate
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets.tables.build import build_hour


def make_hour(settings: Settings, hour: Hour) -> None:
    """``lineA_cam01`` is archived and reclaimed, ``lineA_cam02`` is still in the spool."""
    for url in (settings.archive_url, settings.store_url):
        open_store(url)
    simulate(settings.spool, cameras=2, hours=1, fps=0.005, start=hour, truth_records=True)
    signer = Signer.load_or_create(settings.archiver_key)
    places = Places.of(settings)
    archived = SpoolHour.of(settings.spool, "lineA_cam01", hour)
    archive_hour(archived, places.archive, signer, ArchiveOptions.of(settings))
    for camera in ("lineA_cam01", "lineA_cam02"):
        build_hour(camera, hour, settings.spool, places.archive, places.store)
    shutil.rmtree(settings.spool / "lineA_cam01")
