"""Files whole or not at all, and locks, also by processes that are killed in the middle."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.runtime.files import (
    TEMPORARY,
    FolderBusyError,
    fsync_folder,
    is_full,
    lock,
    lock_folder,
    locked_file,
    unlock,
    write_all,
    write_atomic,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(versions=st.lists(st.binary(max_size=3000), min_size=1, max_size=4), durable=st.booleans())
def test_the_last_version_is_there_whole_and_no_temporary_file(
    tmp_path: Path, versions: list[bytes], durable: bool
) -> None:
    path = tmp_path / "file"
    for data in versions:
        write_atomic(path, data, durable=durable)
        assert path.read_bytes() == data
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_an_exclusive_write_leaves_a_taken_name_alone(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "a", b"second", exclusive=True)
    assert (tmp_path / "a").read_bytes() == b"first" and len(list(tmp_path.iterdir())) == 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "a", b"never")
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.binary(max_size=4000), most=st.integers(1, 997), offset=st.one_of(st.none(), st.integers(0, 500)))
def test_every_byte_is_written_where_the_system_takes_few_at_once(
    tmp_path: Path, data: bytes, most: int, offset: int | None
) -> None:
    write, pwrite = os.write, os.pwrite
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda fd, view: write(fd, view[:most]))
        patch.setattr(os, "pwrite", lambda fd, view, at: pwrite(fd, view[:most], at))
        write_all(descriptor, data, offset)
    os.close(descriptor)
    assert path.read_bytes() == (b"\0" * (offset or 0) + data if data else b"")


def test_a_killed_writer_leaves_the_old_bytes_or_the_new_ones(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from yolo_assets.runtime.files import write_atomic\n"
        "path = Path(sys.argv[1]); n = 0\n"
        "while True: n += 1; write_atomic(path, (b'%06d' % n) * 20000, durable=n % 2 == 0)"
    )
    path = tmp_path / "file"
    for pause in (0.0, 0.01, 0.03, 0.05):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
        until = time.monotonic() + 60
        seen = path.read_bytes() if path.exists() else b""
        while (not path.exists() or path.read_bytes() == seen) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(pause)
        writer.kill()
        writer.wait()
        data = path.read_bytes()
        assert len(data) == 120_000 and data == data[:6] * 20_000
        assert all(left.name.startswith(TEMPORARY) or left == path for left in tmp_path.iterdir())


_HOLDER = (
    "import os, sys, time; from yolo_assets.runtime.files import lock\n"
    "fd = os.open(sys.argv[1], os.O_RDONLY); assert lock(fd, shared=sys.argv[2] == 'shared')\n"
    "print('held', flush=True); time.sleep(600)"
)


@contextmanager
def holder(path: Path, kind: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path), kind], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_folder_lock_ends_with_a_killed_holder(tmp_path: Path) -> None:
    with holder(tmp_path, "exclusive") as process:
        with pytest.raises(FolderBusyError, match="in use"):
            lock_folder(tmp_path, "in use", shared=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(lock_folder(tmp_path, "in use"))


def test_shared_locks_coexist_and_keep_an_exclusive_one_out(tmp_path: Path) -> None:
    with holder(tmp_path, "shared"):
        os.close(lock_folder(tmp_path, "in use", shared=True))
        with pytest.raises(FolderBusyError):
            lock_folder(tmp_path, "in use")


@pytest.mark.parametrize("wait", [None, 30.0])
def test_a_waiting_lock_is_taken_when_the_holder_lets_go(tmp_path: Path, wait: float | None) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert lock(first) and not lock(second) and not lock(second, wait_s=0.05)
    timer = threading.Timer(0.1, unlock, [first])
    timer.start()
    assert lock(second, wait_s=wait)
    timer.join()
    os.close(first)
    os.close(second)


def test_a_lock_file_keeps_a_second_owner_out_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    second = locked_file(path, "another works here")
    with locked_file(path, "first"), pytest.raises(FolderBusyError, match="another works here"):
        second.__enter__()
    with locked_file(path, "free again"):
        assert path.exists()


def test_a_full_disk_and_a_used_up_quota_are_full() -> None:
    assert [is_full(OSError(code, "")) for code in (errno.ENOSPC, errno.EDQUOT, errno.EACCES)] == [True, True, False]


def test_a_share_that_cannot_sync_folders_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    for unable in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
        code = unable
        fsync_folder(tmp_path)
    code = errno.EIO
    with pytest.raises(OSError):
        fsync_folder(tmp_path)


HOLD = """
import errno, fcntl, os, sys, time
from pathlib import Path
from yolo_assets.runtime.files import lock_folder

def none(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = none
lock_folder(Path(sys.argv[1]), "busy", shared=sys.argv[2] == "shared")
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_share_without_locks_is_locked_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    share, other = tmp_path / "share", tmp_path / "other"
    share.mkdir()
    other.mkdir()
    first = lock_folder(share, "busy")
    os.close(lock_folder(other, "busy"))
    for shared in (False, True):
        with pytest.raises(FolderBusyError, match="busy"):
            lock_folder(tmp_path / "other" / ".." / "share", "busy", shared=shared)
    os.close(first)
    readers = [lock_folder(share, "busy", shared=True) for _ in range(2)]
    with pytest.raises(FolderBusyError):
        lock_folder(share, "busy")
    for reader in readers:
        os.close(reader)
    os.close(lock_folder(share, "busy"))


def test_a_lock_on_this_machine_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), "exclusive"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"

        def none(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", none)
        with pytest.raises(FolderBusyError):
            lock_folder(tmp_path, "busy")
        process.kill()
        process.wait(timeout=10)
        os.close(lock_folder(tmp_path, "busy"))
