"""``yolo-assets archive checkpoint`` and ``witness``, and what ``archive verify --history`` does."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import KeyOption, open_to_read
from yolo_assets.cli.common import ArchiveOption, JsonOption, StoreOption, emit_json, note, out, progress, settings
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.transparency.checkpointing import MadeCheckpoint
    from yolo_assets.transparency.verification import CheckpointState, History, Others


def checkpoint(archive: ArchiveOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Sign how many receipts there are and one hash over them all, in the log below checkpoints/ of the archive.

    What the catalog has more than the last checkpoint is appended. Exit 1 when a receipt is not what the log has, or
    the time-stamp authority of the settings gave no stamp.
    """
    from yolo_assets.archive.archive import Archive
    from yolo_assets.catalog.read import check_archive, open_catalog, receipt_hashes
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.storage.open import open_store
    from yolo_assets.trail.trail import AuditTrail
    from yolo_assets.transparency.checkpointing import make_checkpoint, stamp_checkpoint
    from yolo_assets.transparency.log import KnownReceipt
    from yolo_assets.transparency.witness import collect_cosignatures

    located = settings(archive=archive, store=store)
    reading = open_to_read(located, None)
    signer = Signer.load(located.archiver_key)
    writable = Archive(open_store(located.archive_url, memory=located.known_stores), reading.trusted)
    with progress("signing"):
        root = open_store(located.store_url)
        with open_catalog(root, cache=located.home / "cache" / "catalog") as connection:
            check_archive(connection, located.archive_url)
            receipts = [KnownReceipt(*row) for row in receipt_hashes(connection)]
        made = make_checkpoint(writable, signer, receipts, utc_now(), AuditTrail(root).head())
    trouble: list[str] = []
    collected = stamped = 0
    try:
        if located.timestamp_authority is not None:
            stamp_checkpoint(writable, made.stored, located.timestamp_authority)
            stamped = 1
    except UserError as error:
        trouble.append(f"checkpoint {made.stored.number} was made and has no time stamp: {error}")
    try:
        if located.cosigned is not None:
            collected = collect_cosignatures(writable, open_store(located.cosigned, remember=False))
    except UserError as error:
        trouble.append(f"what the witness co-signed could not be taken over: {error}")
    if as_json:
        emit_json({**_made(made), "stamped": bool(stamped), "cosignatures": collected})
    else:
        stated = made.stored.checkpoint
        out().print(f"checkpoint {made.stored.number}: {stated.size} receipts, {made.added} of them new", markup=False)
        out().print(f"  {stated.root.hex()}  {made.stored.key}", markup=False)
    if made.untrusted:
        note(f"{len(made.untrusted)} untrusted receipts are not in it: {made.untrusted[0]}")
    if made.rewritten:
        trouble.append(
            f"{len(made.rewritten)} receipts are not what the log has, the first: {made.rewritten[0]}; keep what is "
            "there, and look with: yolo-assets archive verify --history"
        )
    if trouble:
        raise UserError("; ".join(trouble))


def _made(made: MadeCheckpoint) -> dict[str, Any]:
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


def witness(
    folder: Annotated[
        Path, typer.Argument(help="Folder of this witness: its key, what it saw, what it co-signed.", metavar="DIR")
    ],
    archive: ArchiveOption = None,
    key: KeyOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the witness, as it signs, like example.com/quality.", metavar="NAME"),
    ] = None,
    every: Annotated[
        float | None, typer.Option(help="Stay, and look again after so many seconds.", min=1, metavar="S")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Co-sign the newest checkpoint of an archive, if it continues what this witness saw before.

    For a machine of its own, say of the quality department: it only reads the archive. Exit 1, and nothing is signed,
    when the log was set back, forked or changed.
    """
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.transparency.witness import Witness

    located = settings(archive=archive)
    opened = open_to_read(located, key)
    folder.mkdir(parents=True, exist_ok=True)
    holder = Witness.open(location_folder(str(folder)), name)
    while True:
        try:
            done = holder.look(opened, utc_now())
        except BadInputError as error:  # there is no checkpoint yet
            if every is None:
                raise
            note(str(error))
        else:
            if as_json:
                told = {"checkpoint": done.number, "receipts": done.size, "new": done.seen, "file": str(done.cosigned)}
                emit_json({**told, "witness_key": str(holder.key)})
            elif not done.again or every is None:
                again = "was co-signed before" if done.again else f"co-signed: {done.cosigned}"
                out().print(f"checkpoint {done.number}, {done.size} receipts: {again}", markup=False)
                out().print(f"  {holder.key}", markup=False)
        if every is None:
            return
        time.sleep(every)


def show_history(
    located: Settings,
    archive: Archive,
    names: list[str],
    checkpoints: list[Path],
    witness_keys: list[Path],
    *,
    as_json: bool,
) -> None:
    """Hold receipts against the log, and the log against what is kept outside; print both."""
    from yolo_assets.archive.archive import in_order
    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.transparency.log import read_receipt, read_receipts
    from yolo_assets.transparency.verification import verify_history

    others = _kept_outside(located, checkpoints, witness_keys)
    chosen = [ArchiveName.parse(name) for name in names]
    with progress("reading receipts") as advance:
        known = in_order(chosen, lambda name: read_receipt(archive, name)) if chosen else read_receipts(archive)

        def counted() -> Any:
            for one in known:
                advance()
                if one is not None:
                    yield one

        history = verify_history(archive, counted(), others, utc_now(), whole=not chosen)
    asked = [_place(history, name) for name in chosen]
    missing = [place for place in asked if place["checkpoint"] is None]
    if as_json:
        emit_json(_told(history, asked))
    else:
        _print(history, asked)
    if history.findings:
        more = f" and {len(history.findings) - 1} more" if len(history.findings) > 1 else ""
        raise UserError(f"the history is not what was signed: {history.findings[0].text}{more}")
    if missing:
        raise UserError(f"{missing[0]['archive']} is in no checkpoint yet; the next one will have it, if it is there")


def _kept_outside(located: Settings, checkpoints: list[Path], witness_keys: list[Path]) -> Others:
    from yolo_assets.contracts.checkpoint import VerifierKey
    from yolo_assets.transparency.held import others_of

    def read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{path} cannot be read: {error.strerror}") from None

    known = others_of(located)
    return replace(
        known,
        checkpoints=[(str(path), read(path)) for path in checkpoints],
        witnesses=[VerifierKey.load(path) for path in witness_keys] or known.witnesses,
    )


def _place(history: History, name: Any) -> dict[str, Any]:
    """Where a receipt is in the log, since when, and who says so."""
    found = history.places.get(name.receipt_key)
    place: dict[str, Any] = {"archive": name.stem, "checkpoint": None}
    if found is None:
        return place
    first, entry = found
    later = history.checkpoints[first:]
    place |= {"checkpoint": later[0].stored.number, "since": later[0].stored.signed.at, "entry": entry}
    cosigned = next((one for one in later if one.cosigned), None)
    stamped = next((one for one in later if one.stamped_at is not None), None)
    place["cosigned"] = [] if cosigned is None else [{"name": who.name, "at": who.at} for who in cosigned.cosigned]
    place["stamped_at"] = None if stamped is None else stamped.stamped_at
    return place


def _state(one: CheckpointState) -> dict[str, Any]:
    return {
        "checkpoint": one.stored.number,
        "at": one.stored.signed.at,
        "receipts": one.stored.checkpoint.size,
        "added": one.added,
        "root": one.stored.checkpoint.root.hex(),
        "key_id": one.stored.signed.key_id,
        "cosigned": [{"name": who.name, "at": who.at} for who in one.cosigned],
        "cosigned_unchecked": list(one.unchecked),
        "stamped_at": one.stamped_at,
    }


def _told(history: History, asked: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ok": not history.findings,
        "origin": history.checkpoints[0].stored.checkpoint.origin if history.checkpoints else None,
        "checkpoints": [_state(one) for one in history.checkpoints],
        "archives": asked,
        "waiting": history.waiting,
        "expired": history.expired,
        "findings": [{"kind": one.kind, "text": one.text, "receipts": list(one.receipts)} for one in history.findings],
    }


def _print(history: History, asked: list[dict[str, Any]]) -> None:
    from yolo_assets.contracts.times import format_time

    def people(cosigned: list[str], stamped: Any) -> str:
        by = f"  co-signed by {', '.join(cosigned)}" if cosigned else ""
        return f"{by}  stamped {format_time(stamped)}" if stamped is not None else by

    for place in asked:
        if place["checkpoint"] is not None:
            by = people([who["name"] for who in place["cosigned"]], place["stamped_at"])
            since = format_time(place["since"])
            out().print(f"{place['archive']}  checkpoint {place['checkpoint']}  since {since}{by}", markup=False)
    for one in history.checkpoints if not asked else []:
        names = [who.name for who in one.cosigned] + [f"{name} (not checked)" for name in one.unchecked]
        at, size = format_time(one.stored.signed.at), one.stored.checkpoint.size
        line = f"checkpoint {one.stored.number}  {at}  {size} receipts, {one.added} new{people(names, one.stamped_at)}"
        out().print(line, markup=False)
    if history.waiting:
        out().print(f"{history.waiting} receipts wait for the next checkpoint", markup=False)
    if history.expired:
        out().print(f"{history.expired} receipts are gone after the end of their retention", markup=False)
    for finding in history.findings:
        out().print(f"{finding.kind.upper()}  {finding.text}", markup=False)
