"""``yolo-assets restore``: frames and records back out of the archive."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import DaysOption, KeyOption, TierOption, given, open_to_read, thaw_of
from yolo_assets.cli.class_names import other_names
from yolo_assets.cli.common import (
    ActorOption,
    ArchiveOption,
    JsonOption,
    StoreOption,
    WhyOption,
    camera_id,
    emit_json,
    note,
    on_the_trail,
    out,
    progress,
    settings,
)
from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.restore.plan import RestorePlan, RestoreReport


def restore(
    start: Annotated[str, typer.Option("--from", help="First moment, UTC.", metavar="TIME")],
    end: Annotated[str, typer.Option("--to", help="First moment after the range, UTC.", metavar="TIME")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR", parser=location_folder)],
    camera: Annotated[
        str | None, typer.Option(help="Camera id; none: every camera.", metavar="C", parser=camera_id)
    ] = None,
    archive: ArchiveOption = None,
    store: StoreOption = None,
    batch: Annotated[str | None, typer.Option(help="Only frames of this production batch.", metavar="B")] = None,
    part_id: Annotated[str | None, typer.Option(help="Only frames of this workpiece.", metavar="P")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Only frames with this class.", metavar="K")] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Only frames with a detection of at least this confidence.", min=0, max=1, metavar="X"),
    ] = None,
    frames_only: Annotated[bool, typer.Option("--frames-only", help="Restore no record files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would be restored.")] = False,
    tier: TierOption = "standard",
    days: DaysOption = 7,
    key: KeyOption = None,
    by: ActorOption = None,
    reason: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write archived files to DIR/<camera>/<hour>/, hashes verified; run again to continue.

    A class is found under every name that it has or had, by the list of classes in the store.

    Exit 1 when nothing is found, when an archive is damaged or its receipt lost (the rest is restored), when receipts
    that this machine knew have vanished, when another file has the name of one (it is left as it is), or when one lies
    in a cold tier (it is requested; run again later).

    Example: yolo-assets restore --camera lineA_cam01 --from 2026-03-01T09:00Z --to 2026-03-01T10:00Z --class crack
    --min-confidence 0.8 --out found
    """
    from yolo_assets.archive.known import KnownArchives
    from yolo_assets.archive.restore.filter import FrameFilter
    from yolo_assets.archive.restore.plan import plan_restore
    from yolo_assets.archive.restore.writing import carry_out, check_room
    from yolo_assets.contracts.times import parse_time, utc_now
    from yolo_assets.contracts.trail import TrailTarget

    first, after = given(parse_time, start, "--from"), given(parse_time, end, "--to")
    if first is None or after is None or after <= first:
        raise UsageError("--to must be later than --from")
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence {min_confidence:g} is not a confidence; use 0 to 1")
    thaw = thaw_of(tier, days)
    located = settings(archive=archive, store=store)
    others = other_names(located, class_name) if class_name is not None else ()
    selection = FrameFilter(first, after, camera, batch, class_name, min_confidence, frames_only, part_id, others)
    opened = open_to_read(located, key)
    with progress("planning"):
        plan = plan_restore(opened, selection, folder, thaw=None if dry_run else thaw)
    known = KnownArchives.of(located)
    gone = known.vanished(plan.listed, utc_now(), start=first, end=after, camera_id=camera)
    plan.problems += [known.alarm(gone)] if gone else []
    if plan.unreadable:
        note(
            f"{plan.unreadable} records there cannot be understood, so whether their frames are wanted is not known; "
            "without conditions they come as they are"
        )
    if not plan.hours and not plan.problems:
        _report_nothing(opened, plan, as_json)
    if dry_run:
        _report_plan(opened, plan, folder, as_json)
        return
    check_room(plan, folder)
    target = TrailTarget(camera_id=camera, start=first, end=after, out=str(folder.absolute()))
    with (
        on_the_trail(located, "restore", target, by=by, reason=reason) as act,
        progress("restoring", total=plan.bytes, in_bytes=True) as advance,
    ):
        done = carry_out(opened, plan, folder, thaw=thaw, report=lambda _, size: advance(size))
        act.result = (
            f"done: {done.files} files, {done.bytes} bytes from {done.archives} archives, {len(done.problems)} problems"
        )
    _report_done(done, folder, plan.unreadable, as_json)


def _report_nothing(archive: Archive, plan: RestorePlan, as_json: bool) -> None:
    """Nothing fits: say what there is instead."""
    from datetime import timedelta

    from yolo_assets.archive.restore.hints import no_camera, no_hour
    from yolo_assets.contracts.times import Hour, format_time

    selection = plan.selection
    if as_json:
        emit_json({"archives": 0, "files": 0, "bytes": 0, "skipped": 0, "problems": [], "waiting": []})
    if plan.contents.archives:
        raise UserError(f"{plan.contents.instead_of(selection)}; nothing was written")
    if selection.camera is not None:
        last = Hour.nearest(selection.end - timedelta(microseconds=1))
        raise UserError(no_hour(archive, selection.camera, Hour.nearest(selection.start), last))
    whole = f"no archive between {format_time(selection.start)} and {format_time(selection.end)}"
    raise UserError(f"{whole}; {no_camera(archive, None)}")


def _report_plan(archive: Archive, plan: RestorePlan, folder: Path, as_json: bool) -> None:
    from yolo_assets.archive.restore.placing import OutFolder
    from yolo_assets.archive.restore.plan import cold_archives

    cold = cold_archives(archive, plan)
    figures = {
        "archives": plan.archives,
        "hours": len(plan.hours),
        "cameras": len({hour.camera for hour in plan.hours}),
        "files": plan.files,
        "bytes": plan.bytes,
        "missing_bytes": plan.missing,
        "free_bytes": OutFolder(folder).free(),
        "unreadable_records": plan.unreadable,
    }
    if as_json:
        emit_json({**figures, "waiting": [dataclasses.asdict(waiting) for waiting in cold], "problems": plan.problems})
    else:
        out().print(
            "{files} files, {bytes} bytes in {archives} archives of {cameras} cameras and {hours} camera-hours; "
            "{missing_bytes} bytes are not there yet, {free_bytes} bytes are free".format_map(figures),
            markup=False,
        )
        for waiting in cold:
            out().print(f"{waiting.archive_key} {waiting.when}", markup=False)
        if plan.waiting:
            out().print("archives in a cold tier are not counted: their records must be read first", markup=False)
    _failed(plan.problems)


def _report_done(done: RestoreReport, folder: Path, unreadable: int, as_json: bool) -> None:
    from yolo_assets.storage.fallback import PROCESS_READS

    if as_json:
        emit_json({**dataclasses.asdict(done), "unreadable_records": unreadable, "from_copy": PROCESS_READS.count})
    else:
        out().print(
            f"{done.files} files, {done.bytes} bytes restored from {done.archives} archives to {folder}"
            + (f"; {done.skipped} were there already" if done.skipped else ""),
            markup=False,
        )
        for cold in done.waiting:
            state = f"was requested; come back {cold.when}" if cold.asked else cold.when
            out().print(f"{cold.archive_key} {state}", markup=False)
    _failed(done.problems)
    if done.waiting:
        asked = sum(cold.asked for cold in done.waiting)
        raise UserError(
            f"{len(done.waiting)} archives are in a cold tier, {asked} of them requested now; come back "
            f"{done.waiting[0].when if done.waiting[0].asked else 'later'} and run the same command again"
        )


def _failed(problems: list[Any]) -> None:
    if not problems:
        return
    for line in problems[1:]:
        note(line)
    more = f" (and {len(problems) - 1} more, above)" if len(problems) > 1 else ""
    raise UserError(f"not everything can be restored, all the rest is intact: {problems[0]}{more}")
