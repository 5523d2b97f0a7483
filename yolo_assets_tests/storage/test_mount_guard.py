"""A folder store is known again: what an unmounted disk leaves behind is not taken for a new store."""

from pathlib import Path

import pytest

from yolo_assets.contracts.errors import UsageError
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.retrying import RetryBounds


def test_an_unmounted_disk_is_refused_and_the_same_one_accepted_again(tmp_path: Path) -> None:
    root, away, memory = tmp_path / "nas" / "archive", tmp_path / "away", tmp_path / "home" / "known"
    root.parent.mkdir()
    memory.parent.mkdir()
    open_store(root.as_uri(), memory=memory).put("a", b"1")
    root.rename(away)
    with pytest.raises(StoreUnavailableError, match="is not there, and this machine has stored there before"):
        open_store(root.as_uri(), memory=memory)
    root.mkdir()
    with pytest.raises(
        StoreUnavailableError, match="is no store, and this machine has stored there before; mount the disk"
    ):
        open_store(root.as_uri(), memory=memory)
    assert list(root.iterdir()) == []
    root.rmdir()
    away.rename(root)
    assert open_store(root.as_uri(), memory=memory).get("a") == b"1"


def test_another_store_under_the_path_is_refused_until_forgotten(tmp_path: Path) -> None:
    root, memory = tmp_path / "archive", tmp_path / "known"
    open_store(root.as_uri(), memory=memory)
    root.rename(tmp_path / "old")
    open_store(root.as_uri(), memory=tmp_path / "of another machine")
    with pytest.raises(StoreUnavailableError, match="is another store") as told:
        open_store(root.as_uri(), memory=memory)
    (kept,) = memory.iterdir()
    assert f"remove {kept}" in str(told.value)
    kept.unlink()
    open_store(root.as_uri(), memory=memory)


def test_two_machines_remember_one_store(tmp_path: Path) -> None:
    for machine in ("one", "two", "one"):
        open_store((tmp_path / "archive").as_uri(), memory=tmp_path / machine)
    assert len({next((tmp_path / machine).iterdir()).read_text() for machine in ("one", "two")}) == 1


def test_a_home_that_cannot_be_written_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "known").write_text("a file in the way")
    open_store((tmp_path / "archive").as_uri(), memory=tmp_path / "known").put("a", b"1")


def test_a_disk_that_is_swapped_under_an_open_store_is_refused(tmp_path: Path) -> None:
    root, memory = tmp_path / "archive", tmp_path / "known"
    store = open_store(root.as_uri(), memory=memory, retries=RetryBounds(tries=1))
    store.put("a", b"1")
    root.rename(tmp_path / "disk")
    root.mkdir()
    for request in (lambda: store.head("a"), lambda: store.put("b", b"2"), lambda: list(store.list(""))):
        with pytest.raises(StoreUnavailableError, match="is no store"):
            request()
    assert list(root.iterdir()) == []
    root.rmdir()
    open_store(root.as_uri())
    open_store(root.as_uri(), memory=tmp_path / "of another machine").put("a", b"another")
    with pytest.raises(StoreUnavailableError, match="is another store"):
        store.get("a")
    root.rename(tmp_path / "other disk")
    (tmp_path / "disk").rename(root)
    assert store.get("a") == b"1"


def test_a_lazy_store_opens_when_the_folder_is_there(tmp_path: Path) -> None:
    root = tmp_path / "share"
    store = open_store(root.as_uri(), create=False, lazy=True, retries=RetryBounds(tries=1))
    assert store.url == root.as_uri()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="does not exist; mount it"):
            store.head("a")
    assert not root.exists()
    root.mkdir()
    store.put("a", b"1")
    assert store.get("a") == b"1" and store.object_lock is None
    with pytest.raises(UsageError):
        open_store("file://relative", lazy=True)
