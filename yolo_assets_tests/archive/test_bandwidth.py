"""The bandwidth limit: how it is written, that it is kept and shared, and what lifts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.bandwidth.disk import DiskOutlook, DiskSample, DiskWatch, hours_until_full, must_lift
from yolo_assets.archive.bandwidth.limiter import Limiter, SharedLine
from yolo_assets.archive.bandwidth.rates import UNLIMITED, RateWindow, Timetable, format_rate, parse_rate
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets_tests.support.one_round import run_archiver

MB = 1_000_000
rates = st.one_of(st.just(UNLIMITED), st.integers(1, 10**11).map(float), st.floats(1, 1e10))
minutes = st.integers(0, 24 * 60 - 1)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MB/s", 20e6),
        ("500k", 500e3),
        ("1.5MiB/s", 1.5 * 2**20),
        ("8Mbit/s", 1e6),
        ("100 Mb/s", 12.5e6),
        ("1GB", 1e9),
        ("4096", 4096),
        ("unlimited", UNLIMITED),
    ],
)
def test_rates_are_read_as_people_write_them(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "not a rate"),
        ("-5MB/s", "not a rate"),
        ("0", "lets nothing through"),
        ("1bit/s", "lets nothing through"),
        ("22:00-06:00 unlimited", "leaves times without a rate"),
        ("else 1MB, 22:00-06:00 2MB", "'else' comes last"),
        ("1MB, 2MB", "has two rates"),
        ("25:00-06:00 1MB, else 1MB", "not a time of day"),
        ("22:00-06:70 1MB, else 1MB", "not a time of day"),
        ("tz=Mars/Base 1MB", "not a time zone"),
        ("22:00-22:00 1MB, else 2MB", "begins when it ends"),
        ("24:00-24:00 1MB, else 2MB", "begins when it ends"),
        ("20MB/s,", "a comma with nothing before or after it"),
        ("\u0663MB/s", "not a rate"),
        ("tz=../../etc/passwd 1MB", "not a time zone"),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        Timetable.parse(text)


@given(rate=rates)
def test_a_rate_is_written_so_that_it_is_read_back(rate: float) -> None:
    assert parse_rate(format_rate(rate)) == pytest.approx(rate, rel=1e-12)


@given(
    windows=st.lists(
        st.builds(RateWindow, minutes, minutes, rates.filter(lambda r: r == UNLIMITED or r == int(r))).filter(
            lambda window: window.start != window.end or window.start == 0
        )
    ),
    otherwise=st.integers(1, 10**10).map(float),
    zone=st.sampled_from([None, "UTC", "Europe/Berlin", "America/St_Johns"]),
    moment=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_a_timetable_is_written_so_that_it_is_read_back(
    windows: list[RateWindow], otherwise: float, zone: str | None, moment: datetime
) -> None:
    table = Timetable(tuple(windows), otherwise, zone)
    again = Timetable.parse(str(table))
    assert again == table
    assert again.rate_at(moment) in {otherwise, *(window.rate for window in windows)}


def test_windows_run_over_midnight_and_follow_local_time() -> None:
    table = Timetable.parse("tz=Europe/Berlin 22:00-06:00 unlimited, 12:00-13:00 5MB/s, else 20MB/s")

    def at(text: str) -> float:
        return table.rate_at(datetime.fromisoformat(text))

    assert at("2026-01-10T21:00+01:00") == 20e6
    assert at("2026-01-10T22:00+01:00") == UNLIMITED
    assert at("2026-01-11T05:59+01:00") == UNLIMITED
    assert at("2026-01-11T06:00+01:00") == 20e6
    assert at("2026-01-11T12:30+01:00") == 5e6
    # The same hour of the wall after the clock went forward.
    assert at("2026-07-10T22:00+02:00") == UNLIMITED
    assert at("2026-07-10T20:30Z") == UNLIMITED
    assert at("2026-01-10T20:30Z") == 20e6
    assert Timetable.parse("").rate_at(datetime.now(UTC)) == UNLIMITED


def limiter(text: str, folder: Path, **more: object) -> Limiter:
    return Limiter(Timetable.parse(text), line=SharedLine(folder), **more)  # pyright: ignore[reportArgumentType]


def test_threads_share_the_rate(tmp_path: Path) -> None:
    shared = limiter("4MB/s", tmp_path)
    begun = time.monotonic()
    threads = [threading.Thread(target=shared.take, args=(MB,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.85 < time.monotonic() - begun < 2
    assert shared.waited > 0.8


SENDER = """
import sys
from pathlib import Path
from yolo_assets.archive.bandwidth.limiter import Limiter, SharedLine
from yolo_assets.archive.bandwidth.rates import Timetable
limiter = Limiter(Timetable.parse("2MB/s"), line=SharedLine(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
limiter.take(int(sys.argv[2]))
print("done", flush=True)
"""


def sender(folder: Path, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(folder), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_processes_share_the_rate_and_a_killed_one_gives_its_share_back(tmp_path: Path) -> None:
    first, second, killed = sender(tmp_path, MB), sender(tmp_path, MB), sender(tmp_path, 1000 * MB)
    begun = time.monotonic()
    for process in (killed, first, second):
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    time.sleep(0.4)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [process.wait(timeout=20) for process in (first, second)] == [0, 0]
    # Two megabytes and what the third had sent of its gigabyte, at two a second.
    assert 0.9 < time.monotonic() - begun < 3


def test_a_new_rate_counts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = limiter("1kB/s", tmp_path)
    timer = threading.Timer(0.3, lambda: setattr(one, "table", Timetable.parse("unlimited")))
    timer.start()
    begun = time.monotonic()
    one.take(10 * MB)
    assert time.monotonic() - begun < 10  # at a kilobyte a second these were three hours


def test_a_folder_that_cannot_be_shared_is_reported_and_the_limit_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    said: list[str] = []
    line = SharedLine(tmp_path / "file" / "below", said.append)
    assert len(said) == 1 and "this process alone" in said[0]
    one = Limiter(Timetable.parse("2MB/s"), line=line)
    begun = time.monotonic()
    one.take(MB)
    assert time.monotonic() - begun > 0.4


def test_archives_go_into_a_store_at_the_rate(
    fill_hour: Callable[..., SpoolHour], store_url: str, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    fill_hour(frames=12, size=1 << 20)
    one = limiter("10MB/s", tmp_path / "line")
    store = open_store(store_url, pace=one.take)
    for options in (ArchiveOptions(), ArchiveOptions(part_size=5 << 20, whole=0)):
        fill_hour(frames=12, size=1 << 20)
        begun = time.monotonic()
        (result,) = run_archiver(
            tmp_path / "spool",
            Archive(store, TrustedKeys.of(signer)),
            signer,
            options=options,
            keep_local=True,
            grace_seconds=0,
        )
        if result.status == "archived":
            assert 1.1 < time.monotonic() - begun < 6, "12.6 MB at 10 MB/s, every byte once"


def samples(slope: float, start: int, minutes_long: int) -> list[DiskSample]:
    """Free space that changes by ``slope`` bytes a second."""
    return [DiskSample(60.0 * n, int(start + slope * 60 * n)) for n in range(minutes_long + 1)]


@given(slope=st.floats(-1e8, -1e3), hours=st.floats(0.1, 1000), span=st.integers(10, 240))
def test_the_forecast_is_that_of_a_steady_fill(slope: float, hours: float, span: int) -> None:
    start = int(-slope * 3600 * hours)
    found = hours_until_full(samples(slope, start, span))
    left = hours - span / 60
    assert found is not None
    assert found == pytest.approx(max(0, left), abs=0.02 * hours + 0.05)


def test_without_enough_samples_there_is_no_forecast() -> None:
    assert hours_until_full([]) is None
    assert hours_until_full(samples(-1e6, 10**9, 9)) is None
    assert hours_until_full(samples(1e6, 10**9, 60)) is None


@given(hours=st.one_of(st.none(), st.floats(0, 100)), threshold=st.floats(0.1, 50))
def test_a_lifted_limit_stays_lifted_until_there_is_twice_the_time(hours: float | None, threshold: float) -> None:
    outlook = DiskOutlook(hours, scarce=False)
    if must_lift(outlook, threshold, lifted=False):
        assert must_lift(outlook, threshold, lifted=True)
    if must_lift(outlook, threshold, lifted=True):
        assert hours is not None and hours < 2 * threshold
    assert must_lift(DiskOutlook(hours, scarce=True), threshold, lifted=False)


class FullSoon(DiskWatch):
    """The real watch with another outlook: a test cannot fill a disk for hours."""

    outlook = DiskOutlook(2.0, scarce=False)

    def sample(self, now: float) -> DiskOutlook:
        super().sample(now)
        return self.outlook


def test_a_disk_that_fills_lifts_the_limit_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    watch = FullSoon(tmp_path, tmp_path / "metrics" / "disk.json")
    one = limiter("1kB/s", tmp_path / "line", disk=watch, full_hours=6, say=said.append)
    begun = time.monotonic()
    one.take(100 * MB)
    assert time.monotonic() - begun < 2
    assert (one.lifted, one.full_in) == (True, 2.0)
    assert said == ["the spool's disk is full in 2.0 hours: the limit is lifted until there is space again"]
    watch.outlook = DiskOutlook(20.0, scarce=False)
    one._checked_at = -1e9
    assert one.rate() == 1000
    assert said[1] == "there is space on the spool's disk: the limit of 1kB/s is back"


def test_samples_are_kept_between_runs_and_damage_to_them_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "metrics" / "disk.json"
    now = time.time()
    for minute in range(20):
        DiskWatch(tmp_path, file).sample(now + 60 * minute)
    assert len(DiskWatch(tmp_path, file)._read()) == 20
    file.write_bytes(b'[["x"')
    assert DiskWatch(tmp_path, file).sample(now).hours is None
    assert len(DiskWatch(tmp_path, file)._read()) == 1


def test_settings_make_a_limiter_only_where_there_is_a_limit(tmp_path: Path) -> None:
    plain = Settings.from_env({"YOLO_ASSETS_HOME": str(tmp_path)})
    assert Limiter.of(plain, print) is None
    assert Limiter.of(plain.model_copy(update={"bandwidth": "unlimited"}), print) is None
    limited = Limiter.of(plain.model_copy(update={"bandwidth": "1MB/s"}), print)
    assert limited is not None and limited.rate() in (1e6, UNLIMITED)


def test_the_clock_that_processes_share_is_the_hosts() -> None:
    """What ``Line`` relies on: the monotonic clock counts alike in every process."""
    before = time.monotonic()
    found = float(subprocess.check_output([sys.executable, "-c", "import time; print(time.monotonic())"], text=True))
    assert before < found < time.monotonic()
    assert os.name == "posix"
    assert timedelta(seconds=found) > timedelta()


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MB", 20e6), ("1.5MiB", 1.5 * 2**20), ("500k", 500e3), ("3K", 3e3), ("2Ki", 2048), ("2ki", 2048),
        ("5Gi", 5 * 2**30), ("100mbit", 12.5e6), ("8Mbit/s", 1e6), ("8Mb", 1e6), ("12bit", 1.5), ("20", 20),
    ],
)  # fmt: skip
def test_units_are_those_of_bytesize_but_a_small_b_is_a_bit(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["20mb", "20kb/m", "1TB", "0.5", "-1MB", "MB"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_rate(text)
