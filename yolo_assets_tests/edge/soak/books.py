"""Reads all that a soak left, in spool and archive alike, and checks the accounting of every frame."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from yolo_assets.spool.traces import INTERRUPTED


@dataclass
class CameraBooks:
    """One camera.

    Attributes:
        sequences: of every record.
        saved: paths of images that records promise.
        dropped: noted drops, by reason.
        torn: lines that are no record, as hour and checksum: path of the image, ``""`` where the path is torn, too.
        torn_notes: lines of the drops that are none, in the same way.
        claimed: images and torn lines that a noted drop claims.
        named: paths of images that any line names.
        images: paths of images that are there, whole.
        broken: paths of images that are there and not whole.
    """

    sequences: list[int] = field(default_factory=list)
    saved: set[str] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)
    torn: dict[str, str] = field(default_factory=dict)
    torn_notes: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)

    @property
    def interrupted(self) -> int:
        """Frames that a kill caught between image and record, or in the middle of the record."""
        torn = [path for line, path in self.torn.items() if line not in self.claimed and path not in self.images]
        return len(self.images - self.named - self.claimed) + len(torn) + len(self.torn_notes - self.claimed)

    @property
    def captured(self) -> int:
        """Frames of which there is any trace."""
        return len(self.sequences) + sum(self.dropped.values()) + self.interrupted


def read_books(spool: Path, archive: Path) -> dict[str, CameraBooks]:
    """Every camera's books."""
    books: dict[str, CameraBooks] = {}
    for camera, hour, name, data in _files(spool, archive):
        book = books.setdefault(camera, CameraBooks())
        path = f"{camera}/{hour}/{name}"
        if name.endswith(".jpg"):
            (book.images if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9" else book.broken).add(path)
        elif name.endswith(".ndjson"):
            _records(book, f"{camera}/{hour}", data)
        elif name.endswith(".log"):
            _notes(book, f"{camera}/{hour}", data)
    return books


def _notes(book: CameraBooks, hour: str, data: bytes) -> None:
    for line in data.splitlines():
        try:
            drop = orjson.loads(line)
        except orjson.JSONDecodeError:
            book.torn_notes.add(f"{hour}/torn-{zlib.crc32(line):08x}")
            continue
        book.dropped[drop["reason"]] += drop.get("count", 1)
        book.claimed |= {f"{hour}/{left}" for left in drop.get("claims", [])}


def _records(book: CameraBooks, hour: str, data: bytes) -> None:
    for line in data.splitlines():
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = re.search(rb'"image_path":"([^"]+)"', line)
            book.torn[f"{hour}/torn-{zlib.crc32(line):08x}"] = found[1].decode() if found else ""
            continue
        book.sequences.append(record["sequence"])
        book.named.add(record["image_path"])
        if record["image_saved"]:
            book.saved.add(record["image_path"])


def _files(spool: Path, archive: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """Camera, hour, name and bytes of every file that was ever written and is not both here and there."""
    seen: set[tuple[str, str, str]] = set()
    for path in sorted(archive.rglob("*.tar.gz")):
        camera, day, hour = path.name.removeprefix("yolo_").split(".")[0].split("_p")[0].rsplit("_", 2)
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                name = member.name.rsplit("/", 1)[-1]
                if file is not None:
                    seen.add((camera, f"{day}_{hour}", name))
                    yield camera, f"{day}_{hour}", name, file.read()
    for path in sorted(spool.glob("*/*/*")):
        key = (path.parent.parent.name, path.parent.name, path.name)
        if path.is_file() and key not in seen and not path.name.startswith((".tmp-", ".uploaded", ".archiving")):
            yield *key, path.read_bytes()


def explain(book: CameraBooks) -> str:
    """For a failure."""
    return (
        f"{len(book.sequences)} records, {dict(book.dropped)} noted, {book.interrupted} found {INTERRUPTED}, "
        f"{len(book.images)} images, {len(book.saved - book.images)} missing"
    )
