"""``yolo-assets datasets``: dataset versions from the labels, without Dagster."""

from __future__ import annotations

import typer

from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    emit_json,
    need,
    note,
    out,
    reading_archive,
    settings,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """A group of its own although it holds one command: others follow."""


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
