"""The line draws what it says it draws, the same in every process."""

import hashlib
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.rendering import make_view
from yolo_assets.simulator.weld_line import Change, LineConfig, WeldLine

START = datetime(2026, 1, 2, 3, tzinfo=UTC)
CHANGE_AT = START + timedelta(hours=1)
LINE = WeldLine(LineConfig(seed=7, changes=(Change("line_change", CHANGE_AT),)))
QUIET = WeldLine(LineConfig(seed=7))

moments = st.integers(0, 7200_000).map(lambda ms: START + timedelta(milliseconds=ms))
cameras = st.sampled_from(LINE.cameras)


def digest(line: WeldLine, camera: str, moment: datetime) -> str:
    scene = line.draw(camera, moment)
    return hashlib.sha256(scene.image.tobytes() + repr((scene.truth, scene.batch_id)).encode()).hexdigest()


def test_another_process_draws_the_same_bytes_in_another_order() -> None:
    places = [(camera, START + timedelta(seconds=seconds)) for camera in LINE.cameras for seconds in (0, 3599.5, 3661)]
    program = f"""
import hashlib
from datetime import datetime
from yolo_assets.simulator.weld_line import *
line = WeldLine(LineConfig(seed=7, changes=(Change("line_change", datetime.fromisoformat("{CHANGE_AT.isoformat()}")),)))
for camera, text in {[(camera, moment.isoformat()) for camera, moment in reversed(places)]!r}:
    scene = line.draw(camera, datetime.fromisoformat(text))
    print(hashlib.sha256(scene.image.tobytes() + repr((scene.truth, scene.batch_id)).encode()).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [digest(LINE, camera, moment) for camera, moment in reversed(places)]


@settings(max_examples=15, deadline=None)
@given(cameras, moments)
def test_a_frame_depends_on_seed_camera_and_millisecond_alone(camera: str, moment: datetime) -> None:
    scene = LINE.draw(camera, moment + timedelta(microseconds=700))
    fresh = WeldLine(LINE.config).draw(camera, moment)
    assert scene.image.shape == (256, 320, 3) and scene.image.dtype == np.uint8
    assert np.array_equal(scene.image, fresh.image) and scene.truth == fresh.truth == LINE.truth(camera, moment)
    other = WeldLine(LineConfig(seed=8, changes=LINE.config.changes)).draw(camera, moment)
    assert not np.array_equal(scene.image, other.image)


@settings(max_examples=150, deadline=None)
@given(cameras, moments, st.sampled_from([(320, 256), (640, 360), (200, 300)]))
def test_boxes_lie_in_the_frame_and_are_large_enough_to_see(
    camera: str, moment: datetime, size: tuple[int, int]
) -> None:
    width, height = size
    for box in WeldLine(LineConfig(seed=7, width=width, height=height)).truth(camera, moment):
        x1, y1, x2, y2 = box.bbox
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert min(x2 - x1, y2 - y1) >= 5 and box.class_name in CLASS_NAMES


@pytest.mark.parametrize("since", [START, CHANGE_AT], ids=["before", "after"])
def test_boxes_fit_the_pixels_that_a_defect_changes(since: datetime) -> None:
    fits: dict[str, list[float]] = {name: [] for name in CLASS_NAMES}
    for index in range(90):
        camera, moment = LINE.cameras[index % 3], since + timedelta(seconds=23 * index)
        scene = LINE.draw(camera, moment)
        if not scene.truth:
            continue
        flawless = LINE.draw(camera, moment, defects=False)
        assert flawless.truth == ()
        difference = np.abs(scene.image.astype(int) - flawless.image).max(2)
        for box in scene.truth:
            changed = difference > (4 if box.hard else 10)
            x1, y1, x2, y2 = (round(value) for value in box.bbox)
            around = np.zeros_like(changed)
            around[max(0, y1 - 5) : y2 + 5, max(0, x1 - 5) : x2 + 5] = True
            rows, columns = np.nonzero(changed & around)
            assert len(rows), f"{box} changes nothing"
            a = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            inner = max(0, min(a[2], x2) - max(a[0], x1)) * max(0, min(a[3], y2) - max(a[1], y1))
            outer = (a[2] - a[0]) * (a[3] - a[1]) + (x2 - x1) * (y2 - y1) - inner
            if not box.hard:
                fits[box.class_name].append(inner / outer)
    for name, values in fits.items():
        assert len(values) >= 4, f"too few of {name} to judge"
        assert np.median(values) > 0.7, f"{name}: {np.median(values):.2f}"


def test_nothing_changes_where_there_is_no_defect() -> None:
    """Cut-off slivers aside, a frame without truth is the flawless frame, pixel for pixel."""
    moments_ = [START + timedelta(seconds=31 * index) for index in range(60)]
    empty = [moment for moment in moments_ if not QUIET.truth("lineA_cam01", moment)]
    assert len(empty) > 10
    same = 0
    for moment in empty:
        a = QUIET.draw("lineA_cam01", moment).image
        b = QUIET.draw("lineA_cam01", moment, defects=False).image
        rows, columns = np.nonzero((a != b).any(2))
        same += not len(rows)
        # What differs is at the left or right edge, where a defect comes in or goes out.
        assert all(column < 45 or column > 320 - 45 for column in columns)
    assert same > len(empty) / 2


def test_rates_are_those_of_a_line_with_some_defects() -> None:
    found = [
        QUIET.truth(camera, START + timedelta(seconds=20 * index)) for camera in QUIET.cameras for index in range(500)
    ]
    normal = sum(not boxes for boxes in found) / len(found)
    assert 0.35 < normal < 0.6
    boxes = [box for frame in found for box in frame]
    counts = Counter(box.class_name for box in boxes)
    assert set(counts) == set(CLASS_NAMES)
    assert min(counts.values()) > 0.1 * len(boxes)
    assert 0.05 < sum(box.hard for box in boxes) / len(boxes) < 0.2


def test_the_same_plate_advances_between_frames() -> None:
    view = make_view(7, "lineA_cam01", 320, 256)
    seen = 0
    for index in range(80):
        moment = START + timedelta(seconds=17 * index)
        now, later = (QUIET.truth("lineA_cam01", moment + timedelta(seconds=gap)) for gap in (0.0, 0.5))
        inner = [box for box in now if box.bbox[0] > 60 and box.bbox[2] < 318]
        for box in inner:
            expected = box.bbox[0] - 0.5 * view.speed * view.turn[0, 0]
            assert any(b.class_name == box.class_name and abs(b.bbox[0] - expected) < 0.5 for b in later)
            seen += 1
    assert seen > 10


def test_cameras_have_views_of_their_own() -> None:
    means = [QUIET.draw(camera, START, defects=False).image.mean((0, 1)) for camera in QUIET.cameras]
    angles = {make_view(7, camera, 320, 256).angle for camera in QUIET.cameras}
    assert len(angles) == 3
    for index, mean in enumerate(means):
        assert all(np.abs(mean - other).max() > 2 for other in means[index + 1 :])


def test_a_change_of_the_line_is_sharp_in_time_and_plain_to_see() -> None:
    before = CHANGE_AT - timedelta(milliseconds=1)
    assert np.array_equal(LINE.draw("lineA_cam02", before).image, QUIET.draw("lineA_cam02", before).image)
    old, new = (line.draw("lineA_cam02", CHANGE_AT, defects=False).image.mean((0, 1)) for line in (QUIET, LINE))
    assert new.mean() < 0.85 * old.mean(), "darker"
    assert new[0] / new[2] > 1.2 * old[0] / old[2], "colder"


def test_a_second_change_leads_back() -> None:
    later = CHANGE_AT + timedelta(minutes=10)
    twice = WeldLine(LineConfig(seed=7, changes=(Change("line_change", CHANGE_AT), Change("line_change", later))))
    assert np.array_equal(twice.draw("lineA_cam01", later).image, QUIET.draw("lineA_cam01", later).image)


def test_a_dirty_lens_blurs_one_camera_only() -> None:
    dirty = WeldLine(LineConfig(seed=7, changes=(Change("dirty_lens", CHANGE_AT, "lineA_cam02"),)))

    def sharpness(line: WeldLine, camera: str) -> float:
        grey = cv2.medianBlur(cv2.cvtColor(line.draw(camera, CHANGE_AT).image, cv2.COLOR_BGR2GRAY), 3)
        return float(cv2.Laplacian(grey, cv2.CV_64F).var())

    assert sharpness(dirty, "lineA_cam02") < 0.6 * sharpness(QUIET, "lineA_cam02")
    assert digest(dirty, "lineA_cam01", CHANGE_AT) == digest(QUIET, "lineA_cam01", CHANGE_AT)
    assert dirty.truth("lineA_cam02", CHANGE_AT) == QUIET.truth("lineA_cam02", CHANGE_AT)


def test_batches_change_on_the_clock() -> None:
    assert QUIET.batch_id(START) == "B20260102-0300"
    assert QUIET.batch_id(START + timedelta(minutes=19, seconds=59.999)) == "B20260102-0300"
    assert QUIET.batch_id(START + timedelta(minutes=20)) == "B20260102-0320"
    assert WeldLine(LineConfig(batch_minutes=480)).batch_id(START) == "B20260102-0000"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"seed": -1}, "0 or more"),
        ({"cameras": 0}, "1 to 99"),
        ({"width": 10}, "64 to 4096"),
        ({"batch_minutes": 7}, "divide a day"),
        ({"changes": (Change("dirty_lens", START, "lineA_cam09"),)}, "this line has lineA_cam01"),
        ({"changes": (Change("line_change", START.replace(tzinfo=None)),)}, "no zone"),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_advice(arguments: dict, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        WeldLine(LineConfig(**arguments))


def test_unknown_cameras_and_zoneless_moments_are_refused() -> None:
    with pytest.raises(BadInputError, match="it has lineA_cam01"):
        QUIET.draw("lineA_cam09", START)
    with pytest.raises(BadInputError, match="no zone"):
        QUIET.draw("lineA_cam01", START.replace(tzinfo=None))
