"""What lies behind a privacy mask reaches nothing: shown by pictures that differ only there, over 1,000 polygons."""

from __future__ import annotations

import base64
import random
import threading
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from yolo_assets.contracts.times import Hour
from yolo_assets.edge.cameras.open import ConfiguredSource
from yolo_assets.edge.config.masks import Mask
from yolo_assets.edge.lots.codes import CodesRead
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.masking import PictureMask
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.worker import encode_jpeg
from yolo_assets.edge.types import Capture, Frame
from yolo_assets_tests.edge.plant import AgentProcess, Plant, until

START = datetime(2026, 1, 2, 3, 59, 58, tzinfo=UTC)
HEIGHT, WIDTH = 48, 64


def inside(polygon: list[tuple[float, float]], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose middle or any corner lies in a polygon, by matplotlib, ``[h, w]``."""
    outline = Outline([*polygon, polygon[0]], closed=True)
    rows, columns = np.mgrid[0:height, 0:width]
    found = np.zeros((height, width), np.bool_)
    for down, right in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
        points = np.stack([(columns + right) / width, (rows + down) / height], axis=-1).reshape(-1, 2)
        found |= outline.contains_points(points).reshape(height, width)
    return found


def polygon_of(chance: random.Random) -> list[tuple[float, float]]:
    """Any polygon: its lines may cross, its corners may lie on the border."""
    return [
        (chance.choice((0.0, 1.0, chance.random(), chance.random())), chance.random())
        for _ in range(chance.randint(3, 9))
    ]


class Camera:
    """A camera thread's way from picture to frame, without the thread."""

    def __init__(self, folder: Path, mask: Mask) -> None:
        self.recorder = FrameRecorder(folder, ["cam1"], "box1")
        self.queue = FrameQueue(["cam1"], 10)
        self.seen_by_codes: list[NDArray[np.uint8]] = []
        ready = threading.Event()
        ready.set()
        source: Any = type("Source", (), {"camera_id": "cam1", "live": True})()
        codes: Any = self
        configured = ConfiguredSource(source, "every", "stream")
        self.thread = CameraThread(configured, self.queue, self.recorder, ready, codes, PictureMask(mask))

    def read(self, picture: NDArray[np.uint8], captured_at: datetime) -> CodesRead:
        self.seen_by_codes.append(picture.copy())
        return CodesRead()

    def frame(self, image: NDArray[np.uint8]) -> Frame:
        self.thread._take(Capture(START, image))
        frame = self.queue.get(0)
        assert frame is not None
        self.recorder.drop(frame, "stopped")
        return frame


@pytest.mark.parametrize("seed", range(10))
def test_what_lies_behind_100_polygons_changes_nothing_that_leaves(tmp_path: Path, seed: int) -> None:
    """Two pictures that differ behind the mask alone give the same bytes to model, encoder, codes and viewers."""
    chance, noise = random.Random(seed), np.random.default_rng(seed)
    hidden_pixels = 0
    for number in range(100):
        polygon = polygon_of(chance)
        camera = Camera(tmp_path / str(number), Mask(polygons=(tuple(polygon),)))
        hidden = inside(polygon, HEIGHT, WIDTH)
        hidden_pixels += int(hidden.sum())
        one = noise.integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)
        two = np.where(hidden[..., None], noise.integers(1, 256, one.shape, np.uint8), one)
        if number % 2:
            two.flags.writeable = False
        frames = [camera.frame(one.copy()), camera.frame(two)]
        assert not frames[0].image[hidden].any(), polygon
        assert np.array_equal(frames[0].image, frames[1].image), polygon
        assert np.array_equal(frames[0].for_model, frames[1].for_model), polygon
        assert encode_jpeg(frames[0].image, 90) == encode_jpeg(frames[1].image, 90)
        assert np.array_equal(camera.seen_by_codes[0], camera.seen_by_codes[1])
        camera.recorder.close()
    assert hidden_pixels > 100 * HEIGHT * WIDTH // 20


def test_only_the_mask_and_three_pixels_around_it_are_painted() -> None:
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    painted, _ = PictureMask(Mask(polygons=(((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)),))).burn(image)
    kept = painted.max(axis=-1) > 0
    assert not kept[12:36, 16:48].any()
    around = np.ones((HEIGHT, WIDTH), np.bool_)
    around[9:39, 13:51] = False
    assert kept[around].all()


@pytest.mark.parametrize("shape", [(48, 64), (1, 1), (3, 2000), (1080, 1920)])
def test_a_mask_holds_for_every_size_of_picture(shape: tuple[int, int]) -> None:
    mask = PictureMask(Mask(polygons=(((0, 0), (1, 0), (1, 1), (0, 1)),)))
    assert not mask.burn(np.full((*shape, 3), 9, np.uint8))[0].any()
    assert not mask.burn(np.full((*shape[::-1], 3), 9, np.uint8))[0].any()  # the stream changes its size


def test_a_star_is_filled_also_where_its_lines_enclose_its_middle() -> None:
    corners = [
        (0.5 + 0.4 * float(np.sin(turn * 4 * np.pi / 5)), 0.5 - 0.4 * float(np.cos(turn * 4 * np.pi / 5)))
        for turn in range(5)
    ]
    painted, _ = PictureMask(Mask(polygons=(tuple(corners),))).burn(np.full((101, 101, 3), 9, np.uint8))
    assert not painted[50, 50].any()


def test_the_model_alone_may_see_behind_the_mask(tmp_path: Path) -> None:
    square = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    camera = Camera(tmp_path, Mask(polygons=(square,), hide_from_model=False))
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    frame = camera.frame(image)
    assert (
        (frame.for_model == 200).all() and not frame.image[:, :32].any() and not camera.seen_by_codes[0][:, :32].any()
    )
    assert Mask(polygons=(square,)).version != Mask(polygons=(square,), hide_from_model=False).version
    camera.recorder.close()


@pytest.mark.parametrize(
    "polygons", [(), (((0, 0), (1, 1)),), (((0, 0), (1.5, 0), (1, 1)),), (((0, 0), (1, 0), (-1, 1)),)]
)
def test_polygons_that_cannot_be(polygons: Any) -> None:
    with pytest.raises(ValueError):
        Mask(polygons=polygons)


def test_masks_of_an_agent_in_spool_page_record_and_seal(plant: Plant, agents: list[AgentProcess]) -> None:
    plant.register("1")
    plant.promote("1")
    folder = plant.root / "white"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((240, 320, 3), 230, np.uint8))
    mask = {"polygons": [[[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]]}
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(folder), "start": "2026-01-02T03:59:58Z", "mask": mask}
    agent = AgentProcess(plant.config_file([camera], sampling={"normal_every": 1}))
    agents.append(agent)
    version = agent.wait_for(lambda s: s["cameras"]["cam1"]["processed"] == 4)["cameras"]["cam1"]["mask"]["version"]
    latest = agent.request("/v1/cameras/cam1/latest")[1]
    with urllib.request.urlopen(f"{agent.url}v1/cameras/cam1/live", timeout=20) as live:
        head = live.read(600).partition(b"\r\n\r\n")
        size = int(head[0].lower().partition(b"content-length:")[2].split()[0])
        shown = head[2] + live.read(size - len(head[2]))
    pictures = [agent.request("/v1/cameras/cam1/snapshot.jpg?boxes=false")[1], shown]
    pictures.append(base64.b64decode(latest["image"].partition(",")[2]))
    pictures += [path.read_bytes() for path in plant.spool.glob("*/*/*.jpg")]
    assert len(pictures) == 7
    for data in pictures:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        if data is shown:  # with boxes, in colours: none of them is white
            assert picture[:, 170:].min(axis=-1).max() < 200
        else:
            assert picture[:, 170:].max() < 8 and picture[:, :144].min() > 215
    assert {record["mask_version"] for record in plant.records("records.ndjson")} == {version}
    seals = until(lambda: len(found := plant.seals()) == 2 and found)
    assert {seal.mask_versions for seal in seals.values()} == {(version,)}
    assert Hour.of(START).key in {hour for _, hour in seals}
