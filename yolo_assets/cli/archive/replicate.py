"""``yolo-assets archive replicate``: a second copy of the archive; ``archive verify --both`` compares the two."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import KeyOption, receipt_keys, verify_how
from yolo_assets.cli.archive.run import HungError, limited, run_stoppable
from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    emit_json,
    need,
    note,
    out,
    progress,
    settings,
)
from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.locations import location_url

if TYPE_CHECKING:
    from pathlib import Path

    from yolo_assets.contracts.settings import Settings
    from yolo_assets.replication.compare import Found, PlacesCompared
    from yolo_assets.replication.replicate import CopyOutcome, CopyReport


def replicate(
    to: Annotated[str, typer.Option("--to", help="Second place: file:///path or s3://bucket/prefix.", metavar="URL")],
    archive: ArchiveOption = None,
    store: StoreOption = None,
    bwlimit: Annotated[
        str | None,
        typer.Option(help="Limit of all uploads of this host: 20MB/s, or '22:00-06:00 unlimited, else 20MB/s'."),
    ] = None,
    verify: Annotated[str, typer.Option(help="head: size and ETag after upload; full: read every byte back.")] = "head",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy what the second place lacks: archives, indexes, receipts, audits, checkpoints, keys and the catalog.

    Each archive is hashed on the way and verified where it arrives; its receipt goes last. Run again to continue: what
    is there is not sent again, and a run looks only at what is new. Moving house is the same command; then set
    YOLO_ASSETS_ARCHIVE to the new place. Exit 1 when an archive could not be copied.
    """
    need("pyarrow", "duckdb")
    from yolo_assets.archive.bandwidth.limiter import Limiter
    from yolo_assets.archive.service.traffic import Stop, Stopped
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.replication.lag import late_archives, open_copier
    from yolo_assets.replication.replicate import Replication
    from yolo_assets.storage.open import open_store
    from yolo_assets.trail.trail import AuditTrail

    located, how = limited(settings(archive=archive, store=store), bwlimit), verify_how(verify)
    keys, target = receipt_keys(located, key), location_url(to)
    stop, sent = Stop(), 0
    limiter = Limiter.of(located, note, stop.wait)
    with progress("copying", in_bytes=True) as advance:

        def pace(count: int) -> None:
            nonlocal sent
            stop.check()
            if limiter is not None:
                limiter.take(count)
            sent += count
            advance(count)

        def report(outcome: CopyOutcome) -> None:
            if outcome.problem is not None:
                note(f"not copied: {outcome.name.stem}: {outcome.problem}")

        def work() -> CopyReport:
            copier = open_copier(located, target, keys, pace=pace, verify=how)
            root = open_store(located.store_url, memory=located.known_stores)
            late = late_archives(root, located.home / "cache" / "catalog")
            signer = Signer.load_or_create(located.archiver_key)
            asked = TrailTarget(names=(copier.first.url,), out=copier.copy.url)
            with AuditTrail.of(located).recording("archive replicate", asked) as act:
                done = Replication(copier, root, signer, late=late, report=report).run()
                act.result = f"done: {done.counts.archives} archives copied, {done.failed_count} failed"
            return done

        try:
            done = run_stoppable(work, stop)
        except Stopped:
            raise KeyboardInterrupt from None
        except HungError:
            note("stopped; a request that hangs was abandoned, the next run resumes there")
            sys.stdout.flush()
            os._exit(130)  # the threads of the request would be waited for
    _report(done, sent, as_json)


def _report(done: CopyReport, sent: int, as_json: bool) -> None:
    if as_json:
        emit_json(report_row(done, sent))
    else:
        counts = done.counts
        out().print(
            f"{counts.archives} archives, {counts.archive_bytes} bytes and {counts.objects} other objects copied from "
            f"{done.first} to {done.copy}; {sent} bytes sent, {counts.parts_resumed} upload parts resumed",
            markup=False,
        )
        for key in done.statements:
            out().print(f"statement: {key}", markup=False)
    if done.unwritable is not None:
        note(f"the statement lies in the second place alone: {done.unwritable}")
    if done.counts.without_lock:
        note(f"{done.counts.without_lock} archives under retention are not write-once in {done.copy}: it has no lock")
    if done.counts.without_hold:
        note(f"{done.counts.without_hold} legal holds cannot be kept in {done.copy}: it has no object lock")
    if done.failed:
        raise UserError(
            f"{done.failed_count} objects could not be copied and are tried again by the next run, the first: "
            f"{done.failed[0].name}: {done.failed[0].reason}"
        )


def report_row(done: CopyReport, sent: int) -> dict[str, Any]:
    """A run for machines."""
    return {
        "first": done.first,
        "copy": done.copy,
        **dataclasses.asdict(done.counts),
        "sent_bytes": sent,
        "statements": done.statements,
        "complete": done.complete,
        "newest_hour": done.newest_hour,
        "failed": done.failed_count,
        "problems": {one.name: one.reason for one in done.failed},
        "seconds": round(done.seconds, 3),
    }


def verify_both(located: Settings, keys: list[Path], *, deep: bool, as_json: bool) -> None:
    """Compare the archive with its copy.

    Raises:
        UsageError: the settings name no copy.
        UserError: they differ.
    """
    from yolo_assets.cli.common import open_archive
    from yolo_assets.replication.compare import compare
    from yolo_assets.storage.open import open_store
    from yolo_assets.transparency.held import trusted_archive

    if located.archive_copy_url is None:
        raise UsageError("--both needs the second place; set YOLO_ASSETS_ARCHIVE_COPY, and fill it: archive replicate")
    first = open_archive(located, alone=True)
    copy = open_store(located.archive_copy_url, create=False, memory=located.known_stores, remember=False)
    with progress("comparing") as advance:
        places = (trusted_archive(store, keys, located) for store in (first, copy))
        done = compare(*places, deep=deep, seen=advance)
    if as_json:
        emit_json({**dataclasses.asdict(done), "ok": done.ok})
    else:
        read = f"; {done.bytes_read} bytes read" if deep else ""
        out().print(
            f"{done.same} objects are alike in {done.first} and {done.copy}: {done.by_checksum} by checksum, "
            f"{done.by_size} by size alone{read}",
            markup=False,
        )
        for head, found in _kinds(done):
            for key in found.keys:
                out().print(f"{head}: {key}", markup=False)
    if done.unfinished:
        note(f"{done.unfinished} objects of archives without a receipt are in progress and not copied")
    if not done.ok:
        told = ", ".join(f"{found.count} {head}" for head, found in _kinds(done) if found.count)
        raise UserError(f"the two places differ: {told}; see: yolo-assets archive replicate, archive verify")


def _kinds(done: PlacesCompared) -> list[tuple[str, Found]]:
    return [
        ("missing in the copy", done.missing_in_copy),
        ("missing in the first place", done.missing_in_first),
        ("different", done.different),
    ]
