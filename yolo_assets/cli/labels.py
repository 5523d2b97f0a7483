"""``yolo-assets labels``: bring label files in, look at what was said about each image, and at what may be wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
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
    on_the_trail,
    out,
    progress,
    reading_archive,
    settings,
    show_table,
)
from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.text import decode_text, plain
from yolo_assets.contracts.times import format_time
from yolo_assets.learning.label_history import Conflict, LabelHistory, Labelling, accepted, read_history, told

if TYPE_CHECKING:
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.learning.labels import FileReport
    from yolo_assets.learning.records import AcceptedLabels
    from yolo_assets.vision.model import Model

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

ChangeTestLabels = Annotated[
    Path | None,
    typer.Option(help="Images of the test split whose labels may change, a file name or path a line.", metavar="FILE"),
]

_SHOWN = 50
"""Problems of a file that are printed; ``--json`` has them all."""


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="COCO, Label Studio or Datumaro JSON, CVAT XML, Pascal VOC, a ZIP of them, or a YOLO ZIP.",
        ),
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
    change_test_labels: ChangeTestLabels = None,
    store: StoreOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put label files into the inbox of the store and import them, as the labels sensor does.

    A file is read by its content. An image is accepted as a whole; what is wrong with the others is told, image by
    image. Images whose boxes would go, or that may not have been looked at, wait until you say that they were; images
    of the test split wait until you name them. Exit 1 when something was not accepted; the rest is imported all the
    same.

    Example: yolo-assets labels import export.json --by "A. Berg" --class-map names.yaml
    """
    need("cv2", "defusedxml", "polars", "ruamel.yaml")
    if reviewed is not None and all_reviewed:
        raise UsageError("--reviewed and --all-reviewed say two things; give one of them")
    from yolo_assets.contracts.announcements import labels_arrived
    from yolo_assets.contracts.names import LABELS_INBOX
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.events.announcer import announcer_of, source_here
    from yolo_assets.learning.import_options import parse_class_map
    from yolo_assets.learning.labels import FileReport, import_file
    from yolo_assets.learning.plant_classes import add_new_classes, allowed_class_names
    from yolo_assets.learning.records import ImportOptions, Rejected
    from yolo_assets.storage.open import open_store

    where = settings(store=store, archive=archive)
    options = ImportOptions(
        by=by or None,
        class_map=parse_class_map(class_map.read_bytes(), str(class_map)) if class_map else {},
        reviewed="all" if all_reviewed else _names(reviewed),
        change_test_labels=_names(change_test_labels),
    )
    opened, archived = open_store(where.store_url, memory=where.known_stores), reading_archive(where, archive)
    classes = allowed_class_names(opened, where)
    reports: list[FileReport] = []
    target = TrailTarget(names=tuple(str(path) for path in files))
    with (
        on_the_trail(where, "labels import", target, by=by) as act,
        announcer_of(where, note) as announcer,
        progress("importing", total=len(files)) as advance,
    ):
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
        rejected = sum(len(report.problems) for report in reports)
        act.result = f"done: {sum(report.images for report in reports)} images, {rejected} problems"
    for name in add_new_classes(opened, where, accepted(opened)):
        note(f"a label has the new class {name}; it was added to the list of classes")
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
            "import the file again, or answer where it is asked, with --reviewed FILE, --all-reviewed or "
            "--change-test-labels FILE"
        )


@app.command()
def ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the label files that were imported: whose they are, what is in them, how much of it counts now.

    An image counts for the file whose labels of it changed last; the others keep it as history.

    Example: yolo-assets labels ls --json
    """
    history = _history(store)
    counting = Counter(one.file.source_sha256 for one in history.counting().values())
    rows = [_file(file, counting[file.source_sha256]) for file in history.files]
    if as_json:
        emit_json(rows)
        return
    heads = ("file", "imported", "tool", "by", "images", "count now", "boxes", "backgrounds", "waiting", "sha256", "")
    show_table(
        heads,
        [
            (
                *(row["file"], row["imported_at"], row["tool"] or row["format"], ", ".join(row["by"])),
                *(str(row[name]) for name in ("images", "counting", "boxes", "backgrounds", "waiting")),
                *(row["sha256"][:12], "withdrawn" if row["withdrawn"] else ""),
            )
            for row in rows
        ],
    )


@app.command()
def history(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Path or file name of the image, or its SHA-256.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that was said about an image: who, when, by which tool and file, which of it counts, and what waits.

    Example: yolo-assets labels history cam01/20260102_03/20260102_030405_678.jpg
    """
    known = _history(store)
    found = known.find(image)
    if len(found) > 1:
        shown = ", ".join(sha256[:12] for sha256 in found[:8])
        raise UserError(f"{len(found)} images are called {image}; name one by its path or its SHA-256: {shown}")
    said = known.of(found[0]) if found else []
    waiting = known.waiting({one.image.image_path for one in said} or {image})
    if not said and not waiting:
        raise UserError(f"no label file speaks of {image}; `yolo-assets labels ls` shows the files")
    path = said[-1].image.image_path if said else waiting[0][1].image_path
    labels = [_said(number, one, known.state(one)) for number, one in enumerate(said, 1)]
    asked = [{"file": file.source_file, "where": one.image, "what": one.reason} for file, one in waiting]
    if as_json:
        emit_json({"image": path, "sha256": found[0] if found else None, "labels": labels, "waiting": asked})
        return
    out().print(plain(f"{path or image}"), markup=False)
    heads = ("round", "state", "changed", "by", "tool", "file", "batch", "boxes")
    rows = [
        (
            *(str(row["round"]), row["state"], row["changed_at"], row["by"] or ""),
            *(row["tool"] or row["format"], row["file"], row["batch"] or "", told(one.image.boxes)),
        )
        for row, one in zip(labels, said, strict=True)
    ]
    show_table(heads, rows, titles=2)
    for one in asked:
        out().print(plain(f"waits, {one['file']}: {one['what']}"), markup=False)


@app.command()
def conflicts(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List images about which label files differ, and labelled images that wait for an answer.

    Settle one by withdrawing the file that is wrong, or by importing the right one again with --reviewed. What the same
    tool says was changed later is no conflict.

    Example: yolo-assets labels conflicts
    """
    found = _history(store).conflicts()
    if as_json:
        emit_json([_conflict(one) for one in found])
        return
    if not found:
        note("no two files differ about an image")
        return
    show_table(
        ("image", "counts", "its file", "differs", "its file", "why"),
        [
            (
                *(one.counts.image.image_path, told(one.counts.image.boxes), one.counts.file.source_file),
                *("" if one.other is None else told(one.other.image.boxes), one.file.source_file, one.why),
            )
            for one in found
        ],
    )


@app.command()
def withdraw(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Name of an imported file, or the beginning of its SHA-256.")
    ],
    by: Annotated[str | None, typer.Option("--by", help="Who withdraws it.", metavar="NAME")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.", metavar="TEXT")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the withdrawal back: its labels count again.")] = False,
    change_test_labels: ChangeTestLabels = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the labels of an imported file no longer count: earlier ones do again, and the next dataset follows.

    The file and its labels stay as history. Where labels of the test split would change, nothing is done until you name
    these images.

    Example: yolo-assets labels withdraw export.json --by "A. Berg" --reason "wrong project"
    """
    need("cv2", "defusedxml", "polars", "ruamel.yaml")
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.learning.labels import withdraw_file
    from yolo_assets.storage.open import open_store

    where = settings(store=store)
    opened, names = open_store(where.store_url, memory=where.known_stores), _names(change_test_labels)
    what, target = "labels withdraw undo" if undo else "labels withdraw", TrailTarget(names=(file,))
    with on_the_trail(where, what, target, by=by, reason=reason or "") as act:
        changed = withdraw_file(opened, file, by=by or None, reason=reason or None, undo=undo, change_test_labels=names)
        act.result = f"done: {changed.source_file} ({changed.source_sha256})"
    counting = read_history(opened).counting()
    left = sum(image.sha256 in counting for image in changed.images)
    if as_json:
        own = sum(one.file.source_sha256 == changed.source_sha256 for one in counting.values())
        emit_json(_file(changed, own) | {"still_labelled": left})
        return
    line = (
        f"{changed.source_file} ({changed.digest}) {'counts again' if undo else 'is withdrawn'}: {left} of its "
        f"{len(changed.images)} images have labels now; the next dataset follows"
    )
    out().print(plain(line), markup=False)


def _history(store: str | None) -> LabelHistory:
    from yolo_assets.storage.open import open_store

    where = settings(store=store)
    return read_history(open_store(where.store_url, memory=where.known_stores))


def _file(file: AcceptedLabels, counting: int) -> dict[str, Any]:
    return {
        "file": file.source_file,
        "sha256": file.source_sha256,
        "format": file.format,
        "tool": file.tool,
        "imported_at": format_time(file.imported_at),
        "by": sorted({image.annotator for image in file.images if image.annotator}),
        "images": len(file.images),
        "counting": counting,
        "boxes": sum(len(image.boxes) for image in file.images),
        "backgrounds": sum(not image.boxes for image in file.images),
        "waiting": len(file.rejected) + len(file.questions),
        "withdrawn": file.withdrawn.model_dump(mode="json") if file.withdrawn else None,
    }


def _said(number: int, one: Labelling, state: str) -> dict[str, Any]:
    return {
        "round": number,
        "state": state,
        "changed_at": format_time(one.changed_at),
        "told_by": "tool" if one.image.labelled_at else "file" if one.file.updated_at else "import",
        "imported_at": format_time(one.file.imported_at),
        "by": one.image.annotator,
        "tool": one.file.tool,
        "format": one.file.format,
        "file": one.file.source_file,
        "sha256": one.file.source_sha256,
        "batch": one.image.batch,
        "confirmed": one.image.confirmed,
        "boxes": [box.model_dump(mode="json", by_alias=True) for box in one.image.boxes],
    }


def _conflict(one: Conflict) -> dict[str, Any]:
    def short(labels: Labelling) -> dict[str, Any]:
        whole = _said(0, labels, "")
        return {name: whole[name] for name in ("file", "sha256", "by", "tool", "changed_at", "boxes")}

    return {
        "image": one.counts.image.image_path,
        "sha256": one.counts.image.sha256,
        "counts": short(one.counts),
        "other": None if one.other is None else short(one.other),
        "file": one.file.source_file,
        "why": one.why,
    }


def _names(path: Path | None) -> tuple[str, ...]:
    """The lines of a file that a person wrote."""
    if path is None:
        return ()
    text = decode_text(path.read_bytes(), str(path))
    return tuple(line.strip() for line in text.splitlines() if line.strip())


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
