"""Where restored files go: never out of the folder, never over each other, whatever names and links there are."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.restore.placing import OutFolder, PlaceError, Places
from yolo_assets.archive.restore.plan import place_all
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.spool.files import portable_name

NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["..", ".", "", "/x", "a/b", "../x", "a\0b", "part2", "part2_2", "PART2", "a.jpg", "A.JPG", "a.JPG"]
    ),
    st.sampled_from(["é.jpg", unicodedata.normalize("NFD", "É.jpg"), "ß", "SS", "\\x2e\\x2e", "\\x2f"]),
)
PARTS = st.lists(st.lists(st.tuples(NAMES, st.integers(0, 2)), max_size=8), min_size=1, max_size=4)


def row(name: str, content: int = 0) -> IndexRow:
    return IndexRow(name, 0, 0, content, bytes([content]) * 32)


@given(NAMES)
def test_a_name_is_that_of_one_file_or_refused(name: str) -> None:
    try:
        place = Places().of(row(name), 1)
    except BadInputError as error:
        assert "paths are refused" in str(error)
        return
    assert len(place) == 1 and os.path.basename(place[0]) == place[0] and place[0] not in ("", ".", "..")


@given(PARTS, st.booleans(), st.data())
def test_no_two_contents_have_one_place_and_places_do_not_depend_on_the_choice(
    hostile: list[list[tuple[str, int]]], folds: bool, data: st.DataObject
) -> None:
    parts = []
    for rows in hostile:
        parts.append([])
        for name, content in dict(rows).items():
            try:
                Places().of(row(name), 1)
            except BadInputError:
                continue
            parts[-1].append(row(name, content))
    receipts = [Receipt.model_construct(part=number) for number in range(1, len(parts) + 1)]
    placed = place_all(Places(folds), receipts, parts)
    fold = Places(folds)._folded
    contents: dict[str, tuple[str, bytes]] = {}
    folders, files = set(), set()
    for places in placed:
        for one, place in places.items():
            assert 1 <= len(place) <= 2 and all(part not in ("", ".", "..") and "/" not in part for part in place)
            key = "/".join(map(fold, place))
            assert contents.setdefault(key, (one.name, one.sha256)) == (one.name, one.sha256)
            files.add(key)
            folders.update(fold(part) for part in place[:-1])
    assert not folders & files, "no folder takes the place of a file"
    assert place_all(Places(folds), receipts, parts) == placed


def test_a_disk_that_folds_case_gets_each_of_the_colliding_names() -> None:
    rows = [row("a.jpg", 0), row("A.JPG", 1), row("b.jpg", 2)]
    (apart,) = place_all(Places(True), [Receipt.model_construct(part=1)], [rows])
    assert list(apart.values()) == [("a.jpg",), ("part1", "A.JPG"), ("b.jpg",)]
    (plain,) = place_all(Places(False), [Receipt.model_construct(part=1)], [rows])
    assert list(plain.values()) == [("a.jpg",), ("A.JPG",), ("b.jpg",)]


@pytest.fixture
def out(tmp_path: Path) -> OutFolder:
    folder = OutFolder(tmp_path / "out")
    folder.make()
    return folder


def test_a_file_is_written_whole_or_not_at_all(out: OutFolder) -> None:
    data = b"good"
    good = IndexRow("f", 0, 0, len(data), hashlib.sha256(data).digest())
    out.write(("cam", "hour", "f"), [b"go", b"od"])
    assert out.holds(("cam", "hour", "f"), good)

    def cut() -> Iterator[bytes]:
        yield b"bad"
        raise IntegrityError("its hash differs")

    with pytest.raises(IntegrityError):
        out.write(("cam", "hour", "g"), cut())
    assert out.holds(("cam", "hour", "f"), good)
    assert os.listdir(out.path / "cam" / "hour") == ["f"]


def test_a_link_in_place_of_a_file_is_neither_replaced_nor_followed(out: OutFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (out.path / "cam").mkdir()
    (out.path / "cam" / "f").symlink_to(tmp_path / "secret")
    data = b"secret"
    assert not out.holds(("cam", "f"), IndexRow("f", 0, 0, len(data), hashlib.sha256(data).digest()))
    for call in (lambda: out.write(("cam", "f"), [b"new"]), lambda: out.check_free(("cam", "f"))):
        with pytest.raises(PlaceError, match="symbolic link"):
            call()
    assert (tmp_path / "secret").read_bytes() == b"secret" and (out.path / "cam" / "f").is_symlink()


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_file_that_comes_while_one_is_written_stays(
    links: bool, out: OutFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    place = out.path / "cam" / "f"

    def pieces() -> Iterator[bytes]:
        yield b"archived"
        place.write_bytes(b"somebody's own")

    with pytest.raises(PlaceError, match="another file"):
        out.write(("cam", "f"), pieces())
    assert place.read_bytes() == b"somebody's own" and os.listdir(place.parent) == ["f"]
    out.write(("cam", "g"), [b"archived"])
    assert (out.path / "cam" / "g").read_bytes() == b"archived" and len(os.listdir(place.parent)) == 2


@pytest.mark.parametrize("target", ["elsewhere", "out/other", "nowhere"])
def test_a_link_on_the_way_is_refused(target: str, out: OutFolder, tmp_path: Path) -> None:
    for folder in ("elsewhere", "out/other"):
        (tmp_path / folder).mkdir()
    (out.path / "cam").symlink_to(tmp_path / target)
    for call in (lambda: out.write(("cam", "hour", "f"), [b"x"]), lambda: out.holds(("cam", "f"), row("f"))):
        with pytest.raises(BadInputError, match="symbolic link"):
            call()
    assert not list((tmp_path / "elsewhere").iterdir()) and not list((tmp_path / "out" / "other").iterdir())


def test_what_is_in_the_way_is_one_line(out: OutFolder, tmp_path: Path) -> None:
    (out.path / "cam").mkdir()
    (out.path / "cam" / "f").mkdir()
    (out.path / "file").write_bytes(b"")
    with pytest.raises(PlaceError, match="is a folder"):
        out.write(("cam", "f"), [b"x"])
    with pytest.raises(UserError, match=r"cannot write .*file"):
        out.write(("file", "f"), [b"x"])
    with pytest.raises(PlaceError, match="does not take that name"):
        out.write(("cam", "n" * 300), [b"x"])
    assert os.listdir(out.path / "cam") == ["f"]
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(UserError, match="is not a folder"):
        OutFolder(tmp_path / "plain").make()


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40))
def test_odd_names_survive(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    if name in (".", "..") or len(name.encode()) > 255:
        return
    out = OutFolder(tmp_path_factory.getbasetemp() / "odd")
    out.make()
    data = name.encode()
    one = IndexRow(portable_name(name), 0, 0, len(data), hashlib.sha256(data).digest())
    place = ("cam", *Places().of(one, 1))
    out.write(place, [data])
    assert out.holds(place, one) and (out.path / "cam" / name).read_bytes() == data


def test_whether_a_disk_folds_case_is_found_out_by_trying(out: OutFolder, tmp_path: Path) -> None:
    assert not out.folds_case() and os.listdir(out.path) == []
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    try:
        subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk that folds case cannot be made and mounted here")
    try:
        assert OutFolder(disk).folds_case()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
