"""``yolo-assets labels``: bring label files in and find labels that may be wrong, without Dagster."""

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
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.learning.labels import FileReport
    from yolo_assets.vision.model import Model

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


@app.command()
def suspects(
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Most images that people look at again.", metavar="N")
    ] = 50,
    store: StoreOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """List labels of the newest dataset that may be wrong, and write a batch in which people look at them again.

    The model on the channel stable looks at every picture; what it reports is compared with the labels, and rounds of
    labels with each other. Each doubt is an object that is overlooked, swapped with another class, or misplaced. Label
    Studio takes the batch as it takes an annotation batch; its corrected export goes to labels import. Nothing is
    changed before.

    Example: yolo-assets labels suspects --limit 30
    """
    need("cv2", "polars", "duckdb")
    from yolo_assets.contracts.names import annotation_key
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.learning.review import review_labels
    from yolo_assets.storage.open import open_store

    where = settings(store=store, archive=archive)
    opened = open_store(where.store_url, memory=where.known_stores)
    model = _serving_model(where)
    dataset = latest_dataset(opened)
    total = len(dataset.manifest.items) if dataset is not None else 0
    try:
        with progress("looking", total=total) as advance:
            report = review_labels(opened, model, limit=limit, on_image=advance)
    finally:
        if model is not None:
            model.close()
    if as_json:
        emit_json(report.model_dump(mode="json", by_alias=True, exclude={"schema_version", "asked"}))
        return
    for one in report.suspects:
        out().print(f"{one.score:.2f}  {one.image_path} ({one.split})  {one.sentence}", markup=False)
    for path, why in sorted(report.unreadable.items()):
        note(f"not looked at: {path}: {why}")
    if report.batch is None:
        note(f"nothing suspicious in {report.images} images")
    else:
        count = len({one.sha256 for one in report.suspects})
        note(f"{count} of {report.images} images to look at again: {annotation_key(report.batch, '')} of the store")


def _serving_model(where: Settings) -> Model | None:
    """The model on ``stable``; None, with a note, where none is released: rounds of labels can be compared without."""
    from yolo_assets.cli.registries import open_registry
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.contracts.model import ONNX
    from yolo_assets.vision.model import Model

    try:
        registry = open_registry(where, None)
    except SignatureError as error:
        note(f"no model looks at the pictures, only rounds of labels are compared: {error}")
        return None
    pointer = registry.channel(where.model_name, "stable").pointer()
    if pointer is None:
        note("no model is released on stable: only rounds of labels are compared")
        return None
    bundle = registry.read_bundle(pointer.name, pointer.version, only=[ONNX])
    return Model.load(bundle.manifest, bundle.files, engine="onnxruntime", threads=2)


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
