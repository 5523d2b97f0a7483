"""The bytes of archived frames in DuckDB's SQL: ``frame_bytes(image_path)``, and ``yoloarchive://`` for its readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yolo_assets.contracts.errors import UserError
from yolo_assets.filesystem.archive_files import ArchiveFileSystem

if TYPE_CHECKING:
    import duckdb

_AT_ONCE = 256
"""Frames that are fetched together."""


def register_archive(connection: duckdb.DuckDBPyConnection, files: ArchiveFileSystem) -> None:
    """Let a connection read an archive.

    From then on ``frame_bytes(image_path)`` gives the verified bytes of a frame, NULL for one whose picture was not
    archived, an error for one that was changed; and ``read_blob('yoloarchive://<camera>/<hour>/*.jpg')``, as every
    reader of DuckDB, reads files of the archive.

    Args:
        connection: of DuckDB.
        files: the archive.
    """
    import pyarrow as pa
    from duckdb import sqltypes
    from duckdb.func import FunctionNullHandling, PythonUDFType

    def frame_bytes(paths: Any) -> Any:
        wanted: list[str | None] = paths.to_pylist()
        data: list[bytes | None] = []
        for begin in range(0, len(wanted), _AT_ONCE):
            data += _fetched(files, wanted[begin : begin + _AT_ONCE])
        return pa.array(data, pa.binary())

    connection.register_filesystem(files)
    connection.create_function(
        "frame_bytes",
        frame_bytes,
        [sqltypes.VARCHAR],
        sqltypes.BLOB,
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
    )


def _fetched(files: ArchiveFileSystem, paths: list[str | None]) -> list[bytes | None]:
    named = [path for path in paths if path is not None]
    found: dict[str, bytes | None] = {}
    for path, data in zip(named, files.cat_ranges(named, None, None), strict=True):
        if isinstance(data, FileNotFoundError):
            found[path] = None
        elif isinstance(data, bytes):
            found[path] = data
        else:
            raise data if isinstance(data, UserError | OSError) else RuntimeError(str(data))
    return [None if path is None else found[path] for path in paths]
