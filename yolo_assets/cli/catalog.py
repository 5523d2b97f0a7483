"""``yolo-assets catalog``: rebuild and query the archive catalog."""

from __future__ import annotations

import csv
import sys
from contextlib import ExitStack
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.class_names import other_names
from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    camera_id,
    emit_json,
    need,
    note,
    open_archive,
    out,
    progress,
    settings,
    show_table,
)
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from yolo_assets.archive.archive import Archive
    from yolo_assets.catalog.answers import Answer
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.storage.base import ObjectStore

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_SHOWN = 20
"""Untrusted receipts that are named; a forgotten key makes it all of them."""

TrustedOption = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Further public key of an archiver, or a folder of them (*.pub)."),
]
SqlArgument = Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; SHOW TABLES lists what there is.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
CameraOption = Annotated[str | None, typer.Option("--camera", help="Only this camera.", metavar="C", parser=camera_id)]
PricesOption = Annotated[
    Path | None, typer.Option(help="Price table (TOML); without one, example list prices.", metavar="FILE")
]
FromOption = Annotated[str, typer.Option("--from", help="First moment, like 2026-03-01T00:00:00Z.", metavar="TIME")]
ToOption = Annotated[str, typer.Option("--to", help="First moment after the range.", metavar="TIME")]


@app.command()
def rebuild(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    readers: Annotated[int, typer.Option(help="How many receipts are read at the same time.", min=1, max=256)] = 8,
    as_json: JsonOption = False,
) -> None:
    """Read every receipt of the archive, verify it, and publish a new catalog.

    Receipts that are missing or untrusted are left out and listed, and so are those that this machine knew and that
    have vanished: exit 1, after the catalog was published. Safe while publishers and readers are running.

    Example: yolo-assets catalog rebuild --archive file:///mnt/nas/archive
    """
    from yolo_assets.archive.known import KnownArchives
    from yolo_assets.catalog.publish import publish
    from yolo_assets.catalog.read import known_hours, open_catalog
    from yolo_assets.contracts.errors import SignatureError, UserError
    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.storage.open import open_store
    from yolo_assets.transparency.held import trusted_archive

    where = settings(archive=archive, store=store)
    keys = [*where.archiver_public_keys(), *(trusted_key or [])]
    if not keys:
        raise SignatureError(
            f"no key to check receipts with in {where.keys}; give the archiver's public key with --trusted-key"
        )
    opened = open_store(where.store_url)
    with ExitStack() as bars:
        made = publish(
            opened,
            trusted_archive(open_archive(where), keys, where),
            from_receipts=True,
            cache=_cache(where),
            readers=readers,
            report=_bar(bars),
        )
    for problem in made.problems[1:_SHOWN]:  # the first is the error at the end
        note(f"untrusted: {problem.problem}")
    if made.pointer.problems > _SHOWN:
        more = "yolo-assets catalog query 'SELECT * FROM problems'"
        note(f"untrusted: {made.pointer.problems - _SHOWN} more; all of them: {more}")
    if as_json:
        problems = [{"receipt_key": p.key, "problem": p.problem} for p in made.problems]
        emit_json({"version": made.version, "archives": made.archives, "problems": problems})
    else:
        out().print(f"catalog {made.version}: {made.archives} archives, {made.pointer.problems} untrusted receipts")
    with open_catalog(opened, cache=_cache(where)) as connection:
        there = known_hours(connection)
    known = KnownArchives.of(where)
    gone = known.vanished((ArchiveName(one.camera_id, one.hour) for one in there), utc_now())
    known.note(there)
    if gone:
        raise UserError(known.alarm(gone))
    if made.problems:
        raise UserError(
            f"{made.pointer.problems} receipts are missing or untrusted and left out, the first: "
            f"{made.problems[0].problem}"
        )


@app.command()
def query(
    sql: SqlArgument,
    archive: ArchiveOption = None,
    store: StoreOption = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Read detections and frames only from this moment on.", metavar="TIME")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Read detections and frames only before this moment.", metavar="TIME")
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Query the newest catalog; nothing can be changed, and no other file can be read.

    The catalog lies in the store; with --archive it must be of that archive root, as rebuild made it.

    Tables: archives, archive_classes, hours, gaps, hours_seen, problems. The store's Parquet tables are detections and
    frames; with --from and --to only the files of that time are read.

    Example: yolo-assets catalog query "SELECT archive_key FROM archive_classes WHERE class = 'crack'"
    """
    from yolo_assets.catalog.read import query_exactly, tables_missing
    from yolo_assets.contracts.errors import UsageError

    where = settings(archive=archive, store=store)
    _only_one(as_json, as_csv)
    if (since is None) != (until is None):
        raise UsageError("give --from and --to together")
    start, end = _range(since, until) if since is not None and until is not None else (None, None)
    opened = _catalog_root(where)
    url = open_archive(where).url if archive is not None else None
    answer = query_exactly(opened, sql, cache=_cache(where), start=start, end=end, archive_url=url)
    _show(answer, "no rows", as_json=as_json, as_csv=as_csv)
    for name in tables_missing(opened, sql):
        note(f"there is no table of {name} in {opened.url} yet; yolo-assets tables build makes it, and so does Dagster")
    if answer.in_base64:
        note(f"bytes are shown in base64: {', '.join(answer.in_base64)}")


@app.command()
def find(
    class_name: Annotated[str, typer.Option("--class", help="Detected class.", metavar="K")],
    since: FromOption,
    until: ToOption,
    min_confidence: Annotated[
        float, typer.Option(help="Only detections of at least this confidence.", min=0, max=1)
    ] = 0.0,
    camera: CameraOption = None,
    archive: ArchiveOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Camera-hours that hold a class, with its count and highest confidence; restore fetches their frames.

    A class is found under every name that it has or had, by the plant's list of classes, with what was merged into it.
    The count is of what was asked: the class, from the confidence on, captured in the range. Where the sums of the
    catalog do not tell it, the archived records do; without them there is no count, and a line says so.

    Example: yolo-assets catalog find --class crack --min-confidence 0.8 --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z
    """  # noqa: E501 - an example is one line
    from yolo_assets.archive.restore.filter import FrameFilter
    from yolo_assets.catalog.answers import Answer
    from yolo_assets.catalog.counting import MOST_READ, FoundHour, count_asked
    from yolo_assets.catalog.read import check_camera, check_class, find_hours, open_catalog

    where = settings(archive=archive, store=store)
    _only_one(as_json, as_csv)
    others = other_names(where, class_name)
    asked = FrameFilter(
        *_range(since, until), camera, class_name=class_name, min_confidence=min_confidence, also_called=others
    )
    with open_catalog(_catalog_root(where), cache=_cache(where)) as connection:
        if camera is not None:
            check_camera(connection, camera)
        rows = find_hours(connection, class_name, min_confidence, asked.start, asked.end, camera, also_called=others)
        found = [FoundHour(*row) for row in rows.iter_rows()]
        if not found:
            check_class(connection, class_name, others)
    with progress("counting") as advance:
        counted = count_asked(found, asked, _readable_archive(where), advance)
    counts = f"count of {class_name}" + (f" from {min_confidence:g} on" if min_confidence else "")
    machine = as_json or as_csv
    columns = ("camera_id", "hour", "count" if machine else counts, "max_confidence", "archives")
    _show(Answer(columns, [astuple(one) for one in counted]), "no hours", as_json=as_json, as_csv=as_csv)
    unknown = sum(one.count is None for one in counted)
    if unknown:
        note(
            f"{unknown} hours have no count: the catalog sums whole hours, and their records were not read; give the "
            f"archive by --archive and its key, or ask for less (at most {MOST_READ} hours are read)"
        )


@app.command()
def gaps(
    camera: CameraOption = None, store: StoreOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """What is missing, as of the newest catalog, hours in a row as one line.

    "not archived": there are detections and no archive. "no data": neither, between a camera's first and last hour; it
    was off, or nothing arrived from its edge device. "never seen": listed under cameras in plant.yaml, and there is no
    hour of it.

    Example: yolo-assets catalog gaps --camera lineA_cam01
    """
    from yolo_assets.catalog.answers import Answer
    from yolo_assets.catalog.read import check_camera, gap_ranges, open_catalog
    from yolo_assets.contracts.plant import load_plant

    where = settings(store=store)
    _only_one(as_json, as_csv)
    expected = load_plant(where).camera_ids
    with open_catalog(_catalog_root(where), cache=_cache(where)) as connection:
        if camera is not None:
            check_camera(connection, camera, expected)
        _show(Answer.of(gap_ranges(connection, camera, expected)), "no gaps", as_json=as_json, as_csv=as_csv)


@app.command()
def stats(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    prices: PricesOption = None,
    listed: Annotated[
        bool,
        typer.Option("--listed", help="Also list the archive root: which tier each archive is really in."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Archives, frames, bytes, growth and cost per month: by camera and by tier.

    Tiers follow from the age of an hour: standard 0-7, infrequent 8-90, cold 91 days and more.

    Example: yolo-assets catalog stats --prices our-prices.toml --json
    """
    from yolo_assets.catalog.answers import Answer
    from yolo_assets.catalog.costs import listed_classes, load_prices, with_costs
    from yolo_assets.catalog.read import open_catalog
    from yolo_assets.catalog.read import stats as count
    from yolo_assets.contracts.times import utc_now

    where, table = settings(archive=archive, store=store), load_prices(prices)
    with open_catalog(_catalog_root(where), cache=_cache(where)) as connection:
        totals = count(connection, utc_now())
    cameras, tiers = with_costs(totals.cameras, table), with_costs(totals.ages, table)
    classes = with_costs(listed_classes(open_archive(where), table), table) if listed else None
    indexes = round(table.monthly(totals.index_bytes, "standard"), 2)
    total = round(sum(tiers["cost_per_month"]) + indexes, 2)
    if as_json:
        cost = {"label": table.label, "currency": table.currency, "indexes": indexes, "total": total}
        rows = {"cameras": list(Answer.of(cameras).documents()), "tiers": list(Answer.of(tiers).documents())}
        rows |= {"listed": list(Answer.of(classes).documents())} if classes is not None else {}
        emit_json({**rows, "cost_per_month": cost, "problems": totals.problems})
        return
    _show_table(Answer.of(cameras), "no archives")
    _show_table(Answer.of(tiers), "")
    if classes is not None:
        _show_table(Answer.of(classes), "the archive root lists no archives")
    if not cameras.is_empty():
        note(f"{total} {table.currency} a month, of which indexes {indexes}; prices: {table.label}")
    if totals.problems:
        note(f"{totals.problems} receipts are untrusted: yolo-assets catalog query 'SELECT * FROM problems'")


def _catalog_root(where: Settings) -> ObjectStore:
    """The store root, to ask the catalog; where the archive has a copy, the catalog lies there, too."""
    from yolo_assets.storage.fallback import open_with_copy
    from yolo_assets.storage.open import open_store

    if where.archive_copy_url is None:
        return open_store(where.store_url)
    return open_with_copy(where.store_url, where.archive_copy_url, say=note)


@app.command()
def costs(
    prices: PricesOption = None,
    copy: Annotated[bool, typer.Option("--copy", help="With a second copy of everything.")] = False,
    read_percent: Annotated[
        float, typer.Option(help="Share of what is stored that is read back in a year.", min=0, max=10_000)
    ] = 1.0,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with the figures.", metavar="FILE", parser=location_folder),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the archive costs in 1, 5 and 20 years, from the newest catalog and a price table.

    It goes on as in the last week: the same bytes and archives every day, moved to the next tier at the age of 8 and 91
    days, deleted when YOLO_ASSETS_RETENTION_DAYS are over. Taxes and the line are left out.

    Example: yolo-assets catalog costs --prices our-prices.toml --copy --html costs.html
    """
    from dataclasses import asdict

    from yolo_assets.catalog.answers import Answer
    from yolo_assets.catalog.costs import load_prices
    from yolo_assets.catalog.outlook import Assumptions, archive_past, costs_page, outlook
    from yolo_assets.catalog.read import open_catalog
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.runtime.files import write_atomic
    from yolo_assets.storage.open import open_store

    need("jinja2")
    where, table, today = settings(store=store), load_prices(prices), utc_now().date()
    given = Assumptions(where.retention_days, read_percent, copy)
    with open_catalog(open_store(where.store_url), cache=_cache(where)) as connection:
        past = archive_past(connection, today)
    found = outlook(past, today, table, given)
    if html is not None:
        write_atomic(html, costs_page(past, today, table, given, found))
        html.chmod(0o644)  # a web server of another user shows it
    if as_json:
        stated = {
            "label": table.label,
            "currency": table.currency,
            "stored_bytes": sum(past.bytes_by_day.values()),
            "bytes_per_day": round(past.bytes_per_day),
            "archives_per_day": round(past.archives_per_day, 2),
            **asdict(given),
        }
        emit_json({**stated, "outlook": [one.document() for one in found]})
    elif html is None:
        documents = [one.document() for one in found]
        _show_table(Answer(tuple(documents[0]), [tuple(one.values()) for one in documents]), "")
        note(f"amounts in {table.currency}, all years together; prices: {table.label}")


def _cache(where: Settings) -> Path:
    """Where a catalog from S3 is kept between commands."""
    return where.home / "cache" / "catalog"


def _readable_archive(where: Settings) -> Archive | None:
    """The archive with the keys of this installation; None where one of the two is not at hand."""
    from yolo_assets.cli.archive.options import open_to_read
    from yolo_assets.contracts.errors import UserError

    try:
        return open_to_read(where, None)
    except UserError:
        return None


def _only_one(as_json: bool, as_csv: bool) -> None:
    from yolo_assets.contracts.errors import UsageError

    if as_json and as_csv:
        raise UsageError("give --json or --csv, not both")


def _range(since: str, until: str) -> tuple[datetime, datetime]:
    from yolo_assets.contracts.errors import BadInputError, UsageError
    from yolo_assets.contracts.times import parse_time

    try:
        start, end = parse_time(since), parse_time(until)
    except BadInputError as error:
        raise UsageError(str(error)) from None
    if end <= start:
        raise UsageError("the range is empty; --to must be later than --from")
    return start, end


def _bar(bars: ExitStack) -> Callable[[int, int], None]:
    """A progress bar that appears once it is known how many receipts there are to read."""
    bar: list[Callable[[int], None]] = []
    shown = 0

    def report(done: int, total: int) -> None:
        nonlocal shown
        if not bar:
            bar.append(bars.enter_context(progress("reading receipts", total)))
        if done > shown:
            bar[0](done - shown)
            shown = done

    return report


def _show(answer: Answer, nothing: str, *, as_json: bool = False, as_csv: bool = False) -> None:
    """An answer in the form that was asked for."""
    if as_json:
        emit_json(list(answer.documents()))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.cells())
    else:
        _show_table(answer, nothing)


def _show_table(answer: Answer, nothing: str) -> None:
    """A table on a terminal, tab-separated lines with a heading in a pipe."""
    from yolo_assets.catalog.answers import tab_separated

    if not answer.rows:
        if nothing:
            note(nothing)
        return
    console = out()
    if not console.is_terminal:
        for line in [list(answer.columns), *answer.cells()]:
            typer.echo(tab_separated(line))
        return
    show_table(answer.columns, list(answer.cells()))
