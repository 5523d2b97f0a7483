"""A scrape is cheap whatever it reads: seldom, never waiting long, and honest about what it could not read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric

from yolo_assets.exporter import cached
from yolo_assets.exporter.cached import Subject, Subjects


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass."""
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr(cached.time, "monotonic", lambda: real() + ahead[0])

    def forward(seconds: float) -> None:
        ahead[0] += seconds

    return forward


def scrape(subjects: Subjects) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in subjects.collect()
        for sample in family.samples
    }


class Counted:
    """A subject that counts how often it is read."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None
        self.work: Callable[[], object] = lambda: None

    def read(self) -> Iterator[Metric]:
        self.times += 1
        self.work()
        if self.error is not None:
            raise self.error
        yield GaugeMetricFamily("times", "How often.", value=self.times)


def test_many_scrapes_read_a_subject_once_in_15_s(clock: Callable[[float], None]) -> None:
    counted = Counted()
    subjects = Subjects([Subject("one", counted.read)])
    assert [scrape(subjects)["times",] for _ in range(5)] == [1] * 5
    clock(14)
    assert scrape(subjects)["times",] == 1
    clock(1.1)
    assert scrape(subjects)["times",] == 2


def test_a_slow_subject_takes_a_tenth_of_the_time_at_most(clock: Callable[[float], None]) -> None:
    counted = Counted()
    counted.work = lambda: clock(30)
    subjects = Subjects([Subject("slow", counted.read)])
    assert scrape(subjects)["yolo_platform_exporter_read_seconds", "slow"] == pytest.approx(30, abs=1)
    for _ in range(8):
        clock(30)
        scrape(subjects)
    assert counted.times == 1
    clock(31)
    scrape(subjects)
    assert counted.times == 2


def test_a_scrape_does_not_wait_for_a_subject_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "PATIENCE", timedelta(seconds=0.2))
    released = threading.Event()
    hanging, other = Counted(), Counted()
    hanging.work = released.wait
    subjects = Subjects([Subject("hangs", hanging.read), Subject("works", other.read)])
    began = time.monotonic()
    first, second = scrape(subjects), scrape(subjects)
    released.set()
    assert time.monotonic() - began < 2
    assert hanging.times == 1, "it is not started a second time while it hangs"
    for found in (first, second):
        assert found["yolo_platform_exporter_success", "hangs"] == 0
        assert found["yolo_platform_exporter_success", "works"] == 1
        assert found["times",] == 1


def test_old_figures_are_left_out_and_the_error_told_once(clock: Callable[[float], None]) -> None:
    counted, told = Counted(), list[str]()
    subjects = Subjects([Subject("store", counted.read)], told.append)
    scrape(subjects)
    counted.error = OSError("the store is away")
    for _ in range(3):
        clock(20)
        found = scrape(subjects)
        assert found["times",] == 1 and found["yolo_platform_exporter_success", "store"] == 0
    clock(cached.STALE.total_seconds())
    assert ("times",) not in scrape(subjects)
    counted.error = None
    clock(20)
    assert scrape(subjects)["yolo_platform_exporter_success", "store"] == 1
    assert told == ["store cannot be read: OSError: the store is away", "store can be read again"]
