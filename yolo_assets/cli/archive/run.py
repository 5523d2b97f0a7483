"""``yolo-assets archive run``: every closed hour of a spool into the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import CameraOption, KeyOption, given, verify_how
from yolo_assets.cli.common import ArchiveOption, JsonOption, SpoolOption, emit_json, note, out, progress, settings
from yolo_assets.contracts.errors import UsageError, UserError

if TYPE_CHECKING:
    from yolo_assets.archive.run import HourResult


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
    from yolo_assets.archive.options import ArchiveOptions
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
            options=ArchiveOptions(verify=how),
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
