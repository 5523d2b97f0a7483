"""The archiver's counters: they outlive processes and kills, only grow, and are what Prometheus reads."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from yolo_assets.archive.service.metrics import ArchiverCounters, FiguresCollector, failure_class
from yolo_assets.contracts.archiver_figures import (
    COUNTERS,
    FAILURES,
    MOST_CAMERAS,
    OTHERS,
    PREFIX,
    ArchiverFigures,
    families,
    read_figures,
)
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UsageError
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.runtime.metrics_page import MetricsPage
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.storage import StoreUnavailableError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
names = st.sampled_from([counter.name for counter in COUNTERS])
labels = st.sampled_from(["", "cam1", "cam2"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), names, labels, st.integers(0, 10**12)),
        st.tuples(st.just("flush"), st.just(""), st.just(""), st.just(0)),
        st.tuples(st.just("kill"), st.just(""), st.just(""), st.just(0)),
    ),
    max_size=30,
)


@given(steps=steps)
def test_what_was_flushed_stays_through_every_kill_and_nothing_shrinks(
    steps: list[tuple[str, str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("figures") / "metrics" / "archiver.json"
    tally = ArchiverCounters(file)
    kept: defaultdict[tuple[str, str], float] = defaultdict(float)
    pending: defaultdict[tuple[str, str], float] = defaultdict(float)
    for what, name, label, amount in steps:
        if what == "add":
            tally.add(name, amount, label)
            pending[name, label] += amount
            continue
        if what == "flush":
            tally.flush()
            for place, more in pending.items():
                kept[place] += more
        else:
            tally = ArchiverCounters(file)
        pending.clear()
        found = (read_figures(file) or ArchiverFigures()).counters
        assert {(n, k): v for n, values in found.items() for k, v in values.items()} == {
            place: value for place, value in kept.items() if value
        }


COUNT = """
import sys
from pathlib import Path
from yolo_assets.archive.service.metrics import ArchiverCounters
tally = ArchiverCounters(Path(sys.argv[1]))
for _ in range(40):
    tally.add("sent_bytes", 3)
    tally.add("archives", 1, "cam1")
    tally.flush()
"""


def test_processes_count_into_one_file_and_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "archiver.json"
    several = [subprocess.Popen([sys.executable, "-c", COUNT, str(file)]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in several] == [0, 0, 0]
    figures = read_figures(file)
    assert figures is not None
    assert figures.counters == {"sent_bytes": {"": 360}, "archives": {"cam1": 120}}


def test_an_unwritable_file_is_reported_once_and_no_count_is_lost(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "metrics").write_bytes(b"in the way")
    file = tmp_path / "metrics" / "archiver.json"
    tally = ArchiverCounters(file, said.append)
    for _ in range(3):
        tally.add("retries", 2)
        tally.flush()
    assert len(said) == 1 and str(file) in said[0]
    assert tally.figures().counters["retries"] == {"": 6}
    (tmp_path / "metrics").unlink()
    tally.flush()
    figures = read_figures(file)
    assert figures is not None and figures.counters["retries"] == {"": 6} and not tally.counted


def test_a_damaged_file_starts_again_at_0_and_is_reported(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "archiver.json"
    for damage in (b"{", b"[]", b'{"counters": {"archives": {"cam1": -1}}}', b'{"counters": {"archives": {"c": NaN}}}'):
        file.write_bytes(damage)
        tally = ArchiverCounters(file, said.append)
        tally.add("archives", 1, "cam1")
        tally.flush()
        figures = read_figures(file)
        assert figures is not None and figures.counters == {"archives": {"cam1": 1}}
    assert len(said) == 4 and all("begin at 0 again" in line for line in said)


def test_cameras_beyond_a_bound_are_counted_together() -> None:
    figures = ArchiverFigures()
    for number in range(MOST_CAMERAS + 10):
        figures = figures.model_copy(update={"counters": figures.plus({("archives", f"cam{number}"): 1})})
    values = figures.counters["archives"]
    assert len(values) == MOST_CAMERAS + 1 and values[OTHERS] == 10


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreUnavailableError("x"), "store_unreachable"),
        (StoreUnavailableError("x", transient=False), "store_refused"),
        (IntegrityError("x"), "integrity"),
        (SignatureError("x"), "signature"),
        (SpoolFullError("x"), "disk_full"),
        (PermissionError("x"), "spool"),
        (BadInputError("x"), "other"),
    ],
)
def test_every_failure_has_a_class(error: Exception, reason: str, tmp_path: Path) -> None:
    tally = ArchiverCounters(tmp_path / "archiver.json")
    tally.failed(error)
    tally.failed(FolderBusyError("another works on it"))
    assert failure_class(error) == reason and reason in FAILURES
    assert tally.figures().counters == {"failures": {reason: 1}}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_every_figure(tmp_path: Path) -> None:
    figures = ArchiverFigures(
        counters={"archives": {"cam1": 3}, "bytes": {"cam1": 2**50 + 1}, "failures": {"integrity": 1}},
        waiting=2,
        backlog_bytes=700,
        waiting_since=NOW - timedelta(hours=5),
        disk_full_at=NOW + timedelta(hours=3),
        last_success_at=NOW,
    )
    families_found = {family.name: family for family in families(figures, NOW)}
    for counter in COUNTERS:
        assert families_found[PREFIX + counter.name].type == "counter"
    file = tmp_path / "archiver.prom"
    MetricsPage(FiguresCollector(lambda: figures)).write(file)
    text = file.read_text()
    found = samples(text)
    assert found[f"{PREFIX}archives_total", (("camera", "cam1"),)] == 3
    assert found[f"{PREFIX}bytes_total", (("camera", "cam1"),)] == 2**50 + 1
    assert found[f"{PREFIX}failures_total", (("reason", "store_unreachable"),)] == 0  # there before it happens
    assert found[f"{PREFIX}limit_bytes_per_second", ()] == -1
    assert found[f"{PREFIX}waiting_camera_hours", ()] == 2
    assert found[f"{PREFIX}backlog_age_seconds", ()] > 5 * 3600  # counted from the real present, years later
    assert found[f"{PREFIX}last_success_timestamp_seconds", ()] == NOW.timestamp()
    assert (f"{PREFIX}last_round_timestamp_seconds", ()) not in found
    ages = {family.name: family.samples[0].value for family in families(figures, NOW) if family.samples}
    assert ages[f"{PREFIX}backlog_age_seconds"] == 5 * 3600
    assert ages[f"{PREFIX}disk_full_in_seconds"] == 3 * 3600
    for line in text.splitlines():
        assert line.startswith(("# HELP yolo_assets_archive_", "# TYPE yolo_assets_archive_", "yolo_assets_archive_"))


def test_figures_are_served_on_loopback_and_a_taken_port_is_one_line() -> None:
    page = MetricsPage(FiguresCollector(lambda: ArchiverFigures(waiting=4)))
    url = page.serve("127.0.0.1", 0)
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = samples(answer.read().decode())
    assert found[f"{PREFIX}waiting_camera_hours", ()] == 4
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(UsageError, match="give another --metrics-port"):
        page.serve("127.0.0.1", port, "--metrics-port")


def answer_of(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_needs_no_figures_and_ends_with_a_stop_request(capfd: pytest.CaptureFixture[str]) -> None:
    stopping = False

    def read() -> ArchiverFigures:
        raise OSError("the disk of the home is away")

    base = MetricsPage(FiguresCollector(read), stopping=lambda: stopping).serve("127.0.0.1", 0).removesuffix("/metrics")
    assert answer_of(f"{base}/healthz") == (200, "alive\n")
    assert answer_of(f"{base}/healthz", "HEAD") == (200, "")
    assert answer_of(f"{base}/secret")[0] == 404
    assert capfd.readouterr() == ("", ""), "a scrape is no event"
    stopping = True
    assert answer_of(f"{base}/healthz") == (503, "stopping\n")
