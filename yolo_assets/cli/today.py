"""``yolo-assets today``: the plant now, on the terminal or as a page for a wall screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli import common
from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.contracts.wording import Language
    from yolo_assets.today.summary import CameraToday, Today
from yolo_assets.today.wording import TodayWording


def today(
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write the page for a wall screen.", metavar="FILE", parser=location_folder),
    ] = None,
    lang: Annotated[
        str | None, typer.Option("--lang", help="Language: en or zh; by default that of YOLO_ASSETS_LANG.")
    ] = None,
    archive: common.ArchiveOption = None,
    store: common.StoreOption = None,
    spool: common.SpoolOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """The plant now: per camera what came in the last 24 hours, what lacks, what failed, and why, worst first.

    Cameras listed in plant.yaml are there even if they never sent anything.

    Example: yolo-assets today --html /srv/www/today.html
    """
    from yolo_assets.today.wording import TodayWording

    common.need("dagster", "duckdb", "jinja2")
    found = common.settings(archive=archive, store=store, spool=spool)
    language = _language(lang or found.language)

    from yolo_assets.defs.today.look import look_here

    seen, words = look_here(found), TodayWording(language)
    if html is not None:
        from yolo_assets.runtime.files import write_atomic
        from yolo_assets.today.page import page

        write_atomic(html, page(seen, language))
        html.chmod(0o644)  # a web server of another user shows it
    if as_json:
        common.emit_json(
            {
                "at": f"{seen.now:%Y-%m-%dT%H:%M:%SZ}",
                "cameras": [_document(camera, words) for camera in seen.cameras],
                "notices": words.notices(seen),
            }
        )
    elif html is None:
        _show(seen, words)


def _language(given: str) -> Language:
    if given == "en" or given == "zh":
        return given
    raise UsageError(f"--lang {given} is not known; use en or zh")


def _document(camera: CameraToday, words: TodayWording) -> dict[str, Any]:
    return {
        "camera_id": camera.camera_id,
        "status": camera.status,
        "frames": camera.frames,
        "last_frame_at": f"{camera.last_at:%Y-%m-%dT%H:%M:%SZ}" if camera.last_at is not None else None,
        "archived_hours": camera.archived,
        "missing": [hour.key for hour in camera.missing],
        "late": [hour.key for hour in camera.late],
        "failed": [hour.key for hour in camera.failed],
        "cause": words.reason(camera),
    }


def _show(seen: Today, words: TodayWording) -> None:
    for line in words.notices(seen):
        common.note(line)
    if not seen.cameras:
        common.note(words.text("no_cameras"))
        return
    console = common.out()
    heads = ("status", "camera", "frames", "last_frame", "archived", "missing", "failed_hours", "cause")
    rows: list[list[str]] = []
    for camera in seen.cameras:
        row = [
            words.text(camera.status),
            camera.camera_id,
            f"{camera.frames:,}",
            words.last_frame(camera, seen.now),
            str(camera.archived),
            str(len(camera.missing)),
            str(len(camera.failed)),
            words.reason(camera),
        ]
        if console.is_terminal:
            rows.append(row)
        else:
            typer.echo("\t".join(row))
    if console.is_terminal:
        common.show_table([words.text(head) for head in heads], rows, titles=2)
