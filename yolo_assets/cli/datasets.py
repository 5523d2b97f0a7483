"""``yolo-assets datasets``: dataset versions from the labels, the golden set, and exports; without Dagster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from yolo_assets.cli.common import (
    ActorOption,
    ArchiveOption,
    JsonOption,
    StoreOption,
    WhyOption,
    emit_json,
    need,
    note,
    on_the_trail,
    out,
    reading_archive,
    settings,
    show_table,
    valid,
)
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.storage import ObjectStore

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
golden = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(golden, name="golden")

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="`current`, or the beginning of a SHA-256.")]
_SHOWN = 20


@app.command()
def build(store: StoreOption = None, archive: ArchiveOption = None, as_json: JsonOption = False) -> None:
    """Build the dataset version that follows from all accepted labels, as the asset training_dataset does.

    Unchanged labels give the same version. Splits are kept; counts are of images by split, and of boxes by split and
    class.

    Example: yolo-assets datasets build --json
    """
    need("cv2", "polars")
    from yolo_assets.learning.dataset import build_dataset
    from yolo_assets.storage.open import open_store

    where = settings(store=store, archive=archive)
    opened = open_store(where.store_url, memory=where.known_stores)
    dataset = build_dataset(opened, reading_archive(where, archive), class_names=where.class_names)
    manifest = dataset.manifest
    if as_json:
        emit_json({"dataset": dataset.sha256, "counts": manifest.counts, "warnings": list(manifest.warnings)})
        return
    out().print(f"dataset {dataset.sha256}", markup=False)
    for name, count in sorted(manifest.counts.items()):
        out().print(f"  {name:<24} {count}", markup=False)
    for warning in manifest.warnings:
        note(f"warning: {warning}")


@app.command()
def ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the dataset versions of the store, the newest marked.

    Example: yolo-assets datasets ls
    """
    need("cv2", "polars")
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.learning.dataset_versions import stored_versions
    from yolo_assets.learning.manifests import read_head

    opened = _store(store)
    newest = latest_dataset(opened)
    rows = [
        {
            "dataset": name,
            "current": newest is not None and newest.sha256 == name,
            "images": head.images,
            **{split: head.counts.get(split, 0) for split in ("train", "val", "test")},
            "excluded": head.excluded,
            "warnings": len(head.warnings),
            "parent": head.parent,
        }
        for name in stored_versions(opened)
        for head in [read_head(opened, name)]
    ]
    if as_json:
        emit_json(rows)
        return
    columns = ("dataset", "current", "images", "train", "val", "test", "excluded", "warnings")
    show_table(columns, [[str(row[name])[:12] for name in columns] for row in rows])


@app.command()
def show(version: VersionArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show one version: counts, what is in no split and why, warnings, and leaks between its splits.

    Example: yolo-assets datasets show current
    """
    need("cv2", "polars")
    from yolo_assets.learning.dataset_versions import check_version_name, find_version
    from yolo_assets.learning.leaks import find_leaks

    valid(check_version_name)(version)
    dataset = find_version(_store(store), version)
    manifest = dataset.manifest
    leaks = [str(leak) for leak in find_leaks(manifest.items)]
    if as_json:
        told = {name: getattr(manifest, name) for name in ("parent", "counts", "excluded")}
        names = {"class_names": list(manifest.class_names), "warnings": list(manifest.warnings)}
        golden_frames = sorted(item.image_path for item in manifest.items if item.golden)
        emit_json({"dataset": dataset.sha256, **told, **names, "golden": golden_frames, "leaks": leaks})
        return
    out().print(f"dataset {dataset.sha256}", markup=False)
    out().print(f"  classes {', '.join(manifest.class_names)}", markup=False)
    for name, count in sorted(manifest.counts.items()):
        out().print(f"  {name:<24} {count}", markup=False)
    for reason, count in Counter(manifest.excluded.values()).most_common(_SHOWN):
        out().print(f"  in no split {count}: {reason}", markup=False)
    for warning in manifest.warnings:
        note(f"warning: {warning}")
    for leak in leaks[:_SHOWN]:
        note(f"leak: {leak}")
    if len(leaks) > _SHOWN:
        note(f"{len(leaks) - _SHOWN} more leaks; --json lists them")


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="`current`, or the beginning of a SHA-256.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other version.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what changed from one version to another: images, labels, splits, classes, counts.

    Example: yolo-assets datasets diff 3f2a91 current
    """
    need("cv2", "polars")
    from yolo_assets.learning.dataset_versions import check_version_name, difference, find_version

    for version in (a, b):
        valid(check_version_name)(version)
    opened = _store(store)
    found = difference(find_version(opened, a), find_version(opened, b))
    if as_json:
        emit_json(found)
        return
    for kind in ("added", "removed", "labels_changed", "split_changed", "classes_added"):
        names = found[kind]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        out().print(f"{kind.replace('_', ' ')}: {', '.join(names[:_SHOWN]) or 'none'}{more}", markup=False)
    for name, (before, after) in found["counts"].items():
        out().print(f"  {name:<24} {before} → {after}", markup=False)


@app.command()
def export(
    version: VersionArgument,
    to: Annotated[Path, typer.Option("--out", help="Folder to make.", metavar="DIR", parser=location_folder)],
    file_format: Annotated[
        Literal["yolo", "coco"], typer.Option("--format", help="`yolo` as trainers read it, or `coco`.")
    ] = "yolo",
    store: StoreOption = None,
    by: ActorOption = None,
    reason: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write a version with its pictures as a folder for other tools; it appears complete or not at all.

    Example: yolo-assets datasets export current --format coco --out exported
    """
    need("cv2", "polars")
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.learning.dataset_versions import check_version_name, export_coco, find_version
    from yolo_assets.learning.training_folder import materialise

    valid(check_version_name)(version)
    opened = _store(store)
    dataset = find_version(opened, version)
    target = TrailTarget(names=(dataset.sha256,), out=str(to.absolute()))
    with on_the_trail(settings(store=store), "datasets export", target, by=by, reason=reason) as act:
        if file_format == "coco":
            export_coco(opened, dataset, to)
        else:
            materialise(opened, dataset, to)
        act.result = f"done: {len(dataset.manifest.items)} images"
    if as_json:
        emit_json({"dataset": dataset.sha256, "out": str(to), "images": len(dataset.manifest.items)})
        return
    out().print(f"{len(dataset.manifest.items)} images of dataset {dataset.sha256[:12]} in {to}", markup=False)


@golden.callback()
def _golden() -> None:
    """Frames that evaluate models and never train one: add, ls.

    Example: yolo-assets datasets golden --help
    """


@golden.command("add")
def golden_add(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Labelled images: path, file name or SHA-256.")],
    by: Annotated[str, typer.Option("--by", help="Who names them.", metavar="NAME")],
    why: Annotated[str, typer.Option("--note", help="Why they are critical.", metavar="TEXT")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add critical frames to the golden set: from the next dataset on they evaluate models and never train one.

    Only frames that no model was trained with or chosen by are taken. Nothing is ever taken out of the set.

    Example: yolo-assets datasets golden add cam1/20260102_03/20260102_030001_000.jpg --by "A. Berg" --note "hairline"
    """
    need("cv2", "polars")
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.learning.golden_set import add_golden

    opened = _store(store)
    newest = latest_dataset(opened)
    target = TrailTarget(names=tuple(images))
    with on_the_trail(settings(store=store), "datasets golden add", target, by=by, reason=why) as act:
        added = add_golden(opened, images, newest.manifest if newest else None, by=by, note=why)
        act.result = f"done: {len(added)} frames"
    if as_json:
        emit_json({"added": [frame.image_path for frame in added]})
        return
    for frame in added:
        out().print(f"golden: {frame.image_path}", markup=False)
    if not added:
        note("all of them were in the golden set already")


@golden.command("ls")
def golden_ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the golden set: who named each frame, when and why.

    Example: yolo-assets datasets golden ls
    """
    need("cv2", "polars")
    from yolo_assets.learning.golden_set import read_golden

    frames = [frame.model_dump(mode="json") for frame in read_golden(_store(store)).frames]
    if as_json:
        emit_json(frames)
        return
    columns = ("image_path", "by", "at", "note")
    show_table(columns, [[str(frame[name]) for name in columns] for frame in frames])


def _store(given: str | None) -> ObjectStore:
    from yolo_assets.storage.open import open_store

    where = settings(store=given)
    return open_store(where.store_url, memory=where.known_stores)
