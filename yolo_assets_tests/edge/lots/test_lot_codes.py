"""Codes in the picture: drawn by zxing-cpp's own writer, read through an agent; and everything a code may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from yolo_assets.edge.config.codes import Codes
from yolo_assets.edge.lots.codes import LONGEST_CODE, CodeReader
from yolo_assets_tests.edge.plant import AgentProcess, Plant

FORMATS = {"datamatrix": zxingcpp.BarcodeFormat.DataMatrix, "qr": zxingcpp.BarcodeFormat.QRCode}
BOTH = Codes(batch_id=r"LOT:([^;]+)", part_id=r"SN:([^;]+)")


def picture(*texts: str, kind: str = "datamatrix", turn: float = 0.0) -> NDArray[np.uint8]:
    """A grey picture with codes in it, ``[480, 640, 3]``."""
    image = np.full((480, 640), 120, np.uint8)
    for number, text in enumerate(texts):
        code = np.array(zxingcpp.create_barcode(text, FORMATS[kind]).to_image(scale=3))
        code = np.pad(code, 12, constant_values=255)
        height, width = code.shape[:2]
        image[40 : 40 + height, 30 + 220 * number : 30 + 220 * number + width] = code
    middle = (320, 240)
    rotated = cv2.warpAffine(image, cv2.getRotationMatrix2D(middle, turn, 1.0), (640, 480), borderValue=(120,))
    return np.repeat(np.asarray(rotated, np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("turn", [0.0, 7.0, 180.0])
def test_names_are_read(kind: str, turn: float) -> None:
    reader = CodeReader(BOTH)
    found = reader.read(picture("LOT:A-17;SN:000481", kind=kind, turn=turn))
    assert (found.batch_id, found.part_id) == ("A-17", "000481")


def test_gs1_by_its_human_readable_form() -> None:
    reader = CodeReader(Codes(batch_id=r"\(10\)([^(]+)", part_id=r"\(21\)([^(]+)"))
    found = reader.read(picture("(01)09521234543213(10)ABC123(21)12345"))
    assert (found.batch_id, found.part_id) == ("ABC123", "12345")


def test_two_parts_in_one_picture_name_none() -> None:
    reader = CodeReader(BOTH)
    found = reader.read(picture("LOT:A;SN:1", "LOT:A;SN:2"))
    assert (found.batch_id, found.part_id) == ("A", None) and reader.status()["ambiguous"] == 1


def test_only_the_area_and_the_formats_that_are_asked_for() -> None:
    image = picture("SN:1")
    assert CodeReader(Codes(part_id="SN:(.+)", area=(0, 0, 0.5, 0.5))).read(image).part_id == "1"
    assert CodeReader(Codes(part_id="SN:(.+)", area=(0.5, 0.5, 1, 1))).read(image).part_id is None
    assert CodeReader(Codes(part_id="SN:(.+)", formats=("qr",))).read(image).part_id is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"part_id": "SN:"},
        {"part_id": "(a)(b)"},
        {"part_id": "("},
        {"part_id": "(a)", "area": (0.5, 0, 0.5, 1)},
        {"part_id": "(a)", "formats": ()},
        {"part_id": "(a)", "formats": ("aztec",)},
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Codes(**options)


@given(st.lists(st.text(max_size=LONGEST_CODE + 9), max_size=4))
def test_whatever_codes_hold_names_are_names(texts: list[str]) -> None:
    reader = CodeReader(Codes(batch_id="(.*)", part_id="(?s)SN:(.+)?"), lambda _: texts)
    found = reader.read(np.zeros((2, 2, 3), np.uint8))
    for name in (found.batch_id, found.part_id):
        assert name is None or (name.isprintable() and name == name.strip() and 0 < len(name) <= 128)


@given(st.binary(max_size=3 * 64 * 64))
def test_random_pixels_name_nothing(noise: bytes) -> None:
    image = np.frombuffer(noise.ljust(3 * 64 * 64, b"\0"), np.uint8).reshape(64, 64, 3)
    assert CodeReader(BOTH).read(image).part_id is None


@pytest.mark.parametrize("shape", [(0, 0, 3), (1, 1, 3), (1, 640, 3), (3, 3, 3)])
def test_pictures_without_room_for_a_code(shape: tuple[int, int, int]) -> None:
    assert CodeReader(BOTH).read(np.zeros(shape, np.uint8)).part_id is None


def test_codes_through_an_agent(plant: Plant, agents: list[AgentProcess]) -> None:
    """A batch holds until the next one, a part for the frames that show it."""
    plant.register("1")
    plant.promote("1")
    folder = plant.root / "line"
    folder.mkdir()
    shown = ["LOT:A;SN:1", "SN:2", None, "LOT:B;SN:3", None, None, "SN:4"]
    for number, text in enumerate(shown):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture(*([text] if text else [])))
    camera = {
        "kind": "folder",
        "camera_id": "cam1",
        "path": str(folder),
        "start": "2026-01-02T03:59:59.700Z",  # the third frame lies in the next hour
        "fps": 10,
        "codes": {"batch_id": BOTH.batch_id, "part_id": BOTH.part_id},
    }
    agent = AgentProcess(plant.config_file([camera], engine={"kind": "onnxruntime", "workers": 3}))
    agents.append(agent)
    status = agent.wait_for(lambda s: s["cameras"]["cam1"]["processed"] == len(shown))
    assert status["cameras"]["cam1"]["codes"] == {"codes": 4, "names": 6, "ambiguous": 0, "refused": 0}
    records = sorted(plant.records("records.ndjson"), key=lambda record: record["captured_at"])
    assert len({Path(record["image_path"]).parent for record in records}) == 2
    assert [(record["batch_id"], record.get("part_id")) for record in records] == [
        *(("A", "1"), ("A", "2"), ("A", None), ("B", "3")),
        *(("B", None), ("B", None), ("B", "4")),
    ]
