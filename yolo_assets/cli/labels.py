"""``yolo-assets labels``: bring label files in, without Dagster."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    emit_json,
    need,
    note,
    out,
    progress,
    reading_archive,
    settings,
)
from yolo_assets.contracts.errors import UsageError, UserError

if TYPE_CHECKING:
    from yolo_assets.learning.labels import FileReport

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_SHOWN = 50
"""Problems of a file that are printed; ``--json`` has them all."""


@app.callback()
def _group() -> None:
    """A group of its own although it holds one command: others follow."""


@app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="COCO or Label Studio JSON, a ZIP of either, or a YOLO ZIP.")
    ],
    by: Annotated[
        str | None, typer.Option("--by", help="Who labelled, where the file does not tell.", metavar="NAME")
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(help="Names of classes: a line 'theirs: ours' for each (YAML, JSON or CSV).", metavar="FILE"),
    ] = None,
    reviewed: Annotated[
        Path | None,
        typer.Option(help="Images that were reviewed, a file name a line: not asked about.", metavar="FILE"),
    ] = None,
    all_reviewed: Annotated[
        bool, typer.Option("--all-reviewed", help="Every image was reviewed: ask about none.")
    ] = False,
    store: StoreOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put label files into the inbox of the store and import them, as the labels sensor does.

    A file is read by its content. An image is accepted as a whole; what is wrong with the others is told, image by
    image. Images whose boxes would go, or that may not have been looked at, wait until you say that they were. Exit 1
    when something was not accepted; the rest is imported all the same.

    Example: yolo-assets labels import export.json --by "A. Berg" --class-map names.yaml
    """
    need("cv2", "polars", "ruamel.yaml")
    if reviewed is not None and all_reviewed:
        raise UsageError("--reviewed and --all-reviewed say two things; give one of them")
    from yolo_assets.contracts.announcements import labels_arrived
    from yolo_assets.contracts.names import LABELS_INBOX
    from yolo_assets.events.announcer import announcer_of, source_here
    from yolo_assets.learning.import_options import parse_class_map
    from yolo_assets.learning.labels import FileReport, import_file
    from yolo_assets.learning.plant_classes import allowed_class_names
    from yolo_assets.learning.records import ImportOptions, Rejected
    from yolo_assets.storage.open import open_store

    where = settings(store=store, archive=archive)
    names = [line.strip() for line in _text(reviewed).splitlines() if line.strip()] if reviewed else []
    options = ImportOptions(
        by=by or None,
        class_map=parse_class_map(class_map.read_bytes(), str(class_map)) if class_map else {},
        reviewed="all" if all_reviewed else tuple(names),
    )
    opened, archived = open_store(where.store_url, memory=where.known_stores), reading_archive(where, archive)
    classes = allowed_class_names(opened, where)
    reports: list[FileReport] = []
    with announcer_of(where, note) as announcer, progress("importing", total=len(files)) as advance:
        for path in files:
            try:
                data = path.read_bytes()
                report = import_file(opened, path.name, data, options, classes, archive=archived)
                reports.append(dataclasses.replace(report, file=str(path)))
                announcer.announce(labels_arrived(source_here(), f"{LABELS_INBOX}{path.name}"))
            except OSError as error:
                what = f"{error.strerror}; name a file that can be read"
                reports.append(FileReport(str(path), problems=[Rejected(image="", reason=what)]))
            except UserError as error:
                if error.may_pass:
                    raise
                reports.append(FileReport(str(path), problems=[Rejected(image="", reason=str(error))]))
            advance()
    if as_json:
        emit_json([_document(report) for report in reports])
    else:
        for report in reports:
            _print(report)
    refused = [report for report in reports if report.problems]
    if refused:
        count = sum(len(report.problems) for report in refused)
        raise UserError(
            f"not everything was accepted (files {len(refused)} of {len(reports)}, problems {count}); correct them and "
            "import the file again, or answer with --reviewed FILE or --all-reviewed where it is asked"
        )


def _text(path: Path) -> str:
    from yolo_assets.contracts.text import decode_text

    return decode_text(path.read_bytes(), str(path))


def _document(report: FileReport) -> dict[str, Any]:
    return {
        "file": report.file,
        "images": report.images,
        "boxes": report.boxes,
        "backgrounds": report.backgrounds,
        "unreviewed": report.unreviewed,
        "problems": [{"where": problem.image, "what": problem.reason} for problem in report.problems],
        "notes": report.notes,
    }


def _print(report: FileReport) -> None:
    from yolo_assets.contracts.text import plain

    lines = [
        f"{report.file}: images {report.images}, boxes {report.boxes}, backgrounds {report.backgrounds}, "
        f"unreviewed {report.unreviewed}",
        *(f"  note: {note}" for note in report.notes),
        *(f"  {problem}" for problem in report.problems[:_SHOWN]),
    ]
    if len(report.problems) > _SHOWN:
        lines.append(f"  … and {len(report.problems) - _SHOWN} more; --json shows all")
    for line in lines:
        out().print(plain(line), markup=False)
