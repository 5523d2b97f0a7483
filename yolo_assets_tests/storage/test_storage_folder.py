"""The folder store under what folders suffer: racing and killed processes, full disks, missing rights, lost mounts."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.storage import (
    AlreadyExistsError,
    CasConflictError,
    ObjectStore,
    StoreUnavailableError,
    UploadGoneError,
    open_store,
)
from yolo_assets_tests.support.small_disk import small_disk

SCRIPT = Path(__file__).parents[1] / "support" / "store_process.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def folder(root: Path) -> ObjectStore:
    return open_store(root.as_uri())


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)


def own_files(root: Path, name: str) -> list[Path]:
    return list((root / ".yolo_store" / name).iterdir())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))


def test_racing_processes_lose_no_increment(folder: ObjectStore) -> None:
    folder.put("counter", b"0")
    running = [start("swap", folder.url, "counter", str(name), "40") for name in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert folder.get("counter").split()[0] == b"120"


def test_one_of_racing_processes_creates(folder: ObjectStore) -> None:
    running = [start("create", folder.url, "k", str(name), "100") for name in range(3)]
    won = {name: process.communicate(timeout=60)[0].split() for name, process in enumerate(running)}
    assert sorted(number for numbers in won.values() for number in numbers) == sorted(map(str, range(100)))
    for name, numbers in won.items():
        assert all(folder.get(f"k/{number}") == b"%d" % name for number in numbers)


def killed_after(process: subprocess.Popen[str], seconds: float) -> None:
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()


def test_a_killed_writer_leaves_the_old_or_the_new(folder: ObjectStore, root: Path) -> None:
    size, moments = 3_000_000, random.Random(1)
    folder.put("k", b"a" * size)
    left = 0
    for _ in range(8):
        killed_after(start("rewrite", folder.url, "k", str(size)), moments.uniform(0, 0.08))
        data, info = folder.get_with_info("k")
        assert data in (b"a" * size, b"b" * size) and info.size == size
        assert [info.key for info in folder.list("")] == ["k"]
        left += len(own_files(root, "tmp"))
        age(root / ".yolo_store" / "tmp", 120)
        open_store(folder.url).put("k", b"a" * size)
        assert own_files(root, "tmp") == []
    assert left > 0, "no kill came in the middle of a write: the test proves nothing"


def test_a_killed_upload_resumes(folder: ObjectStore) -> None:
    size, moments = 1_500_000, random.Random(2)
    upload_id = folder.create_upload("k")
    counts = []
    for _ in range(6):
        killed_after(start("parts", folder.url, "k", upload_id, str(size)), moments.uniform(0.01, 0.1))
        counts.append(len(folder.list_parts("k", upload_id)))
        assert folder.head("k") is None and list(folder.list("")) == []
    assert counts == sorted(counts) and counts[-1] > 2
    folder.upload_part("k", upload_id, counts[-1] + 1, b"end")
    folder.complete_upload("k", upload_id, folder.list_parts("k", upload_id))
    expected = b"".join(bytes([65 + number % 26]) * size for number in range(1, counts[-1] + 1)) + b"end"
    assert folder.get("k") == expected


def test_a_journal_line_cut_short_is_no_part(folder: ObjectStore, root: Path) -> None:
    upload_id = folder.create_upload("k")
    parts = [folder.upload_part("k", upload_id, number, b"abc") for number in (1, 2)]
    journal = root / ".yolo_store" / "uploads" / upload_id / "journal"
    os.truncate(journal, journal.stat().st_size - 5)
    assert folder.list_parts("k", upload_id) == parts[:1]
    assert folder.upload_part("k", upload_id, 2, b"abc") == parts[1]
    assert folder.list_parts("k", upload_id) == parts


def test_a_complete_killed_before_its_clean_up_cannot_be_written_through(folder: ObjectStore, root: Path) -> None:
    upload_id = folder.create_upload("k")
    part = folder.upload_part("k", upload_id, 1, b"abc")
    uploads = root / ".yolo_store" / "uploads" / upload_id
    os.link(uploads / "data", root / "k")  # as a kill right after the link leaves it
    with pytest.raises(UploadGoneError):
        folder.upload_part("k", upload_id, 1, b"xyz")
    assert folder.get("k") == b"abc"
    with pytest.raises(AlreadyExistsError):
        folder.complete_upload("k", upload_id, [part])
    assert not uploads.exists() and folder.get("k") == b"abc"


def test_an_upload_needs_no_second_copy(folder: ObjectStore, root: Path) -> None:
    upload_id = folder.create_upload("k")
    part = folder.upload_part("k", upload_id, 1, b"x" * 1_000_000)
    data = root / ".yolo_store" / "uploads" / upload_id / "data"
    inode = data.stat().st_ino
    folder.complete_upload("k", upload_id, [part])
    assert (root / "k").stat().st_ino == inode and own_files(root, "uploads") == []


def test_uneven_parts_are_refused_when_they_come(folder: ObjectStore) -> None:
    upload_id = folder.create_upload("k")
    folder.upload_part("k", upload_id, 1, b"x" * 10)
    with pytest.raises(BadInputError, match="of one size"):
        folder.upload_part("k", upload_id, 2, b"x" * 11)
    with pytest.raises(BadInputError, match="of one size"):
        folder.upload_part("k", upload_id, 1, b"x" * 9)
    assert [part.size for part in folder.list_parts("k", upload_id)] == [10]


def test_leftovers_are_removed_and_active_writes_stay(folder: ObjectStore, root: Path) -> None:
    living, dead, young = (root / ".yolo_store" / "tmp" / name for name in ("living", "dead", "young"))
    for path in (living, dead, young):
        path.write_bytes(b"half")
    old_upload, new_upload = folder.create_upload("old"), folder.create_upload("new")
    age(root / ".yolo_store" / "uploads" / old_upload, 8 * 86400)
    age(root / ".yolo_store" / "uploads" / new_upload, 6 * 86400)
    age(living, 3600)
    age(dead, 3600)
    with living.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        again = open_store(folder.url)
    assert sorted(path.name for path in own_files(root, "tmp")) == ["living", "young"]
    assert again.list_parts("new", new_upload) == []
    with pytest.raises(UploadGoneError):
        again.list_parts("old", old_upload)


def one_line(action: Callable[[], object], error: type[UserError] = StoreUnavailableError) -> str:
    with pytest.raises(error) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """At most a million bytes a file, as ``ulimit -f`` sets it: works without any right to mount."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    yield 1_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, old)


def test_a_write_that_does_not_fit_changes_nothing(folder: ObjectStore, root: Path, file_size_limit: int) -> None:
    folder.put("k", b"old")
    assert "free space" in one_line(lambda: folder.put("k", b"x" * (file_size_limit + 1)))
    assert folder.get("k") == b"old" and own_files(root, "tmp") == []
    upload_id = folder.create_upload("big")
    part = folder.upload_part("big", upload_id, 1, b"x" * 600_000)
    assert "free space" in one_line(lambda: folder.upload_part("big", upload_id, 2, b"x" * 600_000))
    assert folder.list_parts("big", upload_id) == [part]


def test_a_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    with small_disk(mount, "1m") as refused:
        if refused:
            pytest.skip(f"{refused}; the file-size test covers the same path")
        folder = open_store((mount / "store").as_uri())
        folder.put("k", b"old")
        message = one_line(lambda: folder.put("k", b"x" * 2_000_000))
        assert "full" in message and "free space" in message
        assert folder.get("k") == b"old"
        folder.delete("k")
        folder.put("k", b"x" * 500_000)


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for inside in folder.iterdir():
        inside.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    if user == 0:
        os.seteuid(0)


def test_a_folder_without_the_right_to_write(open_tmp: Path, request: pytest.FixtureRequest) -> None:
    root = open_tmp / "store"
    open_store(root.as_uri()).put("k", b"1")
    shutil.rmtree(root / ".yolo_store")
    root.chmod(0o555)
    request.getfixturevalue("nobody")
    folder = open_store(root.as_uri())
    assert folder.get("k") == b"1" and [info.key for info in folder.list("")] == ["k"]
    for action in (
        lambda: folder.put("k", b"2"),
        lambda: folder.put_if_absent("new", b"2"),
        lambda: folder.compare_and_swap("k", b"2", "x"),
        lambda: folder.delete("k"),
        lambda: folder.create_upload("k"),
    ):
        message = one_line(action)
        assert "no permission" in message and f"user id {os.geteuid()}" in message
    assert folder.get("k") == b"1"


def test_an_unmounted_folder_is_not_an_empty_store(folder: ObjectStore, root: Path) -> None:
    folder.put("k", b"1")
    root.rename(root.with_name("elsewhere"))
    root.mkdir()  # the mount point that remains
    for action in (
        lambda: folder.get("k"),
        lambda: folder.head("k"),
        lambda: list(folder.list("")),
        lambda: folder.put("k", b"2"),
        lambda: folder.create_upload("k"),
    ):
        assert "is missing; mount or restore" in one_line(action)
    assert list(root.iterdir()) == []


def test_an_object_in_the_way_of_a_folder(folder: ObjectStore) -> None:
    folder.put("a/b", b"1")
    assert "in the way" in one_line(lambda: folder.put("a", b"2"), BadInputError)
    assert "in the way" in one_line(lambda: folder.put_if_absent("a", b"2"), BadInputError)
    assert "in the way" in one_line(lambda: folder.put("a/b/c", b"2"), BadInputError)
    assert [info.key for info in folder.list("")] == ["a/b"]


def test_the_etag_changes_even_when_the_bytes_do_not_and_the_clock_stands(
    folder: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    etags = [folder.put("k", b"same").etag for _ in range(5)]
    assert len(set(etags)) == 5
    with pytest.raises(CasConflictError):
        folder.compare_and_swap("k", b"new", etags[3])
    assert folder.compare_and_swap("k", b"new", etags[4]).etag == folder.get_with_info("k")[1].etag


def test_file_systems_without_hard_links(folder: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder.put_if_absent("k", b"1")
    with pytest.raises(AlreadyExistsError):
        folder.put_if_absent("k", b"2")
    upload_id = folder.create_upload("m")
    folder.complete_upload("m", upload_id, [folder.upload_part("m", upload_id, 1, b"abc")])
    assert (folder.get("k"), folder.get("m")) == (b"1", b"abc")
    with pytest.raises(UploadGoneError):
        folder.list_parts("m", upload_id)


def test_files_that_people_put_there_are_objects(folder: ObjectStore, root: Path) -> None:
    (root / "labels" / "inbox").mkdir(parents=True)
    (root / "labels" / "inbox" / "batch.zip").write_bytes(b"zip")
    os.symlink(root / "nowhere", root / "labels" / "dangling")
    assert [info.key for info in folder.list("labels/")] == ["labels/inbox/batch.zip"]
    assert folder.get("labels/inbox/batch.zip") == b"zip"


def test_objects_are_readable_by_others(folder: ObjectStore, root: Path) -> None:
    umask = os.umask(0o022)
    try:
        folder.put("k", b"1")
        upload_id = folder.create_upload("m")
        folder.complete_upload("m", upload_id, [folder.upload_part("m", upload_id, 1, b"abc")])
    finally:
        os.umask(umask)
    assert [(root / key).stat().st_mode & 0o777 for key in ("k", "m")] == [0o644, 0o644]


def test_a_hung_lock_holder_is_reported(folder: ObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_assets.storage.folder_files.LOCK_TIMEOUT", 0.2)
    folder.put("k", b"1")
    held = [lock.open() for lock in own_files(root, "locks")]
    for file in held:
        fcntl.flock(file, fcntl.LOCK_EX)
    assert "lock" in one_line(lambda: folder.put("k", b"2"))
    for file in held:
        file.close()
    folder.put("k", b"2")
