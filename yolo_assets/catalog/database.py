"""DuckDB databases for catalogs: connections that never go online, and scratch folders that do not pile up.

Belongs here: how a catalog file is opened and where temporary files lie. Does not belong here: what is in a catalog
file (``schema``), where published files lie (``versions``).

A catalog of a large plant has hundreds of megabytes, and a ``kill -9`` runs no clean-up: what remains of a killed
process is removed by the next one.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from yolo_assets.runtime.files import lock

_MEMORY = "512MB"
"""What DuckDB may use before it continues in a file: other programs run on this machine too."""

_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": _MEMORY,
    "python_enable_replacements": False,  # SQL must not read our Python variables
}

_PREFIX = "yolo-catalog-"
_LOCK = "lock"
_YOUNG = 60.0
"""Seconds within which a new folder is kept: its owner may not have locked it yet."""


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that downloads nothing, with times in UTC; what does not fit goes to ``scratch``."""
    connection = duckdb.connect(":memory:", config={**_OFFLINE, "temp_directory": str(scratch / "spilled")})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str, *, read_only: bool) -> None:
    """Attach a catalog file under ``name``."""
    connection.execute(f"ATTACH {quoted(str(path))} AS {name}{' (READ_ONLY)' if read_only else ''}")


def scalar(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> Any:
    """The first value of the first row of a query that always has one."""
    row = connection.execute(sql, parameters).fetchone()
    assert row is not None
    return row[0]


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that exists during the block, among the system's temporary files (``TMPDIR``)."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(fd, shared=True, wait_s=None)
            yield folder
        finally:
            os.close(fd)


def remove_abandoned() -> None:
    """Remove scratch folders of killed processes: the kernel released their lock. What fails is tried again later."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            if time.time() - status.st_mtime < _YOUNG:
                continue
            if (fd := _lock_file(folder)) is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                if lock(fd):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)
        except OSError:
            continue


def _lock_file(folder: Path) -> int | None:
    try:
        return os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
