"""Faults can be put below the retries of a whole process and of its children, without the product's help."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets_tests.support.faulty_stores import FaultLog, FaultOrder, faulty_environment, faulty_stores

CHILD = """
import subprocess, sys
from yolo_assets.storage import open_store
store = open_store(sys.argv[1])
store.put_if_absent("k" + sys.argv[2], b"1")
if sys.argv[2] == "1":
    sys.exit(subprocess.call([sys.executable, "-c", sys.argv[3], sys.argv[1], "2", ""]))
"""


def test_each_request_of_this_process_fails_once_and_is_retried(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    with faulty_stores(FaultOrder(each_once="after")) as log:
        store = open_store(url)
        store.put_if_absent("k", b"1")
        assert store.get("k") == b"1"
    assert log.faults() == [("put_if_absent", "k"), ("head", "k"), ("stream", "k"), ("get", "k")]
    with faulty_stores(FaultOrder(outage=(0, time.time() + 60), url="other")) as log:
        assert open_store(url).get("k") == b"1" and not log.faults()
    with faulty_stores(FaultOrder(outage=(0, time.time() + 60), key="cam03")) as log:
        assert open_store(url).get("k") == b"1" and not log.faults()
        with pytest.raises(StoreUnavailableError):
            open_store(url).get("archives/camera=cam03/k")
    open_store(url).put("k", b"2")


def test_an_outage_of_this_process_is_seen(tmp_path: Path) -> None:
    with (
        faulty_stores(FaultOrder(outage=(0, time.time() + 60))),
        pytest.raises(StoreUnavailableError, match="injected"),
    ):
        open_store((tmp_path / "store").as_uri()).get("k")


def test_started_processes_fail_too(tmp_path: Path) -> None:
    log = tmp_path / "faults"
    environment = faulty_environment(tmp_path / "hook", FaultOrder(outage=(0, time.time() + 600)))
    command = [sys.executable, "-c", CHILD, (tmp_path / "store").as_uri(), "1", CHILD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "injected: put_if_absent k1" in done.stderr
    environment = faulty_environment(tmp_path / "hook", FaultOrder(each_once="before", log=str(log)))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert FaultLog(log).faults() == [("put_if_absent", "k1"), ("put_if_absent", "k2")]
