"""``yolo-assets catalog``: make the archive catalog anew and ask it questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.common import ArchiveOption, JsonOption, StoreOption, emit_json, note, open_archive, out, settings

if TYPE_CHECKING:
    import polars as pl

    from yolo_assets.contracts.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

TrustedOption = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Further public key of an archiver, or a folder of them (*.pub)."),
]
SqlArgument = Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; SHOW TABLES lists what there is.")]


@app.command()
def rebuild(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every receipt of the archive, verify it, and publish a new catalog.

    Receipts that are not believed are left out and named. Safe beside running publishers and readers.

    Example: yolo-assets catalog rebuild --archive file:///mnt/nas/archive
    """
    from yolo_assets.catalog.rebuild import rebuild as rebuild_catalog
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.storage.open import open_store

    where = settings(archive=archive, store=store)
    keys = [*where.archiver_public_keys(), *(trusted_key or [])]
    if not keys:
        raise SignatureError(
            f"no key to check receipts with in {where.keys}; give the archiver's public key by --trusted-key"
        )
    trusted = TrustedKeys.load(keys)
    made = rebuild_catalog(open_store(where.store_url), open_archive(where), trusted=trusted)
    for problem in made.problems:
        note(f"not believed: {problem.problem}")
    if as_json:
        problems = [{"receipt_key": p.key, "problem": p.problem} for p in made.problems]
        emit_json({"version": made.version, "archives": made.archives, "problems": problems})
    else:
        out().print(f"catalog {made.version}: {made.archives} archives, {len(made.problems)} receipts not believed")


@app.command()
def query(sql: SqlArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Ask the newest catalog; nothing can be changed.

    Tables: archives, archive_classes, problems, hours_seen, gaps; with a folder as store also detections and frames.

    Example: yolo-assets catalog query "SELECT archive_key FROM archive_classes WHERE class = 'crack'"
    """
    from yolo_assets.catalog.read import query as answer
    from yolo_assets.storage.open import open_store

    where = settings(store=store)
    _print(answer(open_store(where.store_url), sql, cache=_cache(where)), as_json, "no rows")


@app.command()
def gaps(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Camera-hours that have detections and no archive, as of the newest catalog.

    Example: yolo-assets catalog gaps
    """
    from yolo_assets.catalog.read import gaps as find_gaps
    from yolo_assets.catalog.read import open_catalog
    from yolo_assets.storage.open import open_store

    where = settings(store=store)
    with open_catalog(open_store(where.store_url), cache=_cache(where)) as connection:
        _print(find_gaps(connection), as_json, "no gaps")


@app.command()
def stats(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Archives, frames and bytes by camera, and bytes by age.

    Example: yolo-assets catalog stats --json
    """
    from yolo_assets.catalog.read import open_catalog
    from yolo_assets.catalog.read import stats as count
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.storage.open import open_store

    where = settings(store=store)
    with open_catalog(open_store(where.store_url), cache=_cache(where)) as connection:
        found = count(connection, utc_now())
    if as_json:
        emit_json({"cameras": _rows(found.cameras), "ages": _rows(found.ages), "problems": found.problems})
        return
    _show(found.cameras, "no archives")
    _show(found.ages, "")
    if found.problems:
        note(f"{found.problems} receipts are not believed: yolo-assets catalog query 'SELECT * FROM problems'")


def _cache(where: Settings) -> Path:
    """Where a catalog from S3 is kept between commands."""
    return where.home / "cache" / "catalog"


def _print(found: pl.DataFrame, as_json: bool, nothing: str) -> None:
    if as_json:
        emit_json(_rows(found))
    else:
        _show(found, nothing)


def _rows(found: pl.DataFrame) -> list[Any]:
    """Rows for JSON, times as the contracts write them."""
    from datetime import datetime

    from yolo_assets.contracts.times import format_time

    def plain(value: Any) -> Any:
        return format_time(value) if isinstance(value, datetime) and value.tzinfo else value

    return [{name: plain(value) for name, value in row.items()} for row in found.iter_rows(named=True)]


def _show(found: pl.DataFrame, nothing: str) -> None:
    """A table on a terminal, tab-separated lines with a heading in a pipe."""
    from rich.table import Table
    from rich.text import Text

    if found.is_empty():
        if nothing:
            note(nothing)
        return
    console, rows = out(), _rows(found)
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    if not console.is_terminal:
        for line in [found.columns, *cells]:
            typer.echo("\t".join(line))
        return
    table = Table(*found.columns)
    for line in cells:
        table.add_row(*map(Text, line))  # data, never markup
    console.print(table)
