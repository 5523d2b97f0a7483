"""``yolo-assets restore``: frames and records back out of the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yolo_assets.cli.archive.options import KeyOption, given, trusted_keys
from yolo_assets.cli.common import ArchiveOption, JsonOption, emit_json, note, open_archive, out, progress, settings
from yolo_assets.contracts.errors import UsageError


def restore(
    camera: Annotated[str, typer.Option(help="Camera id.", metavar="C")],
    start: Annotated[str, typer.Option("--from", help="First moment, UTC.", metavar="TIME")],
    end: Annotated[str, typer.Option("--to", help="First moment after the range, UTC.", metavar="TIME")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR")],
    archive: ArchiveOption = None,
    batch: Annotated[str | None, typer.Option(help="Only frames of this production batch.", metavar="B")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Only frames with this class.", metavar="K")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Only frames with a detection at least this sure.", min=0, max=1, metavar="X")
    ] = None,
    frames_only: Annotated[bool, typer.Option("--frames-only", help="No record files.")] = False,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write archived files to DIR/<camera>/<hour>/, hashes verified; run again to go on.

    Example: yolo-assets restore --camera lineA_cam01 --from 2026-03-01T09:00Z --to 2026-03-01T10:00Z --class crack
    --min-confidence 0.8 --out found
    """
    from yolo_assets.archive.restore import restore as restore_files
    from yolo_assets.contracts.times import parse_time

    first, after = given(parse_time, start, "--from"), given(parse_time, end, "--to")
    if first is None or after is None or after <= first:
        raise UsageError("--to must be later than --from")
    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    with progress("restoring") as advance:
        done = restore_files(
            open_archive(found),
            trusted,
            camera,
            first,
            after,
            folder,
            batch=batch,
            class_name=class_name,
            min_confidence=min_confidence,
            frames_only=frames_only,
            report=lambda _: advance(),
        )
    if not done.archives:
        note(f"nothing that fits is archived of {camera}; yolo-assets archive ls --camera {camera} shows what is")
    if as_json:
        emit_json({"archives": done.archives, "files": done.files, "bytes": done.bytes, "skipped": done.skipped})
        return
    out().print(
        f"{done.files} files, {done.bytes} bytes restored from {done.archives} archives to {folder}"
        + (f"; {done.skipped} were there already" if done.skipped else ""),
        markup=False,
    )
