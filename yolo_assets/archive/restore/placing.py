"""Where restored files go, and how they get there: below one folder, whatever the archive or the folder holds.

Belongs here: which name becomes which path, and writing a file whole or not at all. Every step below the folder goes
through an open descriptor and never through a symbolic link, so nothing that lies there, or that another process puts
there meanwhile, leads out of it. Does not belong here: which files are selected.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
import stat
import unicodedata
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.runtime.files import TEMPORARY, write_all
from yolo_assets.spool.files import native_name, portable_name

_NAME_REFUSED = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What a disk says to a name that it cannot hold."""
_counter = itertools.count()


class PlaceError(UserError):
    """One file cannot go where it belongs; others can."""


@dataclass
class Places:
    """Places of the files of one camera-hour, over all its parts, in the order in which they were archived.

    A name keeps its place whichever files are restored, so that a later restore of others never replaces one. Where two
    parts hold different files of one name the later one goes to a folder ``part<N>`` next to it; so do, on a disk that
    does not tell upper from lower case, names that differ only in that.

    Attributes:
        folds_case: the disk takes ``A.jpg`` and ``a.jpg`` for one name.
    """

    folds_case: bool = False
    _taken: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict[tuple[str, str], tuple[str, bytes]])
    _names: set[str] = field(default_factory=set[str])

    def reserve(self, names: Iterable[str]) -> None:
        """Tell every name of the hour first: no folder takes one of them."""
        self._names.update(self._folded(name) for name in names)

    def of(self, row: IndexRow, part: int) -> tuple[str, ...]:
        """The place of a member of part ``part``, below the folder of its hour.

        Raises:
            BadInputError: its name is not that of one file in a folder.
        """
        name = native_name(row.name)
        folded = self._folded(name)
        for folder in self._folders(part):
            if self._taken.setdefault((folder, folded), (name, row.sha256)) == (name, row.sha256):
                return (folder, name) if folder else (name,)
        raise AssertionError("unreachable: there is always another folder")

    def _folders(self, part: int) -> Iterator[str]:
        yield ""
        for again in itertools.count(1):
            folder = f"part{part}" if again == 1 else f"part{part}_{again}"
            if self._folded(folder) not in self._names:
                yield folder

    def _folded(self, name: str) -> str:
        # Disks that fold case also take a letter with its accent for the two characters that make it.
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()) if self.folds_case else name


@dataclass(frozen=True)
class OutFolder:
    """A folder to restore into. It is made when the first file is written."""

    path: Path

    def make(self) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be made, or something else is in its place.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{self.path} is not a folder; choose another one with --out") from None

    def free(self) -> int:
        """Bytes that are free on the disk of the folder, or of where it would be made."""
        path = self.path.absolute()
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free

    def folds_case(self) -> bool:
        """Whether the disk takes upper and lower case for the same, found out by trying."""
        name = f"{TEMPORARY}case-{os.getpid()}-{next(_counter)}"
        with self.opened() as folder:
            try:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder))
                try:
                    os.stat(name.upper(), dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    return False
                return True
            except OSError as error:
                raise _cannot_write(self.path, error) from None
            finally:
                _remove(name, folder)

    @contextmanager
    def opened(self, *parts: str, make: bool = True) -> Generator[int]:
        """A descriptor of the folder, or of one below it.

        Raises:
            FileNotFoundError: it is not there and is not to be made.
            BadInputError: a symbolic link is on the way.
            UserError: it cannot be opened or made.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            raise UserError(f"{self.path} is not a folder; choose another one with --out") from None
        try:
            for depth, part in enumerate(parts, 1):
                inner = self._step(descriptor, part, self.path.joinpath(*parts[:depth]), make=make)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _step(self, folder: int, name: str, path: Path, *, make: bool) -> int:
        try:
            if make:
                try:
                    os.mkdir(name, dir_fd=folder)
                except FileExistsError:
                    pass
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(name, folder):
                raise BadInputError(
                    f"{path} leads out of {self.path} by a symbolic link; remove the link or choose another folder"
                ) from None
            raise _cannot_write(path, error) from None

    def holds(self, parts: tuple[str, ...], row: IndexRow, *, size_only: bool = False) -> bool:
        """Whether a file is there, now, byte for byte what a row says; ``size_only``: as long as it says."""
        *folders, name = parts
        try:
            with self.opened(*folders, make=False) as folder:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with os.fdopen(os.open(name, flags, dir_fd=folder), "rb", buffering=0) as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode) or status.st_size != row.size:
                        return False
                    return size_only or hashlib.file_digest(file, "sha256").digest() == row.sha256
        except (OSError, ValueError):
            return False

    def check_free(self, parts: tuple[str, ...]) -> None:
        """Look before a byte travels whether a file can go there.

        Raises:
            PlaceError: something has that name. It may be a person's work, so it is never replaced.
            UserError: its folder cannot be opened.
        """
        *folders, name = parts
        try:
            with self.opened(*folders, make=False) as folder:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _cannot_write(self.path.joinpath(*parts), error) from None
        raise _taken(self.path.joinpath(*parts), status)

    def write(self, parts: tuple[str, ...], pieces: Iterable[bytes]) -> None:
        """Write a file whole or not at all; ``pieces`` raises when its hash is not the right one.

        What has that name already stays, and a link is not followed.

        Raises:
            PlaceError: the disk cannot hold that name, or something has it.
            UserError: the disk is full, or refuses us.
        """
        *folders, name = parts
        path = self.path.joinpath(*parts)
        temporary = f"{TEMPORARY}{os.getpid()}-{next(_counter)}"
        with self.opened(*folders) as folder:
            try:
                # Asked before a byte travels: the temporary name is always short and plain.
                _check_name(name, folder, path)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(temporary, flags, 0o644, dir_fd=folder)
                try:
                    for piece in pieces:
                        write_all(descriptor, piece)
                finally:
                    os.close(descriptor)
                _rename(temporary, name, folder, path)
            except OSError as error:
                _remove(temporary, folder)
                raise _cannot_write(path, error) from None
            except BaseException:
                _remove(temporary, folder)
                raise


def _check_name(name: str, folder: int, path: Path) -> None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise _taken(path, status)


def _taken(path: Path, status: os.stat_result) -> PlaceError:
    what = "a folder" if stat.S_ISDIR(status.st_mode) else "another file"
    if stat.S_ISLNK(status.st_mode):
        what = "a symbolic link"
    return PlaceError(
        f"{portable_name(str(path))} is {what} and not what was archived; it was left as it is: move it away, or "
        "choose another --out"
    )


def _rename(temporary: str, name: str, folder: int, path: Path) -> None:
    """Give a finished file its name, unless something took it meanwhile."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        _check_name(name, folder, path)
        raise
    except OSError:  # a disk without hard links: what comes between look and rename is lost there
        _check_name(name, folder, path)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.unlink(temporary, dir_fd=folder)


def _cannot_write(path: Path, error: OSError) -> UserError:
    shown = portable_name(str(path))
    if error.errno in _NAME_REFUSED:
        return PlaceError(f"{shown} cannot be written: the disk does not take that name ({error.strerror})")
    return UserError(f"cannot write {shown}: {error.strerror}; free some space or choose another folder")


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
