"""The catalog holds what the receipts hold: merged, rebuilt, under racing publishers, after kills and tampering."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.catalog import database, receipts, update, versions
from yolo_assets.catalog import publish as publishing
from yolo_assets.catalog.publish import publish_lock
from yolo_assets.catalog.read import ask, open_catalog
from yolo_assets.catalog.versions import KEPT_VERSIONS, read_pointer
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import ClassSummary
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage import StoreUnavailableError
from yolo_assets.storage.faults import FaultyStore, fail, refused
from yolo_assets_tests.catalog.catalog_world import World, publish_own
from yolo_assets_tests.catalog.receipt_factory import FIRST, new_signer, put_receipt, put_table, receipt, signed
from yolo_assets_tests.support.signed import content, with_content


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_every_field_of_a_receipt_is_in_the_catalog(world):
    world.add(camera="lineA_cam01", hours=3, part=2, version_id="v7", batch_ids=("B1", "B2"), bad_records=4,
              retention_until=FIRST.next(5000).start)  # fmt: skip
    world.publish()
    with open_catalog(world.store) as connection:
        row = ask(connection, "SELECT * FROM archives").row(0, named=True)
        classes = ask(connection, "SELECT class, count, max_confidence FROM archive_classes").rows()
    document = receipt(ArchiveName("lineA_cam01", FIRST.next(3), 2), version_id="v7", batch_ids=("B1", "B2"),
                   bad_records=4, retention_until=FIRST.next(5000).start).model_dump(mode="python")  # fmt: skip
    for name, value in document.items():
        if name in ("signature", "classes"):
            continue
        expected = FIRST.next(3).start if name == "hour" else list(value) if isinstance(value, tuple) else value
        assert row[name] == expected, name
    assert row["signed_by"] == world.signer.key_id
    assert row["classes"] == '{"crack":{"count":3,"max_confidence":0.9}}'
    assert classes == [("crack", 3, 0.9)]


step = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(["cam01", "cam02"]), st.integers(0, 50), st.integers(1, 2)),
    st.tuples(st.just("table"), st.sampled_from(["cam01", "cam03"]), st.integers(0, 50)),
    st.tuples(st.just("forge"), st.integers(0, 50)),
    st.tuples(st.just("expire"), st.integers(0, 100)),
    st.tuples(st.just("publish")),
    st.tuples(st.just("publish date"), st.integers(0, 2)),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(step, max_size=14))
def test_merged_and_rebuilt_catalogs_are_equal(steps, tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    for kind, *rest in steps:
        match kind, *rest:
            case "add", camera, hours, part:
                name = ArchiveName(camera, FIRST.next(hours), part)
                if world.archive.head(name.receipt_key) is None:
                    world.add(camera, hours, part)
            case "table", camera, hours:
                put_table(world.store, camera, FIRST.next(hours))
            case "forge", hours:
                name = ArchiveName("forged", FIRST.next(hours))
                world.archive.put(name.receipt_key, signed(receipt(name), new_signer()))
            case "expire", which:
                found = [info.key for info in world.archive.list("receipts/")]
                if found:
                    world.archive.delete(found[which % len(found)])  # as the end of the retention does
            case "publish date", day:
                world.publish(dates=[FIRST.next(24 * day).date])
            case _:
                world.publish()
    world.publish()
    merged = world.content()
    expected = {i.key for i in world.archive.list("receipts/") if "forged" not in i.key}
    assert {row[0] for row in merged["archives"]} == expected
    world.publish(from_receipts=True)
    assert world.content() == merged


def test_nothing_new_writes_nothing(world):
    world.add()
    first = world.publish()
    assert (first.changed, first.added, first.archives) == (True, 1, 1)
    again = world.publish()
    assert (again.changed, again.version) == (False, first.version)
    assert len(list(world.store.list("catalog/"))) == 2
    assert world.publish(from_receipts=True).version != first.version


def test_only_unknown_receipts_are_fetched(world):
    for hours in range(5):
        world.add(hours=hours)
    world.publish()
    world.add(hours=5)
    world.archive = FaultyStore(world.archive)
    world.publish()
    assert world.archive.keys("get") == [ArchiveName("cam01", FIRST.next(5)).receipt_key]


def test_no_dates_compare_nothing_and_a_wrong_one_is_refused(world):
    world.publish()
    world.add()
    assert world.publish(dates=[]).changed is False
    with pytest.raises(BadInputError, match="is not a day"):
        world.publish(dates=["2026-3-1"])


def test_many_additions_are_put_in_order_and_nothing_else_changes(world, monkeypatch):
    monkeypatch.setattr(update, "MOST_UNSORTED", 3)
    ordered = []
    order = update._order
    monkeypatch.setattr(update, "_order", lambda *given: (ordered.append(1), order(*given))[1])
    keys = set()
    for hours in (40, 3, 41, 2, 30, 1):
        keys |= {world.add("cam01", hours), world.add("cam02", hours, part=2)}
        put_table(world.store, "cam01", FIRST.next(hours))
        world.publish()
        assert world.keys() == keys
    assert ordered
    merged = world.content()
    world.publish(from_receipts=True)
    assert world.content() == merged


def test_a_large_catalog_is_uploaded_in_parts(world, monkeypatch):
    monkeypatch.setattr(versions, "_PART", 5 << 16)
    keys = {world.add(hours=hours) for hours in range(3)}
    pointer = world.publish().pointer
    assert pointer.size > 2 * versions._PART
    keys.add(world.add(hours=9))
    world.publish()
    assert world.keys() == keys
    assert world.publish().changed is False


def test_a_cached_catalog_is_not_fetched_and_a_wrong_one_is(world, tmp_path):
    cache = tmp_path / "cache"
    world.store = FaultyStore(world.store)
    keys = {world.add(hours=0)}
    world.publish(cache=cache)
    keys.add(world.add(hours=1))
    first = world.publish(cache=cache).pointer
    assert not world.store.keys("stream")
    (file,) = cache.iterdir()
    file.write_bytes(b"something else")
    keys.add(world.add(hours=2))
    world.publish(cache=cache)
    assert world.store.keys("stream") == [first.key]
    assert world.keys() == keys


def test_a_lost_race_reads_no_receipt_twice(world, monkeypatch):
    for hours in range(3):
        world.add(hours=hours)
    monkeypatch.setattr(publishing, "LOCK_WAIT", 0.05)  # the rival is this process, which holds the lock
    rival = World(world.folder)

    def lose(call):
        if call.operation == "compare_and_swap" and call.number == 1:
            world.add(hours=5)
            rival.publish(dates=[FIRST.date])

    world.store, world.archive = FaultyStore(world.store, lose), FaultyStore(world.archive)
    world.publish()
    fetched = world.archive.keys("get")
    assert sorted(fetched) == sorted(set(fetched)) and len(fetched) == 3
    assert len(world.keys()) == 4


def test_progress_counts_to_the_end(world, monkeypatch):
    for module in (receipts, update):
        monkeypatch.setattr(module, "BATCH", 2)
    for hours in range(5):
        world.add(hours=hours)
    reported = []
    world.publish(report=lambda done, total: reported.append((done, total)))
    assert reported == [(0, 5), (2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("wrong", [{"sha256": "short"}, {"md5_checksum": "A" * 32}, {"archive_size": 2**63},
                                   {"classes": {"crack": ClassSummary(count=2**63, max_confidence=0.5)}}])  # fmt: skip
def test_a_signed_receipt_with_impossible_values_is_a_problem(world, wrong):
    good, bad = world.add(hours=0), world.add(hours=1, **wrong)
    version = world.publish()
    assert [p.key for p in version.problems] == [bad] and "is not a valid Receipt" in version.problems[0].problem
    assert world.keys() == {good}


_KILLED = """
import os, signal
from yolo_assets.catalog.database import scratch_folder

with scratch_folder() as folder:
    (folder / "big").write_bytes(bytes(9))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_scratch_of_a_killed_publisher_is_removed_a_living_one_s_not(world, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(database, "_YOUNG", 0)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED],
        env={**os.environ, "TMPDIR": str(tmp_path)}, check=False, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob("yolo-catalog-*/big")
    with database.scratch_folder() as mine:
        world.publish()
        assert mine.is_dir()
        assert not left.parent.exists()


def test_the_publish_lock_is_exclusive_and_waits_a_bounded_time(world, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    world.add()
    with publish_lock(world.store) as mine:
        assert mine
        with publish_lock(world.store, wait=0.05) as theirs:
            assert not theirs
        monkeypatch.setattr(publishing, "LOCK_WAIT", 0.05)
        assert world.publish().added == 1  # the swap is what keeps it right


def test_a_date_leaves_other_dates_alone(world):
    monday, tuesday = world.add(hours=1), world.add(hours=25)
    world.publish()
    world.archive.delete(monday)
    late = world.add(hours=26)
    assert world.publish(dates=[FIRST.next(24).date]).added == 1
    assert world.keys() == {monday, tuesday, late}
    assert world.publish().removed == 1
    assert world.keys() == {tuesday, late}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: with_content(d, content(d) | {"frame_count": 99}), "does not fit its content"),
        (lambda d: d[: len(d) // 2], "is not JSON"),
        (lambda d: b"", "is not JSON"),
        (lambda d: b"[]", "is not a signed JSON document"),
        (lambda d: d.replace(b"yolo-assets.receipt", b"yolo-assets.release"), "receipt"),
    ],
)
def test_a_damaged_receipt_is_reported_and_left_out(world, damage, words):
    good = world.add(hours=0)
    bad = world.add(hours=1)
    world.archive.put(bad, damage(world.archive.get(bad)))
    version = world.publish()
    assert [p.key for p in version.problems] == [bad]
    assert words in version.problems[0].problem
    assert world.keys() == {good}
    assert [row[0] for row in world.content()["problems"]] == [bad]
    assert world.publish().changed is False  # read again, still damaged, nothing new


def test_a_good_receipt_under_another_name_is_untrusted(world):
    key = world.add(hours=0)
    copied = ArchiveName("cam01", FIRST.next(1)).receipt_key
    world.archive.put(copied, world.archive.get(key))
    world.archive.put("receipts/date=2026-03-01/notes.txt", b"remember the milk")
    version = world.publish()
    assert {p.key for p in version.problems} == {copied, "receipts/date=2026-03-01/notes.txt"}
    assert world.keys() == {key}


def test_a_changed_receipt_is_verified_again(world):
    key = world.add()
    world.publish()
    data = world.archive.get(key)
    world.archive.put(key, with_content(data, content(data) | {"part": 2}))
    version = world.publish()
    assert (version.removed, len(version.problems), world.keys()) == (1, 1, set())


def test_rows_of_a_key_that_is_no_longer_trusted_are_removed(world):
    mine, other = world.add(hours=0), new_signer()
    theirs = put_receipt(world.archive, other, ArchiveName("cam02", FIRST))
    world.publish(trusted=TrustedKeys.of(world.signer, other))
    assert world.keys() == {mine, theirs}
    assert [p.key for p in world.publish().problems] == [theirs]
    assert world.keys() == {mine}
    world.publish(trusted=TrustedKeys.of(world.signer, other))
    assert world.keys() == {mine, theirs}


def test_a_damaged_or_missing_catalog_is_rebuilt(world):
    keys = {world.add(hours=hours) for hours in range(3)}
    pointer = world.publish().pointer
    world.store.put(pointer.key, b"not a database")
    world.publish(dates=["2020-01-01"])  # must not end as a catalog of that date alone
    assert world.keys() == keys
    world.store.delete(world.publish().pointer.key)
    world.publish()
    assert world.keys() == keys


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff garbage"])
def test_a_damaged_pointer_stops_queries_and_a_rebuild_replaces_it(world, data):
    keys = {world.add(hours=hours) for hours in range(2)}
    world.publish()
    for make in (lambda: world.publish(from_receipts=True), world.publish):
        world.store.put("catalog/current.json", data)
        with pytest.raises(IntegrityError, match="yolo-assets catalog rebuild"):
            world.keys()
        assert make().archives == 2
        assert world.keys() == keys


def test_a_part_without_the_one_before_it_is_a_problem_until_that_comes(world):
    second = world.add("cam01", 0, part=2)
    for make in (world.publish, world.publish, lambda: world.publish(from_receipts=True)):
        (problem,) = make().problems
        assert problem.key == ArchiveName("cam01", FIRST).receipt_key and "was lost or hidden" in problem.problem
        assert world.keys() == {second}
    world.add("cam01", 0)
    found = world.publish(dates=[FIRST.date])
    assert (found.archives, found.problems, found.pointer.problems) == (2, (), 0)


def test_a_failing_store_makes_no_receipt_untrusted(world):
    world.add()
    world.archive = FaultyStore(world.archive, fail("get", times=None, error=refused))
    with pytest.raises(StoreUnavailableError):
        world.publish()
    assert read_pointer(world.store) is None


def test_old_catalogs_are_pruned_and_the_newest_is_not(world):
    pointer = world.publish().pointer
    for hours in range(KEPT_VERSIONS + 4):
        world.add(hours=hours)
        pointer = world.publish().pointer
    files = [info.key for info in world.store.list("catalog/") if info.key.endswith(".duckdb")]
    assert len(files) == KEPT_VERSIONS
    assert pointer.key in files
    assert len(world.keys()) == KEPT_VERSIONS + 4


@pytest.mark.timeout(120)
def test_eight_publishers_at_once_lose_nothing(world):
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    children = [context.Process(target=publish_own, args=(str(world.folder), n, start)) for n in range(8)]
    for child in children:
        child.start()
    start.set()
    for child in children:
        child.join(90)
    assert [child.exitcode for child in children] == [0] * 8
    assert world.keys() == {
        ArchiveName(f"cam{n}", FIRST.next(24 * n + h)).receipt_key for n in range(8) for h in range(2)
    }
    files = [info.key for info in world.store.list("catalog/") if info.key.endswith(".duckdb")]
    assert len(files) <= KEPT_VERSIONS + 8


_CHILD = """
import os, signal, sys
from pathlib import Path
from yolo_assets.storage.faults import FaultyStore
from yolo_assets_tests.catalog.catalog_world import World

world, begin, writes = World(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])

def killed(call):
    global writes
    writes -= call.operation in ("put", "put_if_absent", "compare_and_swap", "delete")
    if writes < 0:
        os.kill(os.getpid(), signal.SIGKILL)

world.store = FaultyStore(world.store, killed)
print("ready", flush=True)
for hours in range(begin, begin + 1000):
    world.add(hours=hours)
    world.publish()
"""


@contextlib.contextmanager
def _publishing_child(world, begin, writes):
    """A process that publishes until it is killed; it kills itself before it writes once more than ``writes`` times."""
    command = [sys.executable, "-c", _CHILD, str(world.folder), str(begin), str(writes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        yield child
        child.kill()
        assert child.wait(10) == -signal.SIGKILL


@pytest.mark.timeout(120)
@pytest.mark.parametrize("writes", range(4))
def test_killed_before_each_write_to_the_store(world, writes):
    for hours in range(KEPT_VERSIONS):
        world.add(hours=hours)
        world.publish()
    # The history is full: a publication writes the file and the pointer, and deletes the oldest file.
    with _publishing_child(world, 100, writes) as child:
        child.wait(60)
    assert len(world.keys()) == KEPT_VERSIONS + (writes >= 2)
    world.publish()
    assert world.keys() == {info.key for info in world.archive.list("receipts/")}


def _killed_at_random(world, seed, rounds):
    print(f"seed {seed}")
    rng = random.Random(seed)
    for round_ in range(rounds):
        with _publishing_child(world, 1000 * round_, 1_000_000):
            time.sleep(rng.uniform(0.05, 0.6))
        if read_pointer(world.store) is not None:
            assert world.keys() <= {info.key for info in world.archive.list("receipts/")}
    world.publish()
    assert world.keys() == {info.key for info in world.archive.list("receipts/")}
    assert world.publish().changed is False
    merged = world.content()
    world.publish(from_receipts=True)
    assert world.content() == merged


@pytest.mark.timeout(120)
def test_killed_at_random_the_pointer_names_a_complete_file(world):
    _killed_at_random(world, seed=5, rounds=2)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_killed_at_random_many_times(world):
    _killed_at_random(world, seed=int(os.environ.get("YOLO_ASSETS_SEED") or random.randrange(2**32)), rounds=60)


@pytest.mark.timeout(120)
def test_readers_always_find_a_whole_catalog_while_it_is_written(world):
    for hours in range(3):
        world.add(hours=hours)
    world.publish()
    with _publishing_child(world, 100, 1_000_000):
        seen, until = 3, time.monotonic() + 3
        while time.monotonic() < until:
            with open_catalog(world.store) as connection:
                (found,) = ask(connection, "SELECT count(*) AS n FROM archives SEMI JOIN archive_classes "
                                           "USING (receipt_key)")["n"]  # fmt: skip
            assert found >= seen
            seen = found
    assert seen > 3
