"""A checkpoint over the receipts of a plant of years, from the hashes in the catalog.

The catalog is SYNTHETIC: a row a receipt with a hash that was drawn, 200 cameras, every hour; no receipt lies behind
it. Reading the catalog, the list, the tree, the signature and the writing are those of a plant, with a folder as the
archive. Seconds of the clock, and of the processor in brackets: the first mean little on a busy machine. Then a day
more, a proof, and the same proof checked by the verifier that the tests have from the specification alone.

Run: python benchmarks/checkpoint_million.py [--receipts 1000000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import duckdb

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.database import attach, connect
from yolo_assets.catalog.read import open_catalog, receipt_hashes
from yolo_assets.catalog.update import create
from yolo_assets.catalog.versions import pointer_state, upload_catalog
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.open import open_store
from yolo_assets.transparency.checkpointing import MadeCheckpoint, make_checkpoint
from yolo_assets.transparency.log import KnownReceipt
from yolo_assets.transparency.proofs import prove_receipts
from yolo_assets_tests.transparency.by_specification import checkpoint_lines, proven_root

T = TypeVar("T")
CAMERAS = 200
FIRST = Hour.from_key("20260101_00")
ROWS = """
INSERT INTO file.stored.archives BY NAME
SELECT 'line_cam' || lpad((n % $cameras)::VARCHAR, 3, '0') AS camera_id,
    $first::TIMESTAMPTZ + to_hours((n // $cameras)::INTEGER) AS hour, 1 AS part, n::VARCHAR AS receipt_etag,
    'synthetic' AS signed_by, hour AS start_time, hour AS end_time, 1 AS file_count, 1 AS frame_count, 1 AS total_size,
    1 AS archive_size, unhex(md5(n::VARCHAR)) AS md5_checksum, unhex(sha256(n::VARCHAR)) AS sha256,
    unhex(sha256(n::VARCHAR)) AS index_sha256, [] AS model_versions, [] AS device_ids, [] AS batch_ids, '{}' AS classes,
    0 AS bad_records, 'verified' AS upload_status, hour AS verified_at, 'head' AS verified_how, '' AS writer_version,
    1 AS schema_version, unhex(sha256('receipt ' || n)) AS receipt_sha256,
    hour + INTERVAL 3650 DAY AS retention_until
FROM range($start, $end) AS numbers(n)
"""


def timed(work: Callable[[], T]) -> tuple[str, T]:
    """Seconds, and what came of it."""
    started, processor = time.perf_counter(), time.process_time()
    result = work()
    return f"{time.perf_counter() - started:.1f} s ({time.process_time() - processor:.1f} s)", result


def publish(store: ObjectStore, path: Path, start: int, end: int) -> None:
    """Put rows ``start`` to ``end`` into the catalog."""
    connection: duckdb.DuckDBPyConnection = connect(path.parent)
    if not path.exists():
        create(connection, path)
    attach(connection, path, "file", read_only=False)
    given = {"cameras": CAMERAS, "first": FIRST.start.isoformat(), "start": start, "end": end}
    connection.execute(ROWS, given)
    connection.close()
    upload_catalog(store, path, (end, 0), pointer_state(store)[1])


def checkpoint(store: ObjectStore, archive: Archive, signer: Signer, now: datetime) -> MadeCheckpoint:
    """What the command does."""
    with open_catalog(store) as connection:
        receipts = [KnownReceipt(*row) for row in receipt_hashes(connection)]
    return make_checkpoint(archive, signer, receipts, now)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=int, default=1_000_000)
    count, day = parser.parse_args().receipts, 24 * CAMERAS
    with tempfile.TemporaryDirectory() as name:
        folder, now = Path(name), datetime(2027, 1, 1, tzinfo=UTC)
        store = open_store((folder / "store").as_uri())
        signer = Signer.load_or_create(folder / "keys" / "archiver")
        archive = Archive(open_store((folder / "archive").as_uri()), TrustedKeys.of(signer))
        publish(store, folder / "catalog.duckdb", 0, count)
        seconds, made = timed(lambda: checkpoint(store, archive, signer, now))
        size = sum(info.size for info in archive.store.list("checkpoints/"))
        print(f"first checkpoint, {count:,} receipts (SYNTHETIC catalog): {seconds} [bar: 10 s]; "
              f"{size / 1e6:.0f} MB written, {size / count:.0f} bytes a receipt")  # fmt: skip
        publish(store, folder / "catalog.duckdb", count, count + day)
        seconds, made = timed(lambda: checkpoint(store, archive, signer, now + timedelta(days=1)))
        print(f"next checkpoint, {made.added:,} receipts more: {seconds} [bar: 10 s]")
        key = ArchiveName("line_cam007", FIRST.next(count // CAMERAS // 2)).receipt_key
        with open_catalog(store) as connection:
            entry = next(row[1] for row in receipt_hashes(connection) if row[0] == key)
        assert entry is not None
        seconds, proofs = timed(lambda: prove_receipts(archive, {key: entry}))
        proof = proofs.proofs[key].to_bytes()
        assert proven_root(proof, entry) == checkpoint_lines(proof.partition(b"\n\n")[2])[2]
        print(f"proof of one receipt, checkpoint included: {len(proof):,} bytes [bar: 2 KB], made in {seconds}; "
              "verified by the verifier from the specification")  # fmt: skip
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"resident memory at most {memory:.0f} MB")


if __name__ == "__main__":
    main()
