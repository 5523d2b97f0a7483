"""``yolo-assets tables``: the detection tables of an hour built without Dagster, and the records that were refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import KeyOption, given
from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    SpoolOption,
    StoreOption,
    emit_json,
    note,
    open_archive,
    out,
    settings,
)
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import END_OF_HOURS, FIRST_MOMENT, Hour

if TYPE_CHECKING:
    from pathlib import Path

    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.storage.base import ObjectStore

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_LINE = re.compile(r"(?P<file>.+\.(?:json|ndjson|jsonl)):(?P<line>[0-9]+)", re.IGNORECASE)

CameraOption = Annotated[str | None, typer.Option("--camera", help="Only this camera.", metavar="C")]


@app.command()
def build(
    hour: Annotated[str, typer.Option("--hour", help="The hour.", metavar="YYYYMMDD_HH")],
    camera: CameraOption = None,
    spool: SpoolOption = None,
    archive: ArchiveOption = None,
    store: StoreOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the tables detections and frames of an hour, as Dagster's assets do.

    Records are read in the spool where the hour lies there, else in the archive. What cannot be a row goes to
    quarantine with its reason; see tables quarantine. Safe to repeat. A camera that fails does not stop the others.

    Example: yolo-assets tables build --hour 20260301_09
    """
    from yolo_assets.spool.hours import list_hours
    from yolo_assets.tables.build import build_hour, cameras_of_hour

    chosen = given(Hour.from_key, hour, "--hour")
    assert chosen is not None
    only = given(check_id, camera, "--camera")
    where = settings(archive=archive, store=store, spool=spool)
    cold = _archive(where, key, asked=archive is not None)
    cameras = cameras_of_hour(chosen, list_hours(where.spool, only), cold)
    if only is not None:
        cameras = {name: parts for name, parts in cameras.items() if name == only}
    if not cameras:
        what = f"hour {chosen}" if only is None else f"{only} in hour {chosen}"
        there = "and there is no archive" if cold is None else f"nor in {cold.url}"
        raise UserError(f"no file of {what}: neither in the spool {where.spool} {there}; check both")
    tables = _store(where, store)
    counts = {"frames": 0, "detections": 0, "quarantined": 0}
    failed: list[str] = []
    defect: Exception | None = None
    for name, parts in cameras.items():
        try:
            made = build_hour(name, chosen, where.spool, cold, tables, archived=parts)
        except (UserError, OSError) as error:
            failed.append(f"{name} {chosen}: {error}")
            note(f"failed: {failed[-1]}")
            continue
        except Exception as error:  # a defect of the program: told with its traceback when the others are done
            defect = defect or error
            note(f"failed: {name} {chosen}: {type(error).__name__}: {error}")
            continue
        counts["frames"] += made.frames
        counts["detections"] += made.detections
        counts["quarantined"] += made.quarantined
        if not as_json:
            line = f"{name} {chosen}  {made.frames} frames  {made.detections} detections"
            line += f"  {made.quarantined} in quarantine" if made.quarantined else ""
            line += f"  {made.misplaced} captured outside this hour" if made.misplaced else ""
            out().print(line, markup=False)
    if as_json:
        emit_json(counts)
    elif counts["quarantined"]:
        note(f"what is in quarantine, and why: yolo-assets tables quarantine --hour {chosen}")
    if defect is not None:
        raise defect
    if failed:
        raise UserError(
            f"{len(failed)} of {len(cameras)} cameras have no tables, the first: {failed[0]}; run again when that is "
            "put right"
        )


@app.command()
def quarantine(
    hour: Annotated[str | None, typer.Option("--hour", help="Only this hour.", metavar="YYYYMMDD_HH")] = None,
    camera: CameraOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the records that are not in the tables: file, line and reason. Their bytes stay in spool and archive.

    Example: yolo-assets tables quarantine --hour 20260301_09 --camera lineA_cam01
    """
    from yolo_assets.tables.scan import read_quarantine

    chosen = given(Hour.from_key, hour, "--hour")
    only = given(check_id, camera, "--camera")
    where = settings(store=store)
    start, end = (chosen.start, chosen.end) if chosen is not None else (FIRST_MOMENT, END_OF_HOURS)
    refused = read_quarantine(_store(where, store), start, end, None if only is None else [only])
    rows = [_row(row) for row in refused.iter_rows(named=True)]
    if as_json:
        emit_json(rows)
        return
    for row in rows:
        place = row["file"] if row["line"] is None else f"{row['file']}:{row['line']}"
        which = "" if row["index"] is None else f" detection {row['index']}"
        out().print(plain(f"{place}{which}  {row['reason']}"), markup=False)
    note(f"{len(rows)} records or detections in quarantine" if rows else "nothing is in quarantine")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """One refused thing, for machines; ``line`` is None where the file holds one record."""
    numbered = _LINE.fullmatch(row["source"])
    return {
        "camera_id": row["camera_id"],
        "hour": Hour(row["hour"]).key,
        "file": numbered["file"] if numbered else row["source"],
        "line": int(numbered["line"]) if numbered else None,
        "reason": row["reason"],
        "kind": row["kind"],
        "image_path": row["image_path"],
        "index": row["index"],
        "raw": row["raw"],
    }


def _store(where: Settings, asked: str | None) -> ObjectStore:
    from yolo_assets.storage.open import open_store

    if asked is None:
        where.home.mkdir(parents=True, exist_ok=True)  # the default store lies in it
    return open_store(where.store_url)


def _archive(where: Settings, keys: list[Path] | None, *, asked: bool) -> Archive | None:
    """The archive to read; None where nobody asked for one and nothing was archived yet."""
    from yolo_assets.storage.open import folder_of
    from yolo_assets.transparency.held import trusted_archive

    folder = folder_of(where.archive_url)
    if not asked and folder is not None and not folder.is_dir():
        return None
    return trusted_archive(open_archive(where), keys or where.archiver_public_keys(), where)
