"""What every command shares: where output goes, JSON for machines, progress bars, locations.

Results go to standard output, everything that accompanies them to standard error, so that pipes stay clean.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
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

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.locations import location_folder, location_url
from yolo_assets.contracts.settings import Settings

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.storage.base import ObjectStore

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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]


def settings(*, archive: str | None = None, store: str | None = None, spool: Path | None = None) -> Settings:
    """Locations from the environment, overridden by the options that were given. A bare path stands for a folder."""
    given = {
        "archive_url": location_url(archive) if archive is not None else None,
        "store_url": location_url(store) if store is not None else None,
        "spool": spool.absolute() if spool is not None else None,
    }
    return Settings.from_env().model_copy(update={name: value for name, value in given.items() if value is not None})


def open_archive(found: Settings) -> ObjectStore:
    """The archive root, to read from: a mistyped folder is an error, where opening it to write would create it.

    Raises:
        UserError: there is no such folder, or it is no store.
    """
    from yolo_assets.storage.open import folder_of, open_store

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
    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.storage.open import open_store

    store = open_archive(found) if given is not None else open_store(found.archive_url, memory=found.known_stores)
    keys = found.archiver_public_keys()
    return Archive(store, TrustedKeys.load(keys) if keys else TrustedKeys.of())  # without a key no receipt counts


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
    from yolo_assets.contracts.text import plain

    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(plain(message))


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
