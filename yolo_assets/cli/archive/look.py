"""``yolo-assets archive ls``, ``show``, ``cat``: what the archive holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from yolo_assets.cli.archive.options import CameraOption, KeyOption, given, trusted_keys
from yolo_assets.cli.common import ArchiveOption, JsonOption, emit_json, note, open_archive, out, progress, settings
from yolo_assets.contracts.errors import UsageError


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
