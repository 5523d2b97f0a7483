"""Candidates from tables and archive: a dirty camera takes no slot; what is not archived is no candidate."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.camera_states import CameraState, CameraStates, ModelDrift, StandingFault
from yolo_assets.contracts.names import detections_key, frames_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.candidates import FramePool, gather_candidates
from yolo_assets.learning.sampling import sample
from yolo_assets.monitoring.states import keep_camera_states
from yolo_assets.spool.hours import list_hours
from yolo_assets.storage import open_store
from yolo_assets.tables.schema import DetectionsTable, FramesTable, polars_schema

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
HOURS = 6
FRAMES = 60
"""Of a camera-hour: one a minute."""


@dataclass
class Plant:
    """Cameras whose hours are archived with a few bytes a frame, and tables with the figures that a test gives."""

    folder: Path
    sharpness: dict[str, list[float]]
    """By camera, for each hour."""
    objects: bool = False
    """Whether the tables tell objects: one stays for ten minutes."""

    def build(self, *, saved_every: int = 1, archived_hours: int = HOURS) -> Plant:
        signer = Signer.load_or_create(self.folder / "archiver")
        self.store, root = (open_store((self.folder / name).as_uri()) for name in ("store", "archive"))
        self.archive = Archive(root, TrustedKeys.of(signer))
        for camera, figures in self.sharpness.items():
            for number, sharpness in enumerate(figures):
                hour = Hour(START + timedelta(hours=number))
                self._hour(camera, hour, sharpness, saved_every, in_spool=number < archived_hours)
        for hour in list_hours(self.folder / "spool"):
            archive_hour(hour, self.archive, signer)
        return self

    def _hour(self, camera: str, hour: Hour, sharpness: float, saved_every: int, *, in_spool: bool) -> None:
        folder = self.folder / "spool" / camera / hour.key
        folder.mkdir(parents=True)
        frames, found = [], []
        for minute in range(FRAMES):
            at = hour.start + timedelta(minutes=minute)
            name = f"{at:%Y%m%d_%H%M%S}.jpg"
            path, saved = f"{camera}/{hour.key}/{name}", minute % saved_every == 0
            if in_spool and saved:
                (folder / name).write_bytes(b"a picture")
            of_frame = {"camera_id": camera, "hour": hour.start, "image_path": path, "captured_at": at}
            of_frame |= {"model_version": "line/1", "device_id": "d"}
            figures = {"blur": sharpness + minute / 100, "brightness": 120.0 + minute / 50}
            frames.append({**of_frame, **figures, "image_saved": saved, "n_detections": 1})
            box = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0, "timestamp": at}
            box["object_id"] = f"{camera}/{hour.key}/{minute // 10}" if self.objects else None
            confidence = 0.4 if minute % 7 == 0 else 0.9
            found.append(
                {**of_frame, **box, "index": 0, "class": "crack" if minute else "dent", "confidence": confidence}
            )
        for model, rows, key in (
            (FramesTable, frames, frames_key(hour, camera)),
            (DetectionsTable, found, detections_key(hour, camera)),
        ):
            buffer = io.BytesIO()
            pl.DataFrame(rows, schema=polars_schema(model)).write_parquet(buffer)
            self.store.put(key, buffer.getvalue())

    def pool(self, **options: object) -> FramePool:
        return gather_candidates(self.store, self.archive, START, START + timedelta(hours=HOURS), **options)  # type: ignore[arg-type]


def by_camera(paths: list[str]) -> dict[str, int]:
    cameras = [path.split("/")[0] for path in paths]
    return {camera: cameras.count(camera) for camera in sorted(set(cameras))}


def test_a_dirty_camera_takes_no_slot_and_is_named(tmp_path: Path) -> None:
    clean, soiled = [100.0] * HOURS, [100.0, 100.0, 100.0, 40.0, 40.0, 40.0]
    plant = Plant(tmp_path, {"cam1": clean, "cam2": clean, "dirty": soiled}).build()
    pool = plant.pool()
    chosen = [one.image_path for one in sample(pool.candidates, 200)]
    bad = [path for path in chosen if path.startswith("dirty/") and path.split("/")[1] >= "20260301_09"]
    assert len(chosen) == 200 and not bad
    assert list(pool.bad_pictures) == ["dirty"] and "clean the lens" in pool.bad_pictures["dirty"]


def test_a_standing_fault_counts_from_its_beginning_and_drift_is_told(tmp_path: Path) -> None:
    plant = Plant(tmp_path, {"cam1": [100.0] * HOURS, "cam2": [100.0] * HOURS}).build()
    fault = StandingFault(kind="moved", sentence="cam2 was moved; look at its mount", since=START + timedelta(hours=2))
    drift = ModelDrift(model_version="line/1", verdict="drifted", reason="fewer", size=0.6)
    states = CameraStates(
        hour=START,
        cameras=(CameraState(camera_id="cam1", drift=drift), CameraState(camera_id="cam2", faults=(fault,))),
    )
    keep_camera_states(plant.store, states)
    pool = plant.pool()
    assert by_camera([c.image_path for c in pool.candidates]) == {"cam1": HOURS * FRAMES, "cam2": 2 * FRAMES}
    assert {c.camera_id: c.drift for c in pool.candidates} == {"cam1": 0.6, "cam2": 0.0}
    assert "look at its mount" in pool.bad_pictures["cam2"]


@pytest.mark.parametrize("pool_size", [8_000, 12])
def test_only_archived_frames_that_were_kept_and_not_labelled(tmp_path: Path, pool_size: int) -> None:
    plant = Plant(tmp_path, {"cam1": [100.0] * HOURS}).build(saved_every=5, archived_hours=4)
    whole = plant.pool()
    assert by_camera([c.image_path for c in whole.candidates]) == {"cam1": 4 * FRAMES // 5}
    labelled = set(sorted(c.image_path for c in whole.candidates)[1::2])
    rest = plant.pool(labelled=labelled, pool=pool_size)
    paths = {c.image_path for c in rest.candidates}
    assert paths and paths <= {c.image_path for c in whole.candidates} - labelled
    assert rest.frames == HOURS * FRAMES and rest.class_counts == {"crack": HOURS * 59, "dent": HOURS}
    assert {name for c in rest.candidates for name, _ in c.detections} == {"crack", "dent"}


def test_the_same_tables_give_the_same_candidates(tmp_path: Path) -> None:
    plant = Plant(tmp_path, {"cam1": [100.0] * HOURS, "cam2": [90.0] * HOURS}).build()
    pools = [plant.pool(seed=seed, pool=30) for seed in (1, 1, 2)]
    first, again, other = ({c.image_path for c in pool.candidates} for pool in pools)
    assert first == again != other


def test_of_one_object_one_frame_and_none_of_an_object_that_was_asked_for(tmp_path: Path) -> None:
    plant = Plant(tmp_path, {"cam1": [100.0] * HOURS}, objects=True).build()
    asked = plant.pool().candidates[0]
    pool = plant.pool(labelled={asked.image_path})
    chosen = [one.image_path for one in sample(pool.candidates, 200)]
    of_path = {c.image_path: c.objects for c in pool.candidates}
    objects = [name for path in chosen for name in of_path[path]]
    assert pool.by_object and asked.objects
    assert len(objects) == len(set(objects)) == HOURS * 6 - 1 and not {*asked.objects} & {*objects}


@pytest.mark.parametrize("cameras", [3, 7, 11])
def test_any_number_of_camera_hours_can_be_drawn_from(tmp_path: Path, cameras: int) -> None:
    """The share that is looked into has no end in decimal figures, and must not overflow those of DuckDB."""
    plant = Plant(tmp_path, {f"cam{number}": [100.0] for number in range(cameras)}).build()
    drawn = plant.pool(pool=1)
    assert drawn.frames == cameras * FRAMES and drawn.candidates
