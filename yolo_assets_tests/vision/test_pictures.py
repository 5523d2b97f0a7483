"""Picture files of anybody: decoded as a viewer shows them, or refused with a sentence; PIL is the oracle."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.vision.orientation import fit_boxes, upright
from yolo_assets.vision.picture_head import NoImageError, read_head
from yolo_assets.vision.pictures import TooManyPixelsError, decode_image
from yolo_assets_tests.support.picture_files import (
    FORMATS,
    ORIENTED,
    as_a_viewer_shows,
    no_pictures,
    odd_but_sound,
    saved,
    scene,
)

ORIENTATIONS = range(1, 9)


def as_grey(data: bytes, picture: np.ndarray) -> None:
    """The grey form of a file is that of the picture."""
    grey = decode_image(data, "a", grey=True)
    assert grey.shape == picture.shape[:2] and grey.dtype == np.uint8 and grey.flags.c_contiguous
    weighted = picture.astype(float) @ (0.114, 0.587, 0.299)
    assert np.abs(grey - weighted).max() < 8


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ORIENTED)
def test_pictures_are_upright_as_a_viewer_shows(kind: str, orientation: int) -> None:
    data = saved(scene(), kind, orientation)
    shown = as_a_viewer_shows(data)
    head, picture = read_head(data, "a"), decode_image(data, "a")
    assert head.format.upper() == kind and head.stored_size == (48, 32) and head.orientation == orientation
    assert head.size == (shown.shape[1], shown.shape[0])
    assert picture.shape == shown.shape and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.abs(picture.astype(int) - shown).max() < 12
    as_grey(data, picture)


@pytest.mark.parametrize("case", odd_but_sound())
def test_odd_but_sound_pictures_are_read(case: str) -> None:
    _, data = odd_but_sound()[case]
    picture = decode_image(data, case)
    assert picture.shape == (32, 48, 3) and picture.dtype == np.uint8
    if case in ("png_16_bit", "tiff_16_bit"):  # PIL clips these
        shown = np.asarray(scene().convert("L").convert("RGB"), np.uint8)
    elif case == "tiff_of_pages":
        shown = np.asarray(scene(), np.uint8)[:, :, ::-1]
    else:
        shown = as_a_viewer_shows(data)
    assert np.abs(picture.astype(int) - shown).max() < 14
    as_grey(data, picture)


@pytest.mark.parametrize("case", no_pictures())
def test_no_pictures_are_refused_by_name_and_advice(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    ending, data = no_pictures()[case]
    with pytest.raises(BadInputError, match=rf"^{case}\.{ending} .*(;|make it smaller)") as refusal:
        decode_image(data, f"{case}.{ending}")
    assert isinstance(refusal.value, NoImageError) == (case in ("zero_bytes", "text", "gif", "zeros"))
    assert isinstance(refusal.value, TooManyPixelsError) == (case == "bomb")
    assert "OpenCV" not in capfd.readouterr().err


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8), st.data())
def test_damaged_files_are_read_or_refused(kind: str, damage: list[tuple[int, int]], draw: st.DataObject) -> None:
    changed = bytearray(saved(scene(), kind, 6 if kind in ORIENTED else 1))
    for place, value in damage:
        changed[place % len(changed)] = value
    data = bytes(changed[: draw.draw(st.integers(0, len(changed)))])
    try:
        picture = decode_image(data, "a", 200_000)
    except BadInputError:
        return
    assert (picture.shape[1], picture.shape[0]) == read_head(data, "a").size


@pytest.mark.parametrize("value", [0, 9, 255])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_nobody_defined_turns_nothing(kind: str, value: int) -> None:
    data = saved(scene(), kind, value)
    assert read_head(data, "a").orientation == 1 and decode_image(data, "a").shape == (32, 48, 3)


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("kind", [3, 4])
def test_orientation_in_any_byte_order_and_number_type(order: bytes, kind: int) -> None:
    little = order == b"II"
    numbers = {3: 2, 4: 4}

    def number(value: int, length: int) -> bytes:
        return value.to_bytes(length, "little" if little else "big")

    entry = number(274, 2) + number(kind, 2) + number(1, 4) + number(8, numbers[kind]).ljust(4, b"\0")
    block = order + number(42, 2) + number(8, 4) + number(1, 2) + entry + number(0, 4)
    file = io.BytesIO()
    scene().save(file, "JPEG", exif=b"Exif\0\0" + block)
    assert read_head(file.getvalue(), "a").orientation == 8
    with Image.open(io.BytesIO(file.getvalue())) as picture:
        assert picture.getexif()[274] == 8


SIDES = st.integers(2, 40)


@given(st.sampled_from(ORIENTATIONS), SIDES, SIDES, st.data())
def test_boxes_turn_as_the_pixels_do(orientation: int, width: int, height: int, draw: st.DataObject) -> None:
    x1, y1 = draw.draw(st.integers(0, width - 1)), draw.draw(st.integers(0, height - 1))
    x2, y2 = draw.draw(st.integers(x1 + 1, width)), draw.draw(st.integers(y1 + 1, height))
    stored = np.zeros((height, width, 3), np.uint8)
    stored[y1:y2, x1:x2] = 255
    picture = Image.fromarray(stored)
    picture.getexif()[274] = orientation
    shown = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(upright(stored, orientation), shown)
    fit = fit_boxes((width, height), (width, height), orientation)
    assert fit is not None
    fits_upright = shown.shape[:2] == stored.shape[:2]
    assert fit.orientation == (1 if fits_upright else orientation)
    turned = type(fit)(orientation, width, height).box((x1, y1, x2, y2))
    rows, columns = np.nonzero(shown[:, :, 0])
    assert turned == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@given(st.sampled_from(ORIENTATIONS), SIDES, SIDES)
def test_a_record_that_fits_the_upright_picture_is_used_as_it_is(orientation: int, width: int, height: int) -> None:
    size = (height, width) if orientation >= 5 else (width, height)
    box = (1.5, 0.25, 2.0, 1.0)
    for told in (size, (None, None), (size[0], None), (None, size[1])):
        fit = fit_boxes(told, (width, height), orientation)
        assert fit is not None and fit.box(box) == box


@given(st.sampled_from(ORIENTATIONS), SIDES, SIDES, st.integers(1, 80), st.integers(1, 80))
def test_a_record_of_another_size_fits_nowhere(orientation: int, width: int, height: int, w: int, h: int) -> None:
    known = {(width, height)} | ({(height, width)} if orientation >= 5 else set())
    assert (fit_boxes((w, h), (width, height), orientation) is None) == ((w, h) not in known)
