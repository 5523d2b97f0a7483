"""A plant in a folder: real pictures of a camera, archived, and packs made of them. No test lives here."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.make import Request, make_pack
from yolo_assets.evidence.manifest import PackManifest, Query
from yolo_assets.evidence.signing import seal
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
HOUR = Hour.of(START)
STEM = "yolo_cam1_20260102_03"
WIDTH, HEIGHT = 160, 120
BOX = (40.0, 30.0, 100.0, 80.0)


@cache
def picture(seed: int) -> bytes:
    """A grey gradient with a little noise, as JPEG: nothing in it has the colour of a box."""
    noise = np.random.default_rng(seed).integers(0, 12, (HEIGHT, WIDTH, 1))
    grey = np.linspace(60, 200, WIDTH, dtype=np.int64)[None, :, None] + noise
    data = np.repeat(grey, 3, axis=2).astype(np.uint8)
    return cv2.imencode(".jpg", data, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def detection(class_name: str = "crack", confidence: float = 0.9, box: Iterable[float] = BOX) -> dict[str, Any]:
    """One detection as a producer writes it."""
    return {"bbox": list(box), "class": class_name, "confidence": confidence, "timestamp": "2026-01-02T03:00:00Z"}


class Plant:
    """Spool, archive, store and keys in one folder."""

    def __init__(self, folder: Path, archive_url: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.spool = folder / "spool"
        self.archive: ObjectStore = open_store(archive_url or (folder / "archive").as_uri())
        self.store: ObjectStore = open_store((folder / "store").as_uri())
        self.signer = Signer.load_or_create(folder / "keys" / "archiver")
        self.office = Signer.load_or_create(folder / "keys" / "office")
        self.trusted = TrustedKeys.of(self.signer)

    def hour(
        self,
        camera: str = "cam1",
        frames: int = 6,
        *,
        start: datetime = START,
        batch: str = "B1",
        device: Signer | None = None,
        **record: Any,
    ) -> SpoolHour:
        """Write and archive an hour as the agent does: a frame a second, cracks in every third, dents elsewhere."""
        with SpoolWriter(self.spool, camera, "box1", signer=device) as writer:
            for index in range(frames):
                at = start + timedelta(seconds=index)
                found = detection("crack" if index % 3 == 0 else "dent", 0.5 + index / 20)
                fields: dict[str, Any] = {
                    "detections": [found],
                    "model_version": "line/1",
                    "device_id": "box1",
                    "batch_id": batch,
                }
                writer.write(at, frame_record(fields | record), picture(index))
            writer.seal(Hour.of(start))
        return self.take(camera, Hour.of(start))

    def foreign(self, files: dict[str, bytes], camera: str = "cam1", hour: Hour = HOUR) -> SpoolHour:
        """Write and archive an hour as a foreign producer leaves it."""
        folder = self.spool / camera / hour.key
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return self.take(camera, hour)

    def take(self, camera: str, hour: Hour) -> SpoolHour:
        """Archive, and leave nothing in the spool."""
        found = SpoolHour.of(self.spool, camera, hour)
        archive_hour(found, Archive(self.archive, self.trusted), self.signer)
        shutil.rmtree(found.path)
        return found

    def make(
        self,
        out: Path,
        *,
        store: bool = False,
        max_frames: int = 1000,
        enrolled_by: TrustedKeys | None = None,
        **asked: Any,
    ) -> PackManifest:
        """Make a pack, signed by the office."""
        return make_pack(
            Archive(self.archive, self.trusted),
            self.store if store else None,
            self.office,
            Request(query(**asked), "A. Berg", "Audit 17", max_frames),
            out,
            enrolled_by=enrolled_by,
            now=NOW,
        )


def query(**asked: Any) -> Query:
    """The first camera's first hour, by default."""
    usual = {"camera_id": "cam1", "start": HOUR.start, "end": HOUR.end}
    return Query(**(usual | asked))


def record_line(name: str, *found: dict[str, Any], **more: Any) -> bytes:
    """One foreign record: the four fields of the contract."""
    record = {"image_path": f"cam1/{HOUR.key}/{name}", "detections": found, "model_version": "v9", "device_id": "d"}
    return orjson.dumps(record | more)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a pack by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forge(folder: Path, signer: Signer | None = None, **changes: Any) -> None:
    """Make the manifest fit what lies in the folder, as after tampering; sign it when a signer is given."""
    said = orjson.loads((folder / names.MANIFEST).read_bytes())
    unlisted = (names.MANIFEST, names.SIGNATURE, names.SUMS_SIGNATURE)
    (folder / names.SUMS).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    listed = {path: data for path, data in files_of(folder).items() if path not in unlisted}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(listed.items()))
    (folder / names.SUMS).write_text(sums)
    listed[names.SUMS] = sums.encode()
    said["files"] = [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in sorted(listed.items())
    ]
    manifest = PackManifest.model_validate({**said, **changes}).to_bytes()
    (folder / names.MANIFEST).write_bytes(manifest)
    if signer is not None:
        (folder / names.SIGNATURE).write_bytes(seal(signer, manifest))
        (folder / names.SUMS_SIGNATURE).write_bytes(seal(signer, sums.encode(), "evidence-sums"))
