"""A store, an archive and an archiver, and a publisher that runs in its own process. Light: children import it."""

from __future__ import annotations

from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.publish import publish
from yolo_assets.catalog.read import ask, open_catalog
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.catalog.receipt_factory import FIRST, put_receipt

CONTENT = {
    "archives": "receipt_key",
    "archive_classes": "receipt_key, class",
    "hours": "hour, camera_id",
    "hours_seen": "hour, camera_id",
    "gaps": "hour, camera_id",
    "problems": "receipt_key",
}


class World:
    """A store, an archive and an archiver's key in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: ObjectStore = open_store((folder / "store").as_uri())
        self.archive: ObjectStore = open_store((folder / "archive").as_uri())
        self.signer: Signer = Signer.load_or_create(folder / "keys" / "archiver")
        self.trusted = TrustedKeys.of(self.signer)

    def add(self, camera="cam01", hours=0, part=1, **changes) -> str:
        return put_receipt(self.archive, self.signer, ArchiveName(camera, FIRST.next(hours), part), **changes)

    def publish(self, **options):
        return publish(self.store, Archive(self.archive, options.pop("trusted", self.trusted)), **options)

    def content(self) -> dict[str, list]:
        with open_catalog(self.store) as connection:
            return {
                table: ask(connection, f"SELECT * FROM {table} ORDER BY {order}").rows()
                for table, order in CONTENT.items()
            }

    def keys(self) -> set[str]:
        with open_catalog(self.store) as connection:
            return set(ask(connection, "SELECT receipt_key FROM archives")["receipt_key"])


def publish_own(folder: str, number: int, start) -> None:
    world = World(Path(folder))
    start.wait(30)
    for hours in range(2):
        # Each compares its own dates alone, so that only the merge can bring the others' rows along.
        hour = FIRST.next(24 * number + hours)
        put_receipt(world.archive, world.signer, ArchiveName(f"cam{number}", hour))
        world.publish(dates=[hour.date])
