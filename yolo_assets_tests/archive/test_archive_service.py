"""``archive run --every`` as a device runs it: through outages of the store, signals, kills; with limit and metrics."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.contracts.archiver_figures import PREFIX, read_figures
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import clean_env
from yolo_assets_tests.support.fault_plan import Fault
from yolo_assets_tests.support.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

FillHour = Callable[..., SpoolHour]
Contents = Callable[[Path], dict[str, bytes]]
MB = 1_000_000


class Box:
    """A spool, a home, and the command as a process that goes on."""

    def __init__(self, root: Path) -> None:
        self.spool = root / "spool"
        self.spool.mkdir(exist_ok=True)
        self.home = root / "home"
        self.env = {"YOLO_ASSETS_RUNTIME": str(root / "runtime"), "YOLO_ASSETS_GRACE_SECONDS": "0"}
        self.errors = root / "errors"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, archive: str | Path, *options: str | Path) -> subprocess.Popen[bytes]:
        """The command; its results come as JSON lines, its notes go to ``errors``."""
        command = ["archive", "run", "--spool", self.spool, "--archive", archive, "--json", *options]
        with self.errors.open("wb") as errors:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "yolo_assets.cli.main", *map(str, command)],
                    env=clean_env(self.home, self.env),
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            )
        return self.processes[-1]

    def next(self, status: str) -> dict:
        """The next result with that status."""
        pipe = self.processes[-1].stdout
        assert pipe is not None
        for line in pipe:
            row = orjson.loads(line)
            if row["status"] == status:
                return row
        raise AssertionError(f"it ended: {self.errors.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Exit code, and seconds it took."""
        begun = time.monotonic()
        self.processes[-1].send_signal(how)
        return self.processes[-1].wait(timeout=30), time.monotonic() - begun

    def until(self, true: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end and self.processes[-1].poll() is None, self.errors.read_text()
            time.sleep(0.05)

    def count(self, name: str, label: str = "") -> float:
        """A counter, as the file has it."""
        figures = read_figures(self.home / "metrics" / "archiver.json")
        return 0 if figures is None else figures.counters.get(name, {}).get(label, 0)

    def archived(self, url: str) -> dict[str, bytes]:
        """Every file of every part of the hour, hashes verified."""
        store = open_store(url)
        trusted = TrustedKeys.of(Signer.load_or_create(self.home / "keys" / "archiver"))
        return {
            native_name(row.name): ArchivedPart(store, receipt).read(row)
            for receipt in Archive(store, trusted).receipts("cam1", Hour.from_key("20260102_03"))
            for row in ArchivedPart(store, receipt).index()
        }


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    one = Box(tmp_path)
    yield one
    for process in one.processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def scrape(url: str) -> dict[str, float]:
    """Samples of a page; labels as in the text."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        sample.name.removeprefix(PREFIX) + "".join(f":{value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_an_outage_of_the_store_passes_by_itself(
    box: Box, fill_hour: FillHour, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour()
    must = contents(hour.path)
    cold, text = tmp_path / "cold", tmp_path / "archiver.prom"
    box.start(cold, "--every", "0.1", "--metrics-port", "0", "--metrics-file", text, "--bwlimit", "50MB/s")
    first = box.next("archived")
    assert first["bandwidth"]["limit"] == "50MB/s" and first["bandwidth"]["lifted"] is False
    page = box.errors.read_text().split("metrics: ")[1].split()[0]
    assert page.startswith("http://127.0.0.1:")

    cold.rename(tmp_path / "away")
    fill_hour(first=100, seal=False)
    must |= contents(hour.path)
    pauses = [box.next("failed")["retry_in_seconds"] for _ in range(3)]
    assert pauses[0] < pauses[1] < pauses[2]
    during = scrape(page)
    assert during["failures_total:store_unreachable"] >= 3 and during["retries_total"] >= 6
    assert during["waiting_camera_hours"] == 1 and during["backlog_bytes"] == sum(
        len(data) for data in contents(hour.path).values()
    )
    assert during["backlog_age_seconds"] > 86400 and during["limit_bytes_per_second"] == 50 * MB

    (tmp_path / "away").rename(cold)
    box.next("archived")
    box.until(lambda: contents(hour.path) == {})
    assert box.archived(cold.as_uri()) == must
    with urllib.request.urlopen(page.replace("/metrics", "/healthz"), timeout=10) as answer:
        assert answer.status == 200
    after = scrape(page)
    assert after["archives_total:cam1"] == 2 and after["verifications_total:head"] == 2
    assert after["waiting_camera_hours"] == after["backlog_bytes"] == after["backlog_age_seconds"] == 0
    assert after["reclaimed_bytes_total"] >= after["bytes_total:cam1"] == sum(map(len, must.values()))
    assert after["sent_bytes_total"] > after["bytes_total:cam1"]
    assert abs(after["last_success_timestamp_seconds"] - time.time()) < 60
    code, seconds = box.stop()
    assert (code, seconds < 8) == (0, True)
    shown = {
        s.name: s.value for f in text_string_to_metric_families(text.read_text()) for s in f.samples if not s.labels
    }
    assert shown[f"{PREFIX}sent_bytes_total"] == after["sent_bytes_total"]


@pytest.mark.s3
def test_an_endpoint_that_was_away_is_found_again_and_a_sigterm_ends_a_slow_upload(
    box: Box, fill_hour: FillHour, contents: Contents, s3_bucket: S3Bucket
) -> None:
    hour = fill_hour(frames=3, size=MB)
    must = contents(hour.path)
    with FaultProxy(s3_bucket.server.endpoint, lambda _: Fault("reset")) as proxy:
        box.env |= s3_bucket.env | {"AWS_ENDPOINT_URL_S3": proxy.url}
        box.start(s3_bucket.url, "--every", "0.3", "--bwlimit", "300kB/s")
        assert box.next("failed")["failure"] == "store_unreachable"
        proxy.begin(None)
        box.until(lambda: box.count("failures", "store_unreachable"))
        begun = time.monotonic()
        box.until(lambda: proxy.count("PutObject"))
        time.sleep(2)
        assert contents(hour.path) == must
        code, seconds = box.stop()
        assert code == 0 and seconds < 8, "it was to last ten seconds"
        # What went over the line is what was allowed, within what the sockets take in advance.
        sent = proxy.sent("PutObject")
        assert 0.2 * MB < sent < 0.3 * MB * (time.monotonic() - begun) + 0.5 * MB
        counted = box.count("sent_bytes")
        assert counted > 0.2 * MB and box.count("throttled_seconds") > 1
        assert "stopped; " in box.errors.read_text()
        assert contents(hour.path) == must and box.archived(s3_bucket.url) == {}
        box.start(s3_bucket.url, "--every", "0.3")
        box.next("archived")
        box.until(lambda: contents(hour.path) == {})
        assert box.archived(s3_bucket.url) == must
        assert box.count("sent_bytes") > counted + 3 * MB
        assert box.stop(signal.SIGINT)[0] == 0


def test_a_killed_run_keeps_what_it_counted(box: Box, fill_hour: FillHour, contents: Contents, tmp_path: Path) -> None:
    hour = fill_hour(frames=3, size=4 * MB)
    must = contents(hour.path)
    cold = (tmp_path / "cold").as_uri()
    box.start(cold, "--bwlimit", "500kB/s")
    box.until(lambda: box.count("sent_bytes") > 0)
    before = box.count("sent_bytes")
    assert box.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    assert box.count("sent_bytes") >= before > 0 and box.count("archives", "cam1") == 0
    box.start(cold)
    assert box.processes[-1].wait(timeout=60) == 0
    assert box.archived(cold) == must and contents(hour.path) == {}
    assert box.count("archives", "cam1") == 1
    assert box.count("sent_bytes") > before + 12 * MB


def test_ctrl_c_of_a_run_that_ends_is_an_interruption(
    box: Box, fill_hour: FillHour, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour(frames=2, size=2 * MB)
    must = contents(hour.path)
    box.start(tmp_path / "cold", "--bwlimit", "100kB/s")
    box.until(lambda: (hour.path / ".archiving.json").exists())
    code, seconds = box.stop(signal.SIGINT)
    assert (code, seconds < 8) == (130, True)
    assert box.errors.read_text() == "error: interrupted; run the same command again to continue\n"
    assert contents(hour.path) == must


def test_two_commands_share_the_limit_of_the_host(tmp_path: Path, fill_hour: FillHour) -> None:
    boxes = [Box(tmp_path / name) for name in "ab" if not (tmp_path / name).mkdir()]
    hour = fill_hour(frames=1, size=2 * MB)
    for one in boxes:
        shutil.copytree(hour.path.parent, one.spool / "cam1")
        one.env["YOLO_ASSETS_RUNTIME"] = str(tmp_path / "runtime")
    begun = time.monotonic()
    processes = [one.start(tmp_path / "cold", "--bwlimit", "2MB/s") for one in boxes[:1]]
    processes += [boxes[1].start(tmp_path / "other", "--bwlimit", "2MB/s")]
    rows = [orjson.loads(process.communicate(timeout=60)[0])[0] for process in processes]
    assert [row["status"] for row in rows] == ["archived", "archived"]
    assert 2 < time.monotonic() - begun < 15
    assert sum(row["bandwidth"]["waited_seconds"] for row in rows) > 2


def test_a_disk_that_fills_lifts_the_limit_and_says_so(box: Box, fill_hour: FillHour, tmp_path: Path) -> None:
    """The samples of the last twenty minutes are made up, the disk is this machine's."""
    fill_hour(frames=2, size=2 * MB)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    now = time.time()
    fall = free / 7200  # full in two hours
    (box.home / "metrics").mkdir(parents=True)
    past = [[now - 60 * minute, int(free + 60 * minute * fall)] for minute in range(20, 0, -1)]
    (box.home / "metrics" / "disk.json").write_text(json.dumps(past))
    process = box.start(tmp_path / "cold", "--bwlimit", "10kB/s", "--metrics-file", tmp_path / "a.prom")
    (row,) = orjson.loads(process.communicate(timeout=60)[0])
    assert row["status"] == "archived", "at ten kilobytes a second this lasts seven minutes"
    assert row["bandwidth"]["limit"] == "10kB/s" and row["bandwidth"]["lifted"] is True
    assert 1.5 < row["bandwidth"]["disk_full_hours"] < 2.5
    assert "the limit is lifted" in box.errors.read_text()
    text = (tmp_path / "a.prom").read_text()
    assert f"{PREFIX}limit_lifted 1.0" in text and f"{PREFIX}disk_full_in_seconds" in text
