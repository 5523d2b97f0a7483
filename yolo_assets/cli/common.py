"""What every command shares: where output goes, JSON for machines, progress bars, locations.

Results go to standard output, everything that accompanies them to standard error, so that pipes stay clean.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from yolo_assets.contracts.errors import BadInputError, UsageError, UserError
from yolo_assets.contracts.locations import location_folder, location_url
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.text import plain

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.storage.base import ObjectStore
    from yolo_assets.trail.trail import Act


def valid(check: Callable[[str], object]) -> Callable[[str], str]:
    """Reads an option: the text as it stands, refused as wrong use where ``check`` refuses it."""

    def read(text: str) -> str:
        try:
            check(text)
        except BadInputError as error:
            raise UsageError(str(error)) from None
        return text

    return read


camera_id = valid(check_id)
ArchiveOption = Annotated[
    str | None, typer.Option("--archive", help="Archive root: file:///path or s3://bucket/prefix.", metavar="URL")
]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="Store root: file:///path or s3://bucket/prefix.", metavar="URL")
]
SpoolOption = Annotated[
    Path | None,
    typer.Option("--spool", help="Spool folder of the cameras.", metavar="DIR", parser=location_folder),
]
ActorOption = Annotated[
    str | None,
    typer.Option("--by", help="Who does it, for the audit trail; by default the login name.", metavar="NAME"),
]
WhyOption = Annotated[str, typer.Option("--reason", help="Why, for the audit trail.", metavar="TEXT")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]


_WORTH_WRAPPING = 40
"""Characters that the last column must have, so that its text may run over several lines."""


def settings(*, archive: str | None = None, store: str | None = None, spool: Path | None = None) -> Settings:
    """Locations from the environment, overridden by the options that were given. A bare path stands for a folder."""
    found = Settings.from_env()
    given = {
        "archive_url": location_url(archive) if archive is not None else None,
        "store_url": location_url(store) if store is not None else None,
        "spool": spool.absolute() if spool is not None else None,
    }
    located = found.model_copy(update={name: value for name, value in given.items() if value is not None})
    if located.archive_url.rstrip("/") != found.archive_url.rstrip("/"):
        located = located.model_copy(update={"archive_copy_url": None})  # it is a copy of another archive
    return located


def open_archive(found: Settings, *, alone: bool = False) -> ObjectStore:
    """The archive root, to read from: a mistyped folder is an error, where opening it to write would create it.

    Args:
        found: the locations. Where they name a copy, what the root lacks or cannot give is read from there.
        alone: only the root itself, to say what it holds.

    Raises:
        UserError: there is no such folder, or it is no store.
    """
    from yolo_assets.storage.fallback import open_with_copy
    from yolo_assets.storage.open import folder_of, open_store

    if found.archive_copy_url is not None and not alone:
        return open_with_copy(found.archive_url, found.archive_copy_url, memory=found.known_stores, say=note)
    folder = folder_of(found.archive_url)
    if folder is not None and not folder.is_dir():
        raise UserError(f"there is no archive at {folder}; correct --archive, mount it, or archive something first")
    return open_store(found.archive_url, memory=found.known_stores, remember=False)


def reading_archive(found: Settings, given: str | None) -> Archive:
    """The archive for commands that read a frame of it now and then; without one yet, an empty one.

    Args:
        found: the locations.
        given: the option ``--archive``: a folder that was named must be there.

    Raises:
        UserError: the folder that was named is not there.
    """
    from yolo_assets.storage.open import open_store
    from yolo_assets.transparency.held import trusted_archive

    named = given is not None or found.archive_copy_url is not None
    store = open_archive(found) if named else open_store(found.archive_url, memory=found.known_stores)
    return trusted_archive(store, found.archiver_public_keys(), found)


@contextmanager
def on_the_trail(
    found: Settings, what: str, target: TrailTarget, *, by: str | None = None, reason: str = ""
) -> Iterator[Act]:
    """Do something that the audit trail of the store root must tell: noted before, and how it ended after.

    Args:
        found: the locations.
        what: the command.
        target: what it touches.
        by: the name that was given.
        reason: why.

    Yields:
        The act; its ``result`` says what was done.

    Raises:
        NotNotedError: the trail cannot be written, and nothing is done.
    """
    from yolo_assets.trail.trail import AuditTrail

    with AuditTrail.of(found, by).recording(what, target, reason=reason) as act:
        yield act


def need(*modules: str) -> None:
    """Say at once which package is missing, where a child process or a later step would stumble over it.

    Raises:
        ModuleNotFoundError: one is not installed; the entry point says which extra brings it.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def out() -> Console:
    """Console for results. Plain text without colour when it is not a terminal."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def note(message: str) -> None:
    """One line to standard error that accompanies a result; what a terminal would act on is written out."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(plain(message))


def show_table(
    heads: Sequence[str], rows: Sequence[Sequence[str | Text]], *, titles: int = 1, for_people: bool = False
) -> None:
    """A table on standard output; where a terminal is too narrow for it, a paragraph a row. In a pipe one line a row.

    Args:
        heads: of the columns; an empty one has none.
        rows: cells; a text may have a style.
        titles: columns that stand in the first line of a paragraph.
        for_people: in a pipe, too, it fits 80 columns: no program reads it.
    """
    cells = [[cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row] for row in rows]
    wide = [max(len(head), *(row[at].cell_len for row in cells), 0) for at, head in enumerate(heads)]
    console, needed = out(), sum(wide) + 2 * len(wide)
    before_last = sum(wide[:-1]) + 2 * len(wide)
    if not (console.is_terminal or for_people):
        console.width = max(console.width, needed)
    if needed <= console.width or console.width - before_last >= _WORTH_WRAPPING:
        table = Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(heads))
        table.columns[-1].overflow = "fold"  # a cut hash or reason is of no use
        for row in cells:
            table.add_row(*row)
        console.print(table, soft_wrap=False)
        return
    for row in cells:
        console.print(Text("  ").join(row[:titles]), soft_wrap=False)
        rest = zip(heads[titles:], row[titles:], strict=True)
        told = Text(", ").join(Text(f"{head} ").append(cell) if head else cell for head, cell in rest if cell.plain)
        console.print(Padding(told, (0, 0, 0, 4)), soft_wrap=False)


def emit_json(value: Mapping[str, Any] | list[Any]) -> None:
    """One JSON document on one line of standard output."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE, default=str))
    sys.stdout.buffer.flush()


@contextmanager
def progress(description: str, total: float | None = None, *, in_bytes: bool = False) -> Iterator[Any]:
    """A progress bar on standard error when that is a terminal, nothing otherwise.

    Args:
        description: what is being done.
        total: steps, or bytes; None when that is not known.
        in_bytes: steps are bytes; shows their rate and the time that is left.

    Yields:
        A function ``advance(steps=1)``.
    """
    console = Console(stderr=True)
    figures = (
        (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        if in_bytes
        else (MofNCompleteColumn(), TimeElapsedColumn())
    )
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *figures,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda steps=1: bar.advance(task, steps)
