"""Spool hours as they are on disk: which there are, whether they are closed, what is in them.

Belongs here: reading. Nothing here changes a file. A spool may come from our agent or from a foreign producer that
knows no markers. Does not belong here: writing (``writer``) and archiving (``archive``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import PARTS, PLAN, SEALED, UPLOADED, check_id, is_frame, is_record_file, spool_hour
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.spool import ArchivePlan, Seal
from yolo_assets.contracts.times import Hour
from yolo_assets.runtime.files import TEMPORARY
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.records import BadRecord, FrameRecord, RecordFile, read_records

COVERED = ".members"
"""``.uploaded.members``, ``.uploaded.p2.members``: the finished plan of a part: what it covers, known here."""

AHEAD_SECONDS = 300.0
"""Times further ahead than this come from a clock that is wrong. No two clocks are quite the same."""

# Exactly our own names: a producer's ".uploaded-frame.jpg" is a file like any other.
_MARKER = re.compile(rf"{re.escape(UPLOADED)}(\.p([2-9]|[1-9][0-9]+))?")
_LIST = re.compile(_MARKER.pattern + re.escape(COVERED))
_UNFINISHED = re.compile(rf"{re.escape(TEMPORARY)}[0-9]+-[0-9]+")


@dataclass(frozen=True, order=True)
class SpoolMember:
    """One file of an hour, as the folder listed it.

    Attributes:
        name: as the file system gives it; bytes that are not UTF-8 are surrogate-escaped.
        size: bytes.
        mtime_ns: time of last change, nanoseconds since 1970.
    """

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class SpoolProblem:
    """Something in the spool that is none of ours: left alone and reported."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SpoolHour:
    """One camera-hour in a spool: ``<spool>/<camera_id>/<YYYYMMDD_HH>/``.

    Attributes:
        camera_id: the camera.
        hour: the hour.
        path: its folder.
        elsewhere: folder for the archiver's notes about hours that cannot be written; None: there is none.
    """

    camera_id: str
    hour: Hour
    path: Path
    elsewhere: Path | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, spool: Path, camera_id: str, hour: Hour) -> SpoolHour:
        """The hour of a camera, whether its folder exists or not."""
        return cls(camera_id, hour, spool_hour(spool, camera_id, hour))

    @classmethod
    def at(cls, path: Path) -> SpoolHour:
        """The hour that a folder holds.

        Raises:
            BadInputError: the last two parts of the path are not a camera id and an hour.
        """
        return cls(check_id(path.parent.name), Hour.from_key(path.name), path)

    @property
    def notes(self) -> Path:
        """The folder of the archiver's notes: the hour itself, unless that is read-only and there is another place."""
        if self.elsewhere is None or os.access(self.path, os.W_OK):
            return self.path
        return self.elsewhere / self.camera_id / self.hour.key

    @property
    def name(self) -> str:
        """``<camera> <hour>``, for display."""
        return f"{self.camera_id} {self.hour}"

    def members(self) -> list[SpoolMember]:
        """Regular files directly inside the hour, by name: frames, records, ``.sealed`` and whatever else lies there.

        Never symlinks, folders, devices, the archiver's own files or unfinished ones. No folder, no members.
        """
        found: list[SpoolMember] = []
        for entry in self._entries():
            if is_note(entry.name) or is_unfinished(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted between listing and looking
            if stat.S_ISREG(status.st_mode):
                found.append(SpoolMember(entry.name, status.st_size, status.st_mtime_ns))
        return found

    def oddities(self) -> list[SpoolProblem]:
        """What lies in the hour and is never archived nor deleted: symlinks, folders, devices."""
        odd = [entry for entry in self._entries() if not entry.is_file(follow_symlinks=False)]
        return [
            SpoolProblem(
                self.path / entry.name,
                f"{'a symbolic link' if entry.is_symlink() else 'not a regular file'}; it is left as it is",
            )
            for entry in odd
        ]

    def frames(self) -> list[SpoolMember]:
        """The members that are images."""
        return [member for member in self.members() if is_frame(member.name)]

    def seal(self) -> Seal | None:
        """The seal, or None when the hour has none.

        Raises:
            BadInputError: there is one and it cannot be read.
        """
        try:
            data = (self.path / SEALED).read_bytes()
        except FileNotFoundError:
            return None
        return Seal.from_json(data, str(self.path / SEALED))

    def is_closed(self, now: datetime, grace_seconds: float, members: Sequence[SpoolMember] | None = None) -> bool:
        """Whether the hour is complete, as far as can be known.

        Closed is: sealed, and nothing came after the seal; or over for the grace period, and no file changed for as
        long. Late frames in a sealed hour therefore wait for the grace period too. A grace of 0 closes every past hour.
        Times that lie ahead (``changed_ahead``) say nothing about how quiet the hour is, and do not count. ``members``:
        as they were listed a moment ago; default: listed now.
        """
        members = self.members() if members is None else members
        sealed = next((member for member in members if member.name == SEALED), None)
        ahead = set(changed_ahead(members, now))
        newest = max((member.mtime_ns for member in members if member not in ahead), default=0)
        if sealed is not None and newest <= sealed.mtime_ns:
            return True
        over = (now - self.hour.end).total_seconds() >= grace_seconds
        return over and (grace_seconds == 0 or now.timestamp() - newest / 1e9 >= grace_seconds)

    def record_files(self) -> list[RecordFile]:
        """The members that hold records."""
        return [
            RecordFile(
                member.name,
                f"{self.camera_id}/{self.hour}/{portable_name(member.name)}",
                lambda path=self.path / member.name: _open_regular(path),
            )
            for member in self.members()
            if is_record_file(member.name)
        ]

    def records(self) -> Iterator[FrameRecord | BadRecord]:
        """Every record of the hour and everything that should have been one; see ``read_records`` for the order."""
        return read_records(self.record_files(), self.folder())

    def folder(self) -> FrameFolder:
        """The pictures that records here may mean: those that lie here, and those that were archived and deleted."""
        planned = (native_name(member.name) for plan in self._plans() for member in plan.members)
        names = {*planned, *(member.name for member in self.members())}
        return FrameFolder.of(self.camera_id, self.hour, (name for name in names if is_frame(name)))

    def fingerprint(self, members: Sequence[SpoolMember] | None = None) -> str:
        """SHA-256 over names, sizes and times of the members: equal while the set is untouched. Reads no content.

        ``members``: as they were listed a moment ago; default: listed now.
        """
        digest = hashlib.sha256(f"{self.camera_id}/{self.hour}".encode())
        for member in self.members() if members is None else members:
            digest.update(f"\0{portable_name(member.name)}\0{member.size}\0{member.mtime_ns}".encode())
        return digest.hexdigest()

    def receipts(self) -> list[Receipt]:
        """Copies of the receipts that the archiver left as markers, by part.

        They tell what was archived; they prove nothing: deletion verifies the receipt in the store.

        Raises:
            BadInputError: a marker cannot be read.
        """
        paths = [path for path in self._note_files() if _MARKER.fullmatch(path.name)]
        found = [Receipt.from_json(path.read_bytes(), str(path)) for path in paths]
        return sorted(found, key=lambda receipt: receipt.part)

    def uncovered_members(self, members: Sequence[SpoolMember] | None = None) -> list[SpoolMember]:
        """Members that no finished part of this spool holds, compared by name, size and time.

        An hour that was archived from elsewhere knows no parts and has all its members here; the archiver then
        compares content with the store. ``members``: as they were listed a moment ago; default: listed now.
        """
        covered = {SpoolMember(m.name, m.size, m.mtime_ns) for plan in self._plans() for m in plan.members}
        return [
            member
            for member in (self.members() if members is None else members)
            if SpoolMember(portable_name(member.name), member.size, member.mtime_ns) not in covered
        ]

    def _plans(self) -> Iterator[ArchivePlan]:
        """The finished plans of the parts that were archived from here."""
        for path in self._note_files():
            if _LIST.fullmatch(path.name):
                try:
                    yield ArchivePlan.from_json(path.read_bytes(), str(path))
                except (BadInputError, FileNotFoundError, IsADirectoryError):
                    continue  # damaged, or just replaced: the archiver compares with the store and writes it anew

    def _note_files(self) -> list[Path]:
        """The archiver's notes, by name; those that lie elsewhere are newer than what a read-only hour holds."""
        folders = dict.fromkeys((self.path, self.notes))
        found = {entry.name: folder / entry.name for folder in folders for entry in _entries(folder)}
        return [found[name] for name in sorted(found)]

    def _entries(self) -> list[os.DirEntry[str]]:
        return _entries(self.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []


@dataclass(frozen=True)
class SpoolScan:
    """What a spool holds.

    Attributes:
        hours: by camera, then by time.
        problems: folders and files that are no camera and no hour.
    """

    hours: tuple[SpoolHour, ...]
    problems: tuple[SpoolProblem, ...]


def scan(spool: Path, camera_id: str | None = None, elsewhere: Path | None = None) -> SpoolScan:
    """Every hour of a spool, and what does not belong. A spool that does not exist yet is empty.

    Args:
        spool: the spool folder.
        camera_id: this camera only.
        elsewhere: see ``SpoolHour``.

    Raises:
        BadInputError: the spool is not a folder, or the camera id is none.
    """
    hours: list[SpoolHour] = []
    problems: list[SpoolProblem] = []
    if camera_id is not None:
        check_id(camera_id)
    elif spool.exists() and not spool.is_dir():
        raise BadInputError(f"the spool {spool} is not a folder; give the folder that holds one folder per camera")
    for camera in _subfolders(spool, problems) if camera_id is None else [spool / camera_id]:
        try:
            check_id(camera.name)
        except BadInputError as error:
            problems.append(SpoolProblem(camera, str(error)))
            continue
        for folder in _subfolders(camera, problems):
            try:
                hour = SpoolHour.at(folder)
                hours.append(hour if elsewhere is None else replace(hour, elsewhere=elsewhere))
            except BadInputError as error:
                problems.append(SpoolProblem(folder, str(error)))
    return SpoolScan(tuple(hours), tuple(problems))


def list_hours(spool: Path, camera_id: str | None = None) -> list[SpoolHour]:
    """Every hour of a spool, by camera, then by time; what does not belong is passed over (``scan`` reports it)."""
    return list(scan(spool, camera_id).hours)


def hours_at(spool: Path, hour: Hour) -> list[SpoolHour]:
    """The cameras of a spool that have this hour, by camera: one look for each, however many hours it has."""
    found: list[SpoolHour] = []
    for camera in _subfolders(spool, []):
        path = camera / hour.key
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(BadInputError):  # the folder is no camera's; a scan names it
                found.append(SpoolHour.at(path))
    return found


def _subfolders(path: Path, problems: list[SpoolProblem]) -> list[Path]:
    found: list[Path] = []
    try:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                if entry.is_dir(follow_symlinks=False):
                    found.append(path / entry.name)
                elif entry.is_symlink():
                    problems.append(SpoolProblem(path / entry.name, "a symbolic link; not followed"))
                elif not entry.name.startswith("."):
                    problems.append(SpoolProblem(path / entry.name, "a file where only folders belong"))
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(SpoolProblem(path, f"cannot be listed: {error.strerror}"))
    return found


def changed_ahead(members: Iterable[SpoolMember], now: datetime) -> list[SpoolMember]:
    """Those that were changed in the future, by more than ``AHEAD_SECONDS``."""
    latest = int((now.timestamp() + AHEAD_SECONDS) * 1e9)
    return [member for member in members if member.mtime_ns > latest]


def is_note(name: str) -> bool:
    """Whether a name in an hour is one under which the archiver notes what it does and did."""
    return name in (PLAN, PARTS) or _MARKER.fullmatch(name) is not None or _LIST.fullmatch(name) is not None


def is_unfinished(name: str) -> bool:
    """Whether a name is one that ``write_atomic`` gives a file until it is whole."""
    return _UNFINISHED.fullmatch(name) is not None


def _open_regular(path: Path) -> IO[bytes]:
    """Open without following a symbolic link, also one that took the file's place a moment ago."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
