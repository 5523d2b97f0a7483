"""``POST /v1/infer`` on a running agent, and what hostile pictures meet before a pixel is unpacked."""

from __future__ import annotations

import http.client
import struct
import threading
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.vision.orientation import upright
from yolo_assets.vision.picture_head import PictureHead, read_head
from yolo_assets.vision.pictures import TooManyPixelsError, decode_image
from yolo_assets_tests.edge.outputs.receivers import live_camera as live
from yolo_assets_tests.edge.plant import AgentProcess, Plant
from yolo_assets_tests.support.picture_files import no_pictures, odd_but_sound, saved, top_down_bmp
from yolo_assets_tests.support.tiny_model import blob_frame

PICTURE, BLOBS = blob_frame(3, 240, 320, 4)
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()
PNG = cv2.imencode(".png", PICTURE)[1].tobytes()
PROBLEM = "application/problem+json"


def png_of(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    """A real JPEG that says that it is larger than it is."""
    place = JPEG.index(b"\xff\xc0")
    return JPEG[: place + 5] + struct.pack(">HH", height, width) + JPEG[place + 9 :]


@pytest.mark.parametrize("data", [JPEG, PNG])
def test_sound_pictures_are_unpacked(data: bytes) -> None:
    assert decode_image(data, "a", 1 << 20).shape == (240, 320, 3)
    assert read_head(data, "a").size == (320, 240)
    grey = cv2.imencode(".png", PICTURE[:, :, 0].astype(np.uint16) * 256)[1].tobytes()
    assert decode_image(grey, "a", 1 << 20).shape == (240, 320, 3)


@pytest.mark.parametrize("size", [(65000, 65000), (2**31 - 1, 1), (1, 2**31 - 1), (20000, 20000)])
def test_bombs_are_refused_by_their_header(size: tuple[int, int]) -> None:
    bomb = png_of(*size, pixels=zlib.compress(b"\0" * 10_000_000, 9))
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(TooManyPixelsError, match="make it smaller"):
        decode_image(bomb, "a", 40_000_000)
    if max(size) < 65536:
        with pytest.raises(TooManyPixelsError):
            decode_image(jpeg_of(*size), "a", 40_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20 and time.perf_counter() - begin < 0.5


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"GIF89a", JPEG[:100], JPEG[:-40], PNG[:-20], PNG[:20], png_of(0, 5), png_of(5, 5, b"nonsense")),
        *(b"\xff\xd8\xff" + b"\xe0\x00\x00" * 5, b"\xff\xd8\xff\xff\xff\xff", jpeg_of(640, 480)[: len(JPEG) // 2]),
    ],
)
def test_broken_pictures_are_reported(data: bytes) -> None:
    with pytest.raises(BadInputError):
        decode_image(data, "a", 1 << 20)


def test_lengths_that_lie_and_endless_scans_cost_nothing() -> None:
    place = PNG.index(b"IDAT") - 4
    lying = PNG[:place] + b"\x7f\xff\xff\xff" + PNG[place + 4 :]
    extra = PNG[:33] + b"\x7f\xff\xff\xf0zTXt" + PNG[33:]
    scans = JPEG[:-2] + b"\xff\xda" * 5000 + JPEG[-2:]
    begin = time.perf_counter()
    for data, words in ((lying, "cut off"), (extra, "cut off"), (scans, "scans")):
        with pytest.raises(BadInputError, match=words):
            decode_image(data, "a", 1 << 20)
    assert time.perf_counter() - begin < 0.5  # taken at its word, each would ask for gigabytes or minutes


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([JPEG, PNG]), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_damaged_headers_never_crash(data: bytes, damage: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for place, value in damage:
        changed[place] = value
    try:
        image = decode_image(bytes(changed), "a", 200_000)
    except BadInputError:
        return
    head = read_head(bytes(changed), "a")
    assert isinstance(head, PictureHead) and image.shape == (head.height, head.width, 3)


def post(agent: AgentProcess, body: bytes, **headers: str) -> tuple[int, Any, dict[str, str]]:
    place = urlsplit(agent.url)
    assert place.hostname and place.port
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    try:
        connection.request("POST", "/v1/infer", body, {"Content-Type": "image/jpeg"} | headers)
        answer = connection.getresponse()
        return answer.status, orjson.loads(answer.read()), dict(answer.getheaders())
    finally:
        connection.close()


def test_a_picture_is_answered_with_the_record(plant: Plant, agents: list[AgentProcess]) -> None:
    plant.register("1")
    agent = AgentProcess(plant.config_file([live(plant, fps=5)], infer={"max_bytes": 260_000, "max_pixels": 1_000_000}))
    agents.append(agent)
    status, answer, headers = post(agent, JPEG)
    assert (status, headers["retry-after"], headers["content-type"]) == (503, "5", PROBLEM)
    assert "no model" in answer["detail"]
    plant.promote("1")
    agent.wait_for(lambda s: s["ready"])
    stored, orientation = Image.fromarray(upright(PICTURE, 8)[:, :, ::-1]), 6  # a viewer shows it as PICTURE
    turned = [saved(stored, kind, orientation) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    for body in (JPEG, PNG, *turned, top_down_bmp(Image.fromarray(PICTURE[:, :, ::-1]))):
        status, answer, _ = post(agent, body, **{"Content-Type": "application/x-www-form-urlencoded"})
        assert status == 200, answer
        assert answer["image_path"].endswith(read_head(body, "a").ending)
        record = DetectionRecord.from_json(orjson.dumps(answer))
        assert record.model_version == "line/1" and record.device_id == "box1" and record.image_saved is False
        assert (record.width, record.height) == (320, 240)
        for _, (x1, y1, x2, y2) in BLOBS:
            middle = ((x1 + x2) / 2, (y1 + y2) / 2)
            boxes = [found.bbox for found in record.detections]
            assert any(box[0] < middle[0] < box[2] and box[1] < middle[1] < box[3] for box in boxes)
    for _, body in odd_but_sound().values():
        status, answer, _ = post(agent, body)
        assert (status, answer["width"], answer["height"]) == (200, 48, 32), answer
    for case, (_, body) in no_pictures().items():
        status, answer, _ = post(agent, body)
        assert status in (413, 415, 422) and answer["detail"].startswith("the picture "), (case, answer)
    files = {path for path in plant.spool.rglob("*") if path.is_file() and "cam1" not in str(path)}
    assert not files  # nothing of it is kept
    wide = np.random.default_rng(0).integers(0, 255, (1100, 1000, 3), np.uint8)
    for body, expected, words in (
        (b"hello", 415, "use JPEG, PNG, WebP, BMP or TIFF"),
        (b"", 415, "empty"),
        (JPEG[:-50], 422, "cut off"),
        (png_of(5, 5, b"x"), 422, "broken"),
        (cv2.imencode(".jpg", wide, [cv2.IMWRITE_JPEG_QUALITY, 1])[1].tobytes(), 413, "make it smaller"),
        (b"\xff\xd8\xff" + bytes(300_000), 413, "260000 bytes"),
    ):
        status, answer, headers = post(agent, body)
        assert (status, headers["content-type"]) == (expected, PROBLEM) and words in answer["detail"], answer
    status, answer, _ = post(agent, JPEG, **{"Content-Type": "multipart/form-data; boundary=x"})
    assert status == 415 and "--data-binary" in answer["detail"]
    status, answer, _ = post(agent, JPEG, Origin="http://evil.example")
    assert status == 403
    text = agent.request("/metrics")[1].decode()
    assert f'yolo_edge_infer_requests_total{{outcome="answered"}} {7 + len(odd_but_sound())}.0' in text


def test_cameras_come_first(plant: Plant, agents: list[AgentProcess]) -> None:
    plant.register("slow", "slow")
    plant.promote("slow")
    agent = AgentProcess(
        plant.config_file([live(plant, fps=200, policy="latest")], queue_size=4, infer={"wait_s": 0.2})
    )
    agents.append(agent)
    before = agent.wait_for(lambda s: s["ready"] and s["cameras"]["cam1"]["dropped"].get("stale", 0) > 5)
    answers: list[tuple[int, dict[str, str]]] = []

    def ask() -> None:
        for _ in range(3):
            status, _, headers = post(agent, JPEG)
            answers.append((status, headers))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 12 and {status for status, _ in answers} == {429}
    assert all(headers["retry-after"] == "1" and headers["content-type"] == PROBLEM for _, headers in answers)
    after = agent.status()
    assert after["cameras"]["cam1"]["processed"] > before["cameras"]["cam1"]["processed"]
    assert after["cameras"]["cam1"]["dropped"].keys() <= {"stale", "no_model"}
    assert Path(plant.spool).exists() and agent.stop() == 0
