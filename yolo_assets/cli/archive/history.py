"""``yolo-assets archive checkpoint``: signing what the archive holds, every day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yolo_assets.cli.archive.options import open_to_read
from yolo_assets.cli.common import ArchiveOption, JsonOption, StoreOption, emit_json, note, out, progress, settings
from yolo_assets.contracts.errors import UserError

if TYPE_CHECKING:
    from yolo_assets.transparency.checkpointing import MadeCheckpoint


def checkpoint(archive: ArchiveOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Sign how many receipts there are and one hash over them all, in the log below checkpoints/ of the archive.

    What the catalog has more than the last checkpoint is appended. Exit 1 when a receipt is not what the log has.
    """
    from yolo_assets.archive.archive import Archive
    from yolo_assets.catalog.read import check_archive, open_catalog, receipt_hashes
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.storage.open import open_store
    from yolo_assets.transparency.checkpointing import make_checkpoint
    from yolo_assets.transparency.log import KnownReceipt

    located = settings(archive=archive, store=store)
    reading = open_to_read(located, None)
    signer = Signer.load(located.archiver_key)
    writable = Archive(open_store(located.archive_url, memory=located.known_stores), reading.trusted)
    with progress("signing"):
        with open_catalog(open_store(located.store_url), cache=located.home / "cache" / "catalog") as connection:
            check_archive(connection, located.archive_url)
            receipts = [KnownReceipt(*row) for row in receipt_hashes(connection)]
        made = make_checkpoint(writable, signer, receipts, utc_now())
    if as_json:
        emit_json(_told(made))
    else:
        stated = made.stored.checkpoint
        out().print(f"checkpoint {made.stored.number}: {stated.size} receipts, {made.added} of them new", markup=False)
        out().print(f"  {stated.root.hex()}  {made.stored.key}", markup=False)
    if made.untrusted:
        note(f"{len(made.untrusted)} untrusted receipts are not in it: {made.untrusted[0]}")
    if made.rewritten:
        raise UserError(
            f"{len(made.rewritten)} receipts are not what the log has, the first: {made.rewritten[0]}; keep what is "
            "there, and look with: yolo-assets archive verify --history"
        )


def _told(made: MadeCheckpoint) -> dict[str, Any]:
    stated = made.stored.checkpoint
    return {
        "checkpoint": made.stored.number,
        "key": made.stored.key,
        "origin": stated.origin,
        "receipts": stated.size,
        "added": made.added,
        "root": stated.root.hex(),
        "at": made.stored.signed.at,
        "rewritten": list(made.rewritten),
        "untrusted": list(made.untrusted),
    }
