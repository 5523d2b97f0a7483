"""``yolo-assets lineage``: both ways from a frame, a label, a model version or an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    emit_json,
    need,
    note,
    out,
    settings,
    show_table,
)
from yolo_assets.cli.registries import TrustedOption, readable_registry

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.lineage.trace import Trace

_SHOWN = 40
"""Rows of a table that are printed; ``--json`` has them all."""


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FRAME|LABEL|MODEL|ARCHIVE",
            help="Path or name of a frame, name or SHA-256 of a label file or labelled picture, version, or archive.",
        ),
    ],
    kind: Annotated[
        Literal["frame", "label", "model", "archive"] | None,
        typer.Option("--as", help="What it is, where it may be several things.", metavar="KIND"),
    ] = None,
    store: StoreOption = None,
    archive: ArchiveOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """What it came from, and every model and shipped decision that rests on it.

    From a detection's frame to its model, dataset, label files and archives; from a wrong label to every model that
    rests on it, and to the hours, cameras, detections and archives that these decided. The store alone answers; with
    the archive at hand the one archive that holds a frame is told.

    Example: yolo-assets lineage lineA_cam01/20260102_03/20260102_030405_678.jpg
    """
    need("duckdb", "polars", "cv2")
    from yolo_assets.lineage.trace import Tracer

    where = settings(store=store, archive=archive)
    registry = readable_registry(where, trusted_key)
    tracer = Tracer(
        registry,
        where.model_name,
        archive=_archive_at_hand(where, named=archive is not None),
        cache=where.home / "cache" / "catalog",
    )
    found = tracer.trace(what, kind)
    if as_json:
        emit_json(found.document())
        return
    _show(found)


def _archive_at_hand(where: Settings, *, named: bool) -> Archive | None:
    """The archive, where it is there and a key checks its receipts; one that was named must be."""
    from yolo_assets.cli.archive.options import open_to_read
    from yolo_assets.contracts.errors import UserError

    try:
        return open_to_read(where, None)
    except UserError:
        if named:
            raise
        return None


def _show(found: Trace) -> None:
    from yolo_assets.lineage.trace import hour_ranges

    has_labels = ", and it has labels" if found.kind == "frame" and found.labels else ""
    out().print(f"{found.name} is {'an' if found.kind == 'archive' else 'a'} {found.kind}{has_labels}", markup=False)
    for other in found.also:
        note(f"it may be a {other} too: ask with --as {other}")
    for title, facts in (("frame", found.frame), ("archive", found.archive)):
        if facts:
            show_table(["", title], [[key, _cell(value)] for key, value in facts.items() if value not in (None, [])])
    if found.labels:
        _show_labels(found)
    if found.made_from:
        out().print("\nmade from")
        rows = [
            [
                one.model,
                one.how,
                one.parent or "",
                (one.dataset or "")[:12],
                ", ".join(f"{split} {count}" for split, count in one.images.items()),
                str(len(one.label_files)),
                str(len(one.archives)),
                ", ".join(f"{r['channel']} {r['release']}" for r in one.releases),
            ]
            for one in found.made_from
        ]
        show_table(["model", "how", "parent", "dataset", "pictures", "label files", "archives", "releases"], rows)
        files = [found.label_files[sha] | {"sha256": sha} for one in found.made_from[:1] for sha in one.label_files]
        if files:
            out().print("\nlabel files of the first")
            _table(
                ["file", "imported", "by", "SHA-256"],
                [
                    [f["file"] or "gone", f.get("imported_at", ""), ", ".join(f.get("by", [])), f["sha256"][:12]]
                    for f in files
                ],
            )
    if found.kind != "frame" or found.labels:
        out().print("\nmodels that rest on it" if found.rests_on_it else "\nno model rests on it")
    if found.rests_on_it:
        rows = [
            [
                one.model,
                one.how,
                one.because + (f", {one.as_now} of {one.pictures} as labelled today" if one.pictures else ""),
                ", ".join(f"{r['channel']} {r['release']}" for r in one.releases) or "never served",
            ]
            for one in found.rests_on_it
        ]
        _table(["model", "how", "why", "releases"], rows)
        total = found.totals
        words = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in total.items())
        out().print(f"\nshipped decisions of these: {words}")
    if found.decided:
        heads = ["model", "camera", "first hour", "last hour", "hours", "frames", "detections", "archives"]
        _table(heads, hour_ranges(found.decided))
    for line in found.notes:
        note(line)


def _show_labels(found: Trace) -> None:
    assert found.labels is not None
    boxes = found.labels.get("boxes")
    if boxes is not None:
        withdrawn = "nothing: its labels were withdrawn"
        named = ", ".join(box["class"] for box in boxes) or (withdrawn if found.labels["withdrawn"] else "background")
        out().print(f"labelled today: {named}", markup=False)
    rows = [
        [
            found.label_files[one["sha256"]]["file"] or "gone",
            found.label_files[one["sha256"]].get("imported_at", ""),
            ", ".join(one["by"]),
            str(one["pictures"]),
            str(one["count_today"]),
            one["sha256"][:12],
        ]
        for one in found.labels["files"]
    ]
    _table(["label file", "imported", "by", "pictures", "count today", "SHA-256"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> None:
    show_table(heads, rows[:_SHOWN])
    if len(rows) > _SHOWN:
        note(f"{len(rows) - _SHOWN} more: all of them with --json")


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
