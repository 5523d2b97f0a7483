"""A spool with an hour in it, an archive root in a folder, and the archiver's key; for faults the whole command."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.archive_case import ArchiveCase
from yolo_assets_tests.support.archiver import Archiver
from yolo_assets_tests.support.fault_proxy import FaultProxy
from yolo_assets_tests.support.records import frame_record

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
HOUR = Hour.of(START)

FillHour = Callable[..., SpoolHour]


@pytest.fixture
def archive(tmp_path: Path, trusted: TrustedKeys) -> Archive:
    """An empty archive in a folder, that trusts the archiver's key."""
    return Archive(open_store((tmp_path / "archive").as_uri()), trusted)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """The archiver's key."""
    return Signer.load_or_create(tmp_path / "keys" / "archiver")


@pytest.fixture
def trusted(signer: Signer) -> TrustedKeys:
    """Trust in it."""
    return TrustedKeys.of(signer)


@pytest.fixture
def fill_hour(tmp_path: Path) -> FillHour:
    """Writes a sealed hour of camera ``cam1`` in ``tmp_path/spool`` as the agent does."""

    def fill(frames: int = 12, size: int = 3000, *, seal: bool = True, first: int = 0) -> SpoolHour:
        chance = random.Random(first)
        spool = tmp_path / "spool"
        with SpoolWriter(spool, "cam1", "box1") as writer:
            for index in range(first, first + frames):
                at = START + timedelta(seconds=index)
                found: dict[str, Any] = {
                    "bbox": [1, 2, 3, 4],
                    "class": "crack" if index % 3 == 0 else "dent",
                    "confidence": (index % 10) / 10,
                    "timestamp": at.isoformat(),
                }
                record = {"detections": [found], "model_version": "line/1", "device_id": "box1"}
                record["batch_id"] = "B1" if index < 6 else "B2"
                writer.write(at, frame_record(record), chance.randbytes(size))
            writer.drop(START, "queue_full")
            if seal:
                writer.seal(HOUR)
        return SpoolHour.of(spool, "cam1", HOUR)

    return fill


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name, the archiver's own left out."""
    return {
        entry.name: Path(entry.path).read_bytes()
        for entry in os.scandir(folder)
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith((".uploaded", ".archiving", ".tmp-"))
    }


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """``content_of``: files of a folder by name."""
    return content_of


@pytest.fixture(scope="module")
def archiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archiver]:
    """The command in processes of its own, one run at a time."""
    with Archiver(tmp_path_factory.mktemp("archiver")) as one:
        yield one


@pytest.fixture
def proxy(s3_bucket: S3Bucket, archiver: Archiver) -> Iterator[FaultProxy]:
    """Before Ceph; where a fault says so it ends the archiver."""
    with FaultProxy(s3_bucket.server.endpoint) as one:
        one.kill = archiver.kill
        yield one


@pytest.fixture
def proxied(tmp_path: Path, s3_bucket: S3Bucket, proxy: FaultProxy, archiver: Archiver) -> ArchiveCase:
    """An hour whose archiver talks to Ceph through the proxy; what checks it does not."""
    env = {**s3_bucket.env, "AWS_ENDPOINT_URL_S3": proxy.url}
    return ArchiveCase(tmp_path / "case", s3_bucket.url, archiver, lambda: env)
