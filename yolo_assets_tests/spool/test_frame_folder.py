"""Which picture a record means, in every way that producers spell its path."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.frames import FrameFolder, frame_stem

HOUR = Hour.from_key("20241015_14")
CAMERA = "lineA_cam01"
FRAME = "20241015_140002_345.jpg"


def means(path: str, *frames: str, camera_id: str | None = None) -> str:
    record = DetectionRecord(image_path=path, detections=(), model_version="m", device_id="d", camera_id=camera_id)
    return FrameFolder.of(CAMERA, HOUR, frames or (FRAME,)).frame_of(record)


# Names as cameras give them: no separators, not hidden, and no name of a folder.
names = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='/\\:?#"%'), min_size=1, max_size=30)
    .filter(lambda name: name.strip(". ") == name)
    .map(lambda name: f"{name}.jpg")
)


def spellings(name: str) -> list[str]:
    full = f"{CAMERA}/{HOUR}/{name}"
    windows = full.replace("/", "\\")
    return [
        name,
        f"./{name}",
        f".\\{name}",
        f"{CAMERA}/{name}",
        f"{CAMERA}\\{name}",
        full,
        f"./{full}",
        f"../../{full}",
        f"{CAMERA}/{HOUR}/../{HOUR}/{name}",
        f"{CAMERA}//{HOUR}/{name}",
        f"/data/spool/{full}",
        f"D:\\spool\\{windows}",
        f"d:/spool/{full}",
        f"\\\\nas\\share\\{windows}",
        windows,
        windows.upper().replace(name.upper(), name),
        PurePosixPath(f"/mnt/{full}").as_uri(),
        PureWindowsPath(f"C:/spool/{full}").as_uri(),
        f"file:/data/{quote(full)}",
        f"s3://plant/spool/{full}",
        f"https://nas.local:9000/spool/{quote(full)}?X-Amz-Signature=ab%2Fcd&x=1",
        f"s3://plant/{quote(full, safe='')}",
        f"/tmp/yolo/{name}",
        f"C:\\temp\\{name}",
        f"/data/{CAMERA}/images/{name}",
    ]


@given(names)
def test_a_picture_that_lies_there_is_meant_however_it_is_spelt(name: str) -> None:
    for path in spellings(name):
        assert means(path, name, "other.jpg") == name, path


@pytest.mark.parametrize(
    "path", [quote(f"{CAMERA}/{HOUR}/weld seam.jpg"), "weld%20seam.jpg", "cam%5Fx/../weld seam.jpg"]
)
def test_a_quoted_path_means_the_picture_that_lies_there(path: str) -> None:
    assert means(path, "weld seam.jpg") == "weld seam.jpg"


def test_a_name_with_a_percent_sign_is_meant_literally_where_it_lies() -> None:
    assert means("50%20.jpg", "50%20.jpg", "50 .jpg") == "50%20.jpg"
    assert means("a\\b.jpg", "a\\b.jpg", "b.jpg") == "a\\b.jpg"  # one name on Linux


def test_case_and_composed_letters_do_not_hide_a_picture() -> None:
    assert means("20241015_140002_345.JPG") == FRAME
    assert means("Scha\u0308den.jpg", "Sch\u00e4den.jpg") == "Sch\u00e4den.jpg"
    assert means("a.JPG", "a.jpg", "A.jpg") == "a.JPG"  # of two nothing is guessed


other_cameras = st.sampled_from(["lineA_cam02", "lineB_cam01", "x", "cam1", "LINEA_CAM01"])


@given(other_cameras, st.sampled_from([FRAME, "0001.jpg"]))
def test_a_path_to_another_camera_is_refused_also_where_the_name_lies_here(camera: str, name: str) -> None:
    full = f"{camera}/{HOUR}/{name}"
    for path in (
        full,
        f"./{full}",
        f"../../{full}",
        f"/data/spool/{full}",
        f"s3://plant/{full}",
        f"file:///data/{full}",
        f"{camera}/{name}",
        f"../{camera}/{name}",
        f"{CAMERA}/../{full}",
    ):
        with pytest.raises(BadInputError, match="not in the folder of its camera and hour"):
            means(path, name)
    for path in (f"D:\\spool\\{full}", full, f"{camera}\\{name}"):
        if camera.lower() != CAMERA.lower():  # Windows knows no upper and lower case
            with pytest.raises(BadInputError, match="not in the folder"):
                means(path.replace("/", "\\"), name)


def test_a_neighbour_that_differs_in_its_number_is_refused_without_an_hour() -> None:
    for path in (f"/data/lineA_cam02/{FRAME}", f"D:\\lineA_cam02\\{FRAME}", f"/lineA_cam7/images/{FRAME}"):
        with pytest.raises(BadInputError, match="not in the folder"):
            means(path)


def test_another_hour_is_refused_unless_the_name_holds_the_time() -> None:
    with pytest.raises(BadInputError, match="not in the folder"):
        means(f"{CAMERA}/20241015_15/0001.jpg", "0001.jpg")
    assert means(f"{CAMERA}/20241015_15/20241015_150000_100.jpg", "20241015_150000_100.jpg")
    with pytest.raises(BadInputError, match="not in the folder"):
        means(f"{CAMERA}/20241015_15/20241015_150000_100.jpg")


def test_the_camera_that_a_record_names_decides_first() -> None:
    with pytest.raises(BadInputError, match="names camera 'other'"):
        means(FRAME, camera_id="other")


@pytest.mark.parametrize("path", ["/", "..", ".", f"{CAMERA}/{HOUR}/..", f"{CAMERA}/{HOUR}/", "a\0b.jpg", "file:///"])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(BadInputError):
        means(path)


def test_a_picture_that_was_not_kept_is_named_by_its_own_folder_alone() -> None:
    for path in ("9.jpg", f"{CAMERA}/9.jpg", f"{CAMERA}/{HOUR}/9.jpg", f"D:\\{CAMERA}\\{HOUR}\\9.jpg", "./9.jpg"):
        assert means(path) == "9.jpg"
    with pytest.raises(BadInputError, match="not in the folder"):
        means("/tmp/yolo/9.jpg")


@given(st.text(max_size=60))
def test_any_path_is_one_file_name_or_refused_in_one_line(path: str) -> None:
    try:
        name = means(path or "x")
    except BadInputError as error:
        assert "\n" not in str(error)
    else:
        assert name not in ("", ".", "..") and "/" not in name


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPEG", "a.png", "a.TIFF", "a.webp", "a.bmp", "a.json", "a.png.json", "x/a.tif"]
)
def test_a_stem_has_neither_folder_nor_ending(name: str) -> None:
    assert frame_stem(name) == "a"
