"""``yolo-assets archive``: run, ls, show, verify, cat. For hosts with and without Dagster."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    SpoolOption,
    emit_json,
    note,
    open_archive,
    out,
    progress,
    settings,
)
from yolo_assets.contracts.errors import BadInputError, UsageError, UserError

if TYPE_CHECKING:
    from yolo_assets.archive.run import HourResult
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import TrustedKeys

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--key", help="Public key that may have signed receipts; default: this machine's.", metavar="PUB"),
]
CameraOption = Annotated[str | None, typer.Option(help="Only this camera.", metavar="C")]


def given(parse: Callable[[str], T], text: str | None, option: str) -> T | None:
    """An option's value, parsed; a value that is none is wrong usage."""
    if text is None:
        return None
    try:
        return parse(text)
    except BadInputError as error:
        raise UsageError(f"{option}: {error}") from None


def trusted_keys(found: Settings, keys: list[Path] | None) -> TrustedKeys:
    """The keys given, else the archiver's own public key."""
    from yolo_assets.contracts.signing import TrustedKeys

    own = found.archiver_key.with_name(found.archiver_key.name + ".pub")
    if not keys and not own.exists():
        raise UsageError(f"no key to check receipts with at {own}; give the archiver's public key by --key PUB")
    return TrustedKeys.load(keys or [own])


@app.command(
    epilog="Example: yolo-assets archive run --spool /data/spool --archive s3://plant/cold --grace 0  "
    "(archives every past hour, a line each; exit 1 if any failed)"
)
def run(
    spool: SpoolOption = None,
    archive: ArchiveOption = None,
    camera: CameraOption = None,
    hour: Annotated[str | None, typer.Option(help="Only this hour.", metavar="YYYYMMDD_HH")] = None,
    verify: Annotated[str, typer.Option(help="head: size and ETag after upload; full: read every byte back.")] = "head",
    keep_local: Annotated[bool, typer.Option("--keep-local", help="Delete nothing in the spool.")] = False,
    grace: Annotated[
        float | None, typer.Option(help="Quiet seconds that close an hour without a seal; 0 closes every past hour.")
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Archive every closed hour of the spool; delete locally what is verified in the store."""
    from yolo_assets.archive.run import closed_hours, run_archiver
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.contracts.times import Hour, utc_now
    from yolo_assets.storage import open_store

    found = settings(archive=archive, spool=spool)
    how = verify_how(verify)
    only = given(Hour.from_key, hour, "--hour")
    quiet = found.grace_seconds if grace is None else grace
    if not quiet >= 0:  # neither negative nor "nan"
        raise UsageError(f"--grace {quiet:g} is no number of seconds; 0 closes every past hour")
    if not found.spool.is_dir():
        raise UsageError(f"there is no spool at {found.spool}; give the folder that holds one folder per camera")
    store = open_store(found.archive_url)
    signer = Signer.load_or_create(found.archiver_key)
    trusted = TrustedKeys.of(signer)
    if key:
        trusted = TrustedKeys({**trusted.keys, **TrustedKeys.load(key).keys})
    now = utc_now()
    hours, problems = closed_hours(found.spool, camera=camera, hour=only, grace_seconds=quiet, now=now)
    for problem in problems:
        note(f"left alone: {problem.path}: {problem.reason}")
    with progress("archiving", total=len(hours)) as advance:

        def report(result: HourResult) -> None:
            advance()
            if not as_json:
                _print_result(result)

        results = run_archiver(
            found.spool,
            store,
            signer,
            camera=camera,
            hour=only,
            grace_seconds=quiet,
            verify=how,
            keep_local=keep_local,
            hot_hours=found.hot_hours,
            trusted=trusted,
            now=now,
            report=report,
        )
    if as_json:
        emit_json([_result_json(result) for result in results])
    elif not results:
        note("no closed hour to archive")
    failed = [result for result in results if result.status == "failed"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(results)} hours failed and stay in the spool, the first: {failed[0].reason}; "
            "run again when that is put right"
        )


@app.command(epilog="Example: yolo-assets archive ls --archive s3://plant/cold --camera lineA_cam01 --date 2026-03-01")
def ls(
    archive: ArchiveOption = None,
    camera: CameraOption = None,
    date: Annotated[str | None, typer.Option(help="Only this day.", metavar="YYYY-MM-DD")] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List archives: files, frames, bytes and when they were verified."""
    from yolo_assets.archive.read import list_archives, load_receipt

    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    store = open_archive(found)
    names = list(list_archives(store, camera_id=camera, date=date))
    rows: list[dict[str, Any]] = []
    with progress("reading receipts", total=len(names)) as advance:
        for name in names:
            receipt = load_receipt(store, name, trusted)
            advance()
            keep = {
                "archive_key",
                "camera_id",
                "hour",
                "part",
                "file_count",
                "frame_count",
                "bad_records",
                "archive_size",
                "verified_at",
            }
            rows.append(receipt.model_dump(mode="json", include=keep))
            if not as_json:
                out().print(
                    f"{name.stem}  {receipt.file_count} files  {receipt.frame_count} frames  "
                    f"{receipt.archive_size} bytes  {rows[-1]['verified_at']}"
                )
    if as_json:
        emit_json(rows)


@app.command(epilog="Example: yolo-assets archive show yolo_lineA_cam01_20260301_09 --archive s3://plant/cold")
def show(
    name: Annotated[str, typer.Argument(help="Name or key of an archive.", metavar="KEY")],
    archive: ArchiveOption = None,
    members: Annotated[bool, typer.Option("--members", help="Also list every file in it.")] = False,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the receipt of one archive, signature checked."""
    from yolo_assets.archive.read import load_index, load_receipt
    from yolo_assets.contracts.names import ArchiveName

    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    store = open_archive(found)
    receipt = load_receipt(store, ArchiveName.parse(name), trusted)
    document = receipt.model_dump(mode="json")
    rows = load_index(store, receipt) if members else []
    if as_json:
        listed = [{"name": r.name, "offset": r.offset, "size": r.size, "sha256": r.sha256.hex()} for r in rows]
        emit_json({**document, "members": listed} if members else document)
        return
    for field, value in document.items():
        out().print(f"{field}: {value}", markup=False)
    for row in rows:
        out().print(f"{row.sha256.hex()}  {row.size:>12}  {row.name}", markup=False)


@app.command(epilog="Example: yolo-assets archive verify yolo_lineA_cam01_20260301_09 --verify full")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or keys of archives; none: every archive.", metavar="KEY...")
    ] = None,
    archive: ArchiveOption = None,
    how: Annotated[str, typer.Option("--verify", help="head: size and ETag; full: read every byte.")] = "head",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check receipt, index and archive against each other; exit 1 on any difference."""
    from yolo_assets.archive.read import list_archives
    from yolo_assets.archive.verify import verify_archive
    from yolo_assets.contracts.names import ArchiveName

    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    store = open_archive(found)
    checked = verify_how(how)
    wanted = [ArchiveName.parse(name) for name in names] if names else list(list_archives(store))
    reports = []
    with progress("verifying", total=len(wanted)) as advance:
        for name in wanted:
            report = verify_archive(store, name, trusted, checked)
            reports.append(report)
            advance()
            if not as_json:
                out().print(f"{report.name}  {'ok' if report.ok else 'DIFFERS'}  {report.members} files", markup=False)
                for problem in report.problems:
                    out().print(f"  {problem}", markup=False)
    if as_json:
        emit_json([{**dataclasses.asdict(report), "ok": report.ok} for report in reports])
    if not reports:
        note("there is no archive to verify")
    different = [report for report in reports if not report.ok]
    if different:
        raise UserError(
            f"{len(different)} of {len(reports)} archives are not what was archived, the first: {different[0].name}: "
            f"{different[0].problems[0]}; keep what is there, and what is still in the spool, and look at the store"
        )


@app.command(
    epilog="Example: yolo-assets archive cat --camera lineA_cam01 --at 2026-03-01T09:15:00Z -o frame.jpg --archive URL"
)
def cat(
    camera: Annotated[str, typer.Option(help="Camera id.", metavar="C")],
    archive: ArchiveOption = None,
    frame: Annotated[str | None, typer.Option(help="File name of the frame.", metavar="NAME")] = None,
    at: Annotated[str | None, typer.Option(help="The newest frame at or before this time.", metavar="TIME")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; default: stdout.")] = None,
    key: KeyOption = None,
) -> None:
    """One frame's bytes, by one range read of the archive, hash checked."""
    from yolo_assets.archive.read import cat as read_frame
    from yolo_assets.contracts.times import parse_time
    from yolo_assets.spool.files import write_atomic

    if (frame is None) == (at is None):
        raise UsageError("name one frame: either --frame NAME or --at TIME")
    moment = given(parse_time, at, "--at")
    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    name, data = read_frame(open_archive(found), camera, trusted, frame=frame, at=moment)
    if output is None:
        if sys.stdout.isatty():
            raise UsageError("a frame is not for a terminal; write it to a file by -o FILE")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}")
    write_atomic(output, data)
    note(f"{name}: {len(data)} bytes to {output}")


def verify_how(text: str) -> Any:
    """``head`` or ``full``."""
    if text not in ("head", "full"):
        raise UsageError(f"--verify {text} is not known; use head or full")
    return text


def _print_result(result: HourResult) -> None:
    line = f"{result.camera_id} {result.hour}  {result.status}"
    if result.reason:
        line += f": {result.reason}"
    if result.outcome is not None and result.outcome.status == "archived" and result.outcome.receipt is not None:
        receipt, outcome = result.outcome.receipt, result.outcome
        line += f"  {receipt.file_count} files  {outcome.bytes} bytes  {outcome.seconds:.1f} s"
        line += f"  part {receipt.part}" if receipt.part > 1 else ""
        line += f"  unreadable records: {receipt.bad_records} (kept as they are)" if receipt.bad_records else ""
        line += f"  {outcome.resumed_parts} upload parts resumed" if outcome.resumed_parts else ""
    if result.reclaimed is not None and result.reclaimed.files:
        line += f"  {result.reclaimed.files} local files deleted"
    out().print(line, markup=False)
    left = [*(result.outcome.left if result.outcome else ()), *(result.reclaimed.problems if result.reclaimed else ())]
    for problem in left:
        note(f"left alone: {problem.path}: {problem.reason}")


def _result_json(result: HourResult) -> dict[str, Any]:
    outcome, reclaimed = result.outcome, result.reclaimed
    document: dict[str, Any] = {
        "camera_id": result.camera_id,
        "hour": result.hour,
        "status": result.status,
        "reason": result.reason,
    }
    if outcome is not None:
        receipt = outcome.receipt.model_dump(mode="json") if outcome.receipt else None
        left = [{"path": str(p.path), "reason": p.reason} for p in outcome.left]
        document |= {"bytes": outcome.bytes, "seconds": outcome.seconds, "receipt": receipt, "left": left}
        document |= {"sent_parts": outcome.sent_parts, "resumed_parts": outcome.resumed_parts}
    if reclaimed is not None:
        document["reclaimed"] = {"files": reclaimed.files, "bytes": reclaimed.bytes, "kept": reclaimed.kept}
    return document
