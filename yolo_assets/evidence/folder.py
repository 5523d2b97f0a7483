"""The folder of a pack that comes from strangers: files are opened without following links, and of bounded size."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.findings import HourPart
from yolo_assets.evidence.manifest import PackFile, PackManifest
from yolo_assets.evidence.proof import Proven

Kind = Literal["manifest", "index", "small"]
_LARGEST: dict[Kind, int] = {"manifest": 64 << 20, "index": 256 << 20, "small": 16 << 20}
"""Bytes that are read into memory at most; ours are far smaller."""


@dataclass
class Pack:
    """A pack under check: what was read of it so far, and what of that is proven."""

    folder: Path
    trusted: TrustedKeys
    manifest: PackManifest | None = None
    receipts: dict[str, Proven] = field(default_factory=dict)
    parts: dict[str, HourPart] = field(default_factory=dict)

    @property
    def said(self) -> PackManifest:
        """The manifest."""
        if self.manifest is None:
            raise IntegrityError("the manifest could not be read")
        return self.manifest

    @property
    def listed(self) -> Mapping[str, PackFile]:
        """What the manifest lists, by path."""
        return {file.path: file for file in self.said.files}

    def open(self, path: str) -> IO[bytes] | None:
        """A file of the pack; None when there is none.

        Raises:
            IntegrityError: a link or a device stands in its place.
        """
        try:
            descriptor = os.open(self.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IntegrityError(f"{path} is not a file")
        return os.fdopen(descriptor, "rb")

    def read(self, path: str, kind: Kind = "small") -> bytes:
        """A whole file of bounded size.

        Raises:
            IntegrityError: missing, or larger than any of its kind.
        """
        stream = self.open(path)
        if stream is None:
            raise IntegrityError(f"{path} is missing")
        with stream:
            data = stream.read(_LARGEST[kind] + 1)
        if len(data) > _LARGEST[kind]:
            raise IntegrityError(f"{path} is larger than any of its kind; it is not read")
        return data


def there(folder: Path, inside: str = "") -> Iterator[tuple[str, bool]]:
    """Paths of everything in the folder, and whether it is a folder; links are refused, not followed."""
    with os.scandir(folder / inside) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{inside}/{entry.name}" if inside else entry.name
        shown = path.encode("unicode_escape", "surrogateescape").decode("ascii")[:200]
        if entry.is_symlink() or not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            raise IntegrityError(f"{shown} is a link or a device; a pack holds only files")
        try:
            names.check_path(path)
        except BadInputError:
            raise IntegrityError(f"{shown} is not a name of a pack; it was added") from None
        is_folder = entry.is_dir(follow_symlinks=False)
        yield path, is_folder
        if is_folder:
            yield from there(folder, path)
