"""``yolo-assets archive ls``, ``show``, ``cat``: what the archive holds; ``hold``: a legal hold on it."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import (
    CameraOption,
    DaysOption,
    EnrolledByOption,
    KeyOption,
    TierOption,
    devices_of,
    given,
    open_to_read,
    thaw_of,
)
from yolo_assets.cli.common import (
    ActorOption,
    ArchiveOption,
    JsonOption,
    StoreOption,
    WhyOption,
    camera_id,
    emit_json,
    note,
    out,
    progress,
    settings,
)
from yolo_assets.contracts.errors import BadInputError, UsageError, UserError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from datetime import datetime

    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.names import ArchiveName

_LS_FIELDS = {
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


def ls(
    archive: ArchiveOption = None,
    camera: CameraOption = None,
    date: Annotated[str | None, typer.Option(help="Only this day.", metavar="YYYY-MM-DD")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Hours from this moment on, UTC.", metavar="TIME")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Hours before this moment, UTC.", metavar="TIME")] = None,
    key: KeyOption = None,
    enrolled_by: EnrolledByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List archives: files, frames, bytes, when they were verified, and whether an enrolled device sealed them.

    Exit 1 when a receipt is missing or untrusted, when receipts that this machine knew have vanished, and for a camera
    that has no archive.
    """
    from yolo_assets.archive.known import KnownArchives, KnownHour
    from yolo_assets.archive.listing import archives_between
    from yolo_assets.contracts.times import format_time, parse_time, utc_now

    first, after = given(parse_time, start, "--from"), given(parse_time, end, "--to")
    if date is not None:
        if first or after:
            raise UsageError("give either --date, or --from and --to")
        named = given(_day, date, "--date")
        assert named is not None
        first, after = named
    if first is not None and after is not None and after <= first:
        raise UsageError("--to must be later than --from")
    located = settings(archive=archive, store=store)
    opened, known = open_to_read(located, key), KnownArchives.of(located)
    devices = devices_of(located, enrolled_by)
    with progress("listing"):
        names = list(archives_between(opened, first, after, camera_id=camera))
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    seen: list[KnownHour] = []
    with progress("reading receipts", total=len(names)) as advance:
        for result in opened.read_receipts(names):
            advance()
            name, receipt = result.name, result.receipt
            if receipt is None:
                problems.append(f"{name.stem}: {result.problem}")
                row = {"archive_key": name.archive_key, "camera_id": name.camera_id, "hour": name.hour.key}
                row |= {"part": name.part, "problem": result.problem}
                line = f"{name.stem}  UNTRUSTED: {result.problem}"
            else:
                seen.append(KnownHour.of(receipt))
                seal = devices.verdict_on(receipt)
                row = receipt.model_dump(mode="json", include=_LS_FIELDS)
                row |= {"sealed": seal.state, "sealed_why": seal.why}
                line = (
                    f"{name.stem}  {receipt.file_count} files  {receipt.frame_count} frames  "
                    f"{receipt.archive_size} bytes  {format_time(receipt.verified_at)}  seal: {seal.state}"
                )
            if as_json:
                rows.append(row)
            else:
                out().print(line, markup=False)
    if as_json:
        emit_json(rows)
    gone = known.vanished(names, utc_now(), start=first, end=after, camera_id=camera)
    known.note(seen)
    if gone:
        raise UserError(known.alarm(gone))
    if not names:
        _report_empty(opened, camera, first, after)
    if problems:
        raise UserError(f"{len(problems)} of {len(names)} receipts are missing or untrusted, the first: {problems[0]}")


def _day(date: str) -> tuple[datetime, datetime | None]:
    from datetime import UTC, datetime, timedelta

    from yolo_assets.contracts.names import check_date

    start = datetime.fromisoformat(check_date(date)).replace(tzinfo=UTC)
    return start, None if date == "9999-12-31" else start + timedelta(days=1)


def _report_empty(archive: Archive, camera: str | None, first: datetime | None, after: datetime | None) -> None:
    """Nothing is listed: say what there is. A camera that is not known, or receipts that are gone, are an error."""
    from yolo_assets.archive.listing import archived_hours
    from yolo_assets.archive.restore.hints import no_camera, no_receipts, some_cameras

    limited = first is not None or after is not None
    lost = [] if camera is None else _without_receipt(archive, camera, first, after)
    if lost:
        raise UserError(no_receipts(lost, f"camera {camera} has no receipt"))
    hours = archived_hours(archive, camera) if camera is not None else []
    if hours:
        note(f"camera {camera} has no archive in that time; its hours are from {hours[0]} to {hours[-1]}")
    elif limited and camera is None:
        note(f"nothing is archived in that time; {no_camera(archive)}")
    elif camera is not None:
        raise UserError(no_camera(archive, camera))
    elif cameras := some_cameras(archive):
        raise UserError(f"there are archives of {cameras}, but none has a receipt; see: yolo-assets archive verify")
    else:
        note(no_camera(archive))


def _without_receipt(
    archive: Archive, camera: str, first: datetime | None, after: datetime | None
) -> list[ArchiveName]:
    from yolo_assets.archive.listing import stored_archives

    return [
        name
        for name in stored_archives(archive, camera)
        if (first is None or name.hour.end > first) and (after is None or name.hour.start < after)
    ]


def show(
    name: Annotated[str, typer.Argument(help="Name or key of an archive.", metavar="KEY")],
    archive: ArchiveOption = None,
    members: Annotated[bool, typer.Option("--members", help="Also list every file in it.")] = False,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the receipt of one archive, signature verified."""
    from yolo_assets.archive.restore.hints import no_hour
    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.contracts.text import plain
    from yolo_assets.storage.base import ObjectNotFoundError

    opened = open_to_read(settings(archive=archive), key)
    asked = ArchiveName.parse(name)
    try:
        receipt = opened.receipt(asked)
    except ObjectNotFoundError as error:
        receipts = opened.receipts(asked.camera_id, asked.hour)
        if receipts:
            parts = ", ".join(str(receipt.part) for receipt in receipts)
            raise ObjectNotFoundError(
                f"there is no {asked.stem}: hour {asked.hour} of {asked.camera_id} has part {parts}"
            ) from error
        part = f"there is no {asked.stem}: " if asked.part > 1 else ""
        raise ObjectNotFoundError(f"{part}{no_hour(opened, asked.camera_id, asked.hour)}") from error
    document = receipt.model_dump(mode="json")
    rows = opened.part(receipt).index() if members else []
    if as_json:
        listed = [{"name": r.name, "offset": r.offset, "size": r.size, "sha256": r.sha256.hex()} for r in rows]
        emit_json({**document, "members": listed} if members else document)
        return

    def lines() -> Iterator[str]:
        for field, value in document.items():
            yield f"{field}: {value}\n"
        for row in rows:
            # A file's name may hold what a terminal takes for a command.
            name = plain(row.name)
            yield f"{row.sha256.hex()}  {row.size:>12}  {name}\n"

    _page(lines(), long=len(rows) > 100)


def _page(lines: Iterator[str], *, long: bool) -> None:
    """Many lines to a person's pager, else straight out: no width to fit them into, and 20,000 of them at once."""
    if long and sys.stdout.isatty():
        import pydoc

        pydoc.pager("".join(lines))
    else:
        sys.stdout.writelines(lines)


def cat(
    camera: Annotated[str, typer.Option(help="Camera id.", metavar="C", parser=camera_id)],
    archive: ArchiveOption = None,
    frame: Annotated[str | None, typer.Option(help="File name of the frame.", metavar="NAME")] = None,
    at: Annotated[str | None, typer.Option(help="The newest frame at or before this time.", metavar="TIME")] = None,
    hour: Annotated[
        str | None, typer.Option(help="Hour of a frame whose name carries no time.", metavar="YYYYMMDD_HH")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; default: stdout.", parser=location_folder)
    ] = None,
    tier: TierOption = "standard",
    days: DaysOption = 7,
    key: KeyOption = None,
    store: StoreOption = None,
    by: ActorOption = None,
    reason: WhyOption = "",
) -> None:
    """One frame's bytes, by one range read of the archive, hash checked. From a cold tier it is requested: exit 1."""
    from yolo_assets.archive.restore.one_frame import one_frame
    from yolo_assets.contracts.times import Hour, parse_time
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.spool.files import write_atomic
    from yolo_assets.trail.trail import AuditTrail

    if (frame is None) == (at is None):
        raise UsageError("give either --frame NAME or --at TIME")
    moment, only = given(parse_time, at, "--at"), given(Hour.from_key, hour, "--hour")
    if only is not None and frame is None:
        raise UsageError("--hour needs --frame; --at already says which hour")
    thaw = thaw_of(tier, days)
    if output is None and sys.stdout.isatty():
        raise UsageError("a frame cannot be shown on a terminal; write it to a file with -o FILE")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}")
    if output is not None and output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    located = settings(archive=archive, store=store)
    opened = open_to_read(located, key)
    try:
        image = one_frame(opened, camera, frame=frame, at=moment, hour=only, thaw=thaw)
    except BadInputError as error:
        raise UsageError(str(error)) from None
    given_out = TrailTarget(
        camera_id=camera,
        start=image.hour.start,
        end=image.hour.end,
        names=(image.name,),
        out=str(output.absolute()) if output is not None else None,
    )
    AuditTrail.of(located, by).append("archive cat", given_out, f"given out: {len(image.data)} bytes", reason=reason)
    if output is None:
        sys.stdout.buffer.write(image.data)
        sys.stdout.buffer.flush()
    else:
        write_atomic(output, image.data)
        note(f"{image.name}: {len(image.data)} bytes to {output}")
    if moment is not None and image.hour != Hour.of(moment):
        asked = Hour.of(moment)
        note(f"no frame of the hour {asked} up to that time is archived; this is the newest before it: {image.name}")
    if image.passed_over:
        hours = ", ".join(hour.key for hour in image.passed_over)
        note(
            f"a newer frame may be in {hours}: an archive there has no receipt; see: yolo-assets archive verify "
            f"--camera {camera}"
        )


def hold(
    names: Annotated[list[str], typer.Argument(help="Names or keys of archives.", metavar="KEY")],
    release: Annotated[bool, typer.Option("--release", help="End the hold; the retention stays.")] = False,
    archive: ArchiveOption = None,
    key: KeyOption = None,
    store: StoreOption = None,
    by: ActorOption = None,
    reason: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Hold archives: nothing of that camera and hour can be deleted until released, even after its retention.

    Archive, index and receipt of every part of the hour are held, in the versions that were archived.
    """
    from yolo_assets.archive.retention import hold as hold_hour
    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.trail.trail import AuditTrail

    located = settings(archive=archive, store=store)
    opened = open_to_read(located, key, alone=True)
    hours = {(name.camera_id, name.hour): name for name in map(ArchiveName.parse, names)}  # parts of one hour: once
    rows: list[dict[str, Any]] = []
    what, trail = "archive hold release" if release else "archive hold", AuditTrail.of(located, by)
    with progress("releasing" if release else "holding", total=len(hours)) as advance:
        for name in hours.values():
            target = TrailTarget(camera_id=name.camera_id, start=name.hour.start, end=name.hour.end, names=(name.stem,))
            with trail.recording(what, target, reason=reason):
                held = hold_hour(opened, name, not release)
            advance()
            rows.extend(dataclasses.asdict(entry) for entry in held)
            if not as_json:
                for entry in held:
                    state = "held" if entry.on else "released"
                    out().print(f"{state}  {entry.key}  version {entry.version_id}", markup=False)
    if as_json:
        emit_json(rows)
