"""Simulated hours are spool hours like any other: sealed, accounted for, continued after a crash."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import frame_time
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.simulator.simulation import NO_MODEL, count_frames, frame_moments, simulate
from yolo_assets.simulator.truth import read_hour, truth_file
from yolo_assets.simulator.weld_line import Change, LineConfig, WeldLine
from yolo_assets.spool.hours import SpoolHour, list_hours
from yolo_assets.spool.records import FrameRecord
from yolo_assets.storage import open_store
from yolo_assets.vision.model import Model
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.tiny_model import tiny_bundle_files

START = Hour(datetime(2026, 1, 2, 3, tzinfo=UTC))
FPS = 0.005  # 18 frames an hour


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "weld"
    manifest, files = tiny_bundle_files()
    # Nothing on grey metal is as colourful as what this model was built for: let it report its weak guesses.
    manifest = manifest.model_copy(update={"thresholds": manifest.thresholds.model_copy(update={"confidence": 0.001})})
    for name, data in {**files, "manifest.json": manifest.to_json()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def contents(spool: Path) -> dict[str, bytes]:
    """Every file but the seals, whose time differs."""
    return {
        str(path.relative_to(spool)): path.read_bytes()
        for path in sorted(spool.rglob("*"))
        if path.is_file() and path.name != ".sealed"
    }


def test_without_a_model_images_are_kept_and_each_is_accounted_for(tmp_path: Path) -> None:
    steps: list[int] = []
    report = simulate(
        tmp_path / "spool",
        cameras=2,
        hours=2,
        fps=FPS,
        seed=7,
        start=START,
        truth=tmp_path / "truth",
        progress=steps.append,
    )
    assert (report.sealed, report.skipped, report.frames, sum(steps)) == (4, 0, 72, 72)
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*.jpg"))
    assert (report.first_hour, report.last_hour, report.model_version) == ("20260102_03", "20260102_04", None)
    hours = list_hours(tmp_path / "spool")
    assert [hour.name for hour in hours] == [f"lineA_cam0{c} 20260102_0{h}" for c in (1, 2) for h in (3, 4)]
    for hour in hours:
        seal = hour.seal()
        assert seal is not None and hour.is_closed(utc_now(), grace_seconds=1e9)
        assert (seal.frames, seal.captured, seal.processed, seal.records) == (18, 18, 0, 0)
        assert seal.dropped == {NO_MODEL: 18} and seal.device_id == "simulator"
        assert list(hour.records()) == []
        assert all(Hour.of(frame_time(member.name) or utc_now()) == hour.hour for member in hour.frames())


def test_frames_and_truth_are_those_of_the_line(tmp_path: Path) -> None:
    change = Change("line_change", START.start + timedelta(minutes=30))
    simulate(tmp_path / "s", cameras=1, fps=FPS, seed=7, start=START, truth=tmp_path / "t", changes=[change])
    line = WeldLine(LineConfig(seed=7, cameras=1, changes=(change,)))
    [hour] = list_hours(tmp_path / "s")
    told = {frame.image_path: frame for frame in read_hour(truth_file(tmp_path / "t", "lineA_cam01", START))}
    assert len(told) == len(hour.frames()) == 18
    assert any(frame.boxes for frame in told.values())
    for member in hour.frames():
        moment = frame_time(member.name)
        assert moment is not None
        scene = line.draw("lineA_cam01", moment)
        frame = told[f"lineA_cam01/20260102_03/{member.name}"]
        assert [(box.class_name, box.bbox) for box in frame.boxes] == [(b.class_name, b.bbox) for b in scene.truth]
        image = cv2.imread(str(hour.path / member.name))
        assert image is not None and image.shape == scene.image.shape
        assert np.abs(image.astype(int) - scene.image).mean() < 4, "a JPEG of just this scene"


def test_with_a_model_every_frame_has_the_record_of_a_real_inference(tmp_path: Path, bundle: Path) -> None:
    report = simulate(tmp_path, cameras=2, fps=FPS, seed=7, start=START, model=bundle)
    assert report.model_version == "weld/1" and report.detections > 0
    line, found = WeldLine(LineConfig(seed=7, cameras=2)), 0
    manifest, files = tiny_bundle_files()
    model = Model.load(manifest, files)
    for hour in list_hours(tmp_path):
        seal, records = hour.seal(), list(hour.records())
        assert seal is not None and seal.model_versions == ("weld/1",)
        assert (seal.frames, seal.records, seal.processed, seal.captured, seal.dropped) == (18, 18, 18, 18, {})
        for index, read in enumerate(records):
            assert isinstance(read, FrameRecord)
            record = read.record
            assert record.captured_at is not None and record.quality is not None and record.inference_ms
            assert (tmp_path / record.image_path).is_file() and record.image_saved
            assert (record.width, record.height, record.sequence) == (320, 256, index)
            assert record.batch_id == line.batch_id(record.captured_at)
            boxes = model.predict(line.draw(hour.camera_id, record.captured_at).image, confidence=0.001)
            got = np.array([[*d.bbox, d.confidence] for d in record.detections]).reshape(-1, 5)
            assert np.allclose(got, np.column_stack([boxes.xyxy, boxes.confidence]), atol=0.011)
            found += len(got)
    model.close()
    assert found == report.detections


def test_the_truth_as_records_is_what_is_in_the_frames(tmp_path: Path, bundle: Path) -> None:
    start = Hour.from_key("20260102_03")
    report = simulate(
        tmp_path / "s", cameras=1, fps=0.005, seed=3, start=start, truth=tmp_path / "t", truth_records=True
    )
    (hour,) = list_hours(tmp_path / "s")
    found = {item.frame: item.record for item in hour.records() if isinstance(item, FrameRecord)}
    assert len(found) == report.frames and report.model_version == "truth" and report.detections > 0
    for frame in read_hour(truth_file(tmp_path / "t", hour.camera_id, hour.hour)):
        record = found[frame.image_path.rpartition("/")[2]]
        assert [(item.class_name, item.bbox) for item in record.detections] == [
            (box.class_name, box.bbox) for box in frame.boxes
        ]
        assert {item.confidence for item in record.detections} <= {1.0} and record.inference_ms is None
    with pytest.raises(BadInputError, match="choose one of the two"):
        simulate(tmp_path / "x", model=bundle, truth_records=True, start=start)


def test_running_again_changes_nothing(tmp_path: Path) -> None:
    def run() -> tuple[int, int, int]:
        report = simulate(tmp_path / "s", cameras=2, fps=FPS, seed=7, start=START, truth=tmp_path / "t")
        return report.sealed, report.skipped, report.frames

    assert run() == (2, 0, 36)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert run() == (0, 2, 0)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_an_hour_that_was_archived_is_not_made_again(tmp_path: Path) -> None:
    simulate(tmp_path / "s", cameras=1, fps=FPS, seed=7, start=START)
    archive, signer = open_store((tmp_path / "archive").as_uri()), Signer.load_or_create(tmp_path / "archiver")
    (result,) = run_archiver(tmp_path / "s", Archive(archive, TrustedKeys.of(signer)), signer, grace_seconds=0)
    assert result.status == "archived" and not list(tmp_path.glob("s/*/*/*.jpg"))
    report = simulate(tmp_path / "s", cameras=1, fps=FPS, seed=7, start=START)
    assert (report.sealed, report.skipped, report.frames) == (0, 1, 0)
    assert not list(tmp_path.glob("s/*/*/*.jpg"))


def test_a_killed_run_continues_where_it_stopped(tmp_path: Path) -> None:
    arguments = "cameras=2, fps=0.01, seed=7, start=Hour.from_key('20260102_03')"
    program = f"""
from pathlib import Path
from yolo_assets.contracts.times import Hour
from yolo_assets.simulator.simulation import simulate
simulate(Path({str(tmp_path / "s")!r}), truth=Path({str(tmp_path / "t")!r}), {arguments})
"""
    child = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "s").rglob("*.jpg"))) < 8:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=10)
    left = len(list((tmp_path / "s").rglob("*.jpg")))
    assert left < 72

    report = simulate(tmp_path / "s", cameras=2, fps=0.01, seed=7, start=START, truth=tmp_path / "t")
    whole = simulate(tmp_path / "s2", cameras=2, fps=0.01, seed=7, start=START, truth=tmp_path / "t2")
    assert report.frames < whole.frames == 72
    assert report.sealed + report.skipped == 2
    images = {name: data for name, data in contents(tmp_path / "s").items() if name.endswith(".jpg")}
    assert images == {name: data for name, data in contents(tmp_path / "s2").items() if name.endswith(".jpg")}
    assert contents(tmp_path / "t") == contents(tmp_path / "t2")
    for hour in list_hours(tmp_path / "s"):
        seal = hour.seal()
        assert seal is not None and (seal.frames, seal.captured) == (36, 36)
        # At most the frame in hand of each camera lost its reason to the kill, and the seal says so.
        assert seal.dropped.get("interrupted", 0) <= 1


@pytest.mark.parametrize("other", [{"seed": 8}, {"fps": 0.006}, {"jpeg_quality": 70}, {"width": 640, "height": 512}])
@pytest.mark.parametrize("sealed", [True, False])
def test_hours_of_another_simulation_are_left_alone(tmp_path: Path, other: dict, sealed: bool) -> None:
    simulate(tmp_path, cameras=1, fps=FPS, seed=7, start=START)
    if not sealed:
        (SpoolHour.of(tmp_path, "lineA_cam01", START).path / ".sealed").unlink()
    before = contents(tmp_path)
    with pytest.raises(BadInputError, match=r"give another --out"):
        simulate(tmp_path, **{"cameras": 1, "fps": FPS, "seed": 7, "start": START, **other})
    assert contents(tmp_path) == before


def test_a_frame_of_another_kind_under_our_name_is_left_alone(tmp_path: Path) -> None:
    arguments = {"cameras": 1, "hours": 1, "fps": FPS, "seed": 7, "start": START}
    simulate(tmp_path / "spool", **arguments)
    (hour,) = list_hours(tmp_path / "spool")
    frame = min(hour.path.glob("*.jpg"))
    (hour.path / ".sealed").unlink()
    frame.rename(frame.with_suffix(".png"))
    before = contents(tmp_path / "spool")
    with pytest.raises(UserError, match="frames of another origin"):
        simulate(tmp_path / "spool", **arguments)
    assert contents(tmp_path / "spool") == before


def test_a_sealed_hour_without_the_requested_truth_is_refused(tmp_path: Path) -> None:
    simulate(tmp_path / "s", cameras=1, fps=FPS, seed=7, start=START)
    with pytest.raises(BadInputError, match="has no truth in"):
        simulate(tmp_path / "s", cameras=1, fps=FPS, seed=7, start=START, truth=tmp_path / "t")


def test_the_default_hours_have_just_ended(tmp_path: Path) -> None:
    report = simulate(tmp_path, cameras=1, hours=2, fps=0.001)
    over = Hour.of(utc_now())
    assert Hour.from_key(report.last_hour) in (over.next(-1), over.next(-2))  # the hour may turn while we look
    assert Hour.from_key(report.last_hour) == Hour.from_key(report.first_hour).next()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"start": Hour.of(utc_now()).next(24)}, "not over yet; start at"),
        ({"hours": 0}, "1 or more"),
        ({"fps": 0.0}, "frames per second"),
        ({"fps": float("nan")}, "frames per second"),
        ({"jpeg_quality": 0}, "1 to 100"),
        ({"cameras": 100}, "1 to 99"),
        ({"device_id": "a b"}, "device id"),
        ({"changes": [Change("line_change", START.next(5).start)]}, "after the last hour"),
        ({"model": Path("nowhere")}, "not a model bundle"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path: Path, arguments: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        simulate(tmp_path / "s", **{"start": START, **arguments})
    assert not (tmp_path / "s").exists()


def test_truth_in_the_spool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="outside"):
        simulate(tmp_path, start=START, truth=tmp_path / "truth")


@settings(max_examples=60, deadline=None)
@given(st.floats(1 / 3600, 2), st.floats(0, 0.999))
def test_moments_are_distinct_milliseconds_of_the_hour(fps: float, phase: float) -> None:
    moments = list(frame_moments(START, fps, phase))
    assert abs(len(moments) - 3600 * fps) <= 1
    assert len(set(moments)) == len(moments) and moments == sorted(moments)
    assert all(moment in START and moment.microsecond % 1000 == 0 for moment in moments)


@given(st.integers(1, 9), st.integers(1, 3), st.sampled_from([0.002, 0.005, 0.05, 0.0033]))
def test_progress_counts_to_every_frame(cameras: int, hours: int, fps: float) -> None:
    drawn = sum(len(list(frame_moments(START, fps, index / cameras))) for index in range(cameras))
    assert count_frames(cameras, hours, fps) == hours * drawn
    assert count_frames(cameras, hours, float("nan")) == 0


def test_only_the_truth_folder_holds_the_truth(tmp_path: Path) -> None:
    simulate(tmp_path / "s", cameras=1, fps=FPS, seed=7, start=START, truth=tmp_path / "t")
    for name, data in contents(tmp_path / "s").items():
        assert name.endswith(".jpg") or set(orjson.loads(data.splitlines()[0])) == {
            "captured_at",
            "reason",
            "image",
            "sha256",
        }
