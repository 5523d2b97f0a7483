"""The files of a zip that somebody else packed, without what their machine left in it.

Belongs here: unpacking, limits, and what operating systems and version control add. Does not belong here: what the
files say.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats.values import shown

MAX_BYTES = 4 << 30
MAX_FILES = 500_000
_LEFT_BEHIND = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir", "__pycache__"}


def unpack(name: str, data: bytes) -> dict[str, bytes]:
    """The files of a zip by path, ``/``-separated.

    What starts with a dot, and what macOS, Windows and network drives leave behind, is not there.

    Raises:
        BadInputError: not a zip, damaged, encrypted, too large once unpacked, or two files of one name.
    """
    files: dict[str, bytes] = {}
    part = ""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(_path(e.filename), e) for e in archive.infolist() if not e.is_dir()]
            entries = [(path, entry) for path, entry in entries if not left_behind(path)]
            if sum(entry.file_size for _, entry in entries) > MAX_BYTES or len(entries) > MAX_FILES:
                raise BadInputError(
                    f"{name} unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_FILES} files; split it into several"
                )
            for path, entry in entries:
                part = f" at {shown(path)}"
                if entry.flag_bits & 1:
                    raise BadInputError(f"{name} is encrypted{part}; export it again without a password")
                content = archive.read(entry)
                if files.setdefault(path, content) != content:
                    raise BadInputError(f"{name} holds two different files{part}; export it again")
    except BadInputError:
        raise
    # zlib, lzma and bz2 each have errors of their own, and some are plain EOFError, OSError or ValueError.
    except Exception as error:
        raise BadInputError(
            f"{name} is not a readable zip: damaged{part} ({shown(str(error))}); export it again and copy it whole"
        ) from None
    return files


def _path(written: str) -> str:
    parts = [part for part in written.replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts)


def left_behind(path: str) -> bool:
    """Whether a file is what macOS, Windows, a network drive or version control left there."""
    return any(part.startswith(".") or part.lower() in _LEFT_BEHIND for part in PurePosixPath(path).parts)
