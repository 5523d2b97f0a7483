"""A plant whose receipts are checkpointed day by day, without packing anything."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.read import open_catalog, receipt_hashes
from yolo_assets.transparency.checkpointing import MadeCheckpoint, make_checkpoint
from yolo_assets.transparency.log import KnownReceipt
from yolo_assets_tests.catalog.catalog_world import World
from yolo_assets_tests.catalog.receipt_factory import FIRST

MORNING = timedelta(hours=4, minutes=15)


class LoggedPlant(World):
    """Cameras ``cam01`` and ``cam02``, an hour each a day; day 0 is that of ``FIRST``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)

    @property
    def opened(self) -> Archive:
        return Archive(self.archive, self.trusted)

    def receipts(self) -> list[KnownReceipt]:
        with open_catalog(self.store) as connection:
            return [KnownReceipt(*row) for row in receipt_hashes(connection)]

    def checkpoint(self, now: datetime) -> MadeCheckpoint:
        self.publish()
        return make_checkpoint(self.opened, self.signer, self.receipts(), now)

    def day(self, number: int, **changes) -> MadeCheckpoint:
        """The receipts of a day, and the checkpoint of the morning after it."""
        for camera in ("cam01", "cam02"):
            self.add(camera, 24 * number, **changes)
        return self.checkpoint(FIRST.start + timedelta(days=number + 1) + MORNING)

    def days(self, count: int) -> datetime:
        """The first days; returns the moment of the last checkpoint."""
        return [self.day(number) for number in range(count)][-1].stored.signed.at


def logged_plant(folder: Path, days: int) -> LoggedPlant:
    """A plant with checkpoints of so many days."""
    plant = LoggedPlant(folder)
    plant.days(days)
    return plant
