"""``plant.yaml``: what it may say, and one line that names the file and the option for everything else."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.plant import Plant, load_plant
from yolo_assets.contracts.settings import Settings


def test_without_a_file_nothing_is_expected(tmp_path: Path) -> None:
    assert load_plant(Settings(home=tmp_path)) == Plant()


def test_a_file_that_the_setting_names_must_be_there(tmp_path: Path) -> None:
    found = Settings.from_env({"YOLO_ASSETS_HOME": str(tmp_path), "YOLO_ASSETS_PLANT": str(tmp_path / "our.yaml")})
    with pytest.raises(BadInputError, match=r"our\.yaml, which YOLO_ASSETS_PLANT names"):
        load_plant(found)
    (tmp_path / "our.yaml").write_text("cameras: [cam1]\n")
    assert load_plant(found).camera_ids == ("cam1",)


@pytest.mark.parametrize(
    "text",
    [
        b"cameras: [cam1, lineA_cam02, 'on', '007']\n",
        b"cameras:\n  - cam1\n  - id: lineA_cam02\n  - {id: 'on'}\n  - '007'\n",
        codecs.BOM_UTF8 + b"# hall 2\r\ncameras:\r\n- cam1\r\n- lineA_cam02\r\n- 'on'\r\n- '007'\r\n",
        "\ufeffcameras: [cam1, lineA_cam02, 'on', '007']".encode("utf-16-le"),
        b'{"cameras": ["cam1", "lineA_cam02", "on", "007"]}',
    ],
)
def test_cameras_are_ids_or_mappings_in_any_encoding_with_a_mark(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_bytes(text)
    assert load_plant(Settings(home=tmp_path)).camera_ids == ("cam1", "lineA_cam02", "on", "007")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "cameras: []\n", "{}"])
def test_an_empty_plant_expects_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(text)
    assert load_plant(Settings(home=tmp_path)).camera_ids == ()


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("cameras: [cam 1]", "cameras.0", "is not a camera id"),
        ("cameras: [cam1, true]", "cameras.1", "True is not a camera id; write it in quotes"),
        ("cameras: [007]", "cameras.0", "7 is not a camera id; write it in quotes"),
        ("cameras: [cam1, cam2, cam1]", "cameras", "cam1 is listed twice"),
        ("cameras: cam1", "cameras", "give a list"),
        ("cameras:\n", "cameras", "give a list"),
        ("cameras: {cam1: {}}", "cameras", "give a list"),
        ("cameras: [{name: cam1}]", "cameras.0.id", "required"),
        ("cameras: [{id: cam1, hall: 2}]", "cameras.0.hall", "not permitted"),
        ("cameras: [null]", "cameras.0", "None is not a camera id"),
        ("camera: [cam1]", "camera", "not permitted"),
        ("ui: dagster.plant", "ui", "is not the address of a page"),
        ("ui: https://me:secret@dagster.plant", "ui", "holds a user or a password"),
        ("alerts: {receivers: {night: {}}}", "alerts.receivers.night", "give url_file or url_variable"),
        ("alerts: {receivers: {night: {url: 'json://x'}}}", "alerts.receivers.night.url", "not permitted"),
        ("alerts: {receivers: {night: {url_file: a, url_variable: B}}}", "night", "is not an absolute path"),
        ("alerts: {receivers: {night: {url_file: /a, url_variable: B}}}", "night", "give url_file or url_variable"),
        ("alerts: {receivers: {a b: {url_variable: B}}}", "alerts.receivers.a b", "is not a receiver name"),
        ("alerts: {receivers: {a: {url_variable: B, causes: [run]}}}", "receivers.a.causes.0", "'run_failed'"),
        ("alerts: {silences: [{cause: run_failed}]}", "alerts.silences.0.until", "required"),
        ("alerts: {silences: [{until: 2026-03-01T06:00:00}]}", "alerts.silences.0.until", "has no zone; add Z"),
        ("alerts: {again_hours: 0}", "alerts.again_hours", "greater than 0"),
        ("alerts: {camera_absent_hours: .inf}", "alerts.camera_absent_hours", "finite"),
        ("cameras: [cam1]\ncameras: [cam2]", "line 2", "cameras is given twice"),
        ("- cam1\n", "", "has no sections"),
        ("cam1", "", "has no sections"),
        ("cameras: [", "line 1", "is not YAML"),
    ],
)
def test_a_wrong_plant_is_one_line_with_file_and_key(text: str, key: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(text)
    with pytest.raises(BadInputError) as caught:
        load_plant(Settings(home=tmp_path))
    line = str(caught.value)
    assert str(tmp_path / "plant.yaml") in line and key in line and says in line
    assert "\n" not in line


def test_a_plant_that_is_no_text_or_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_bytes("cameras: [für]".encode("latin-1"))
    with pytest.raises(BadInputError, match=r"plant\.yaml is not UTF-8"):
        load_plant(Settings(home=tmp_path))
    (tmp_path / "plant.yaml").unlink()
    (tmp_path / "plant.yaml").mkdir()
    with pytest.raises(BadInputError, match=r"plant\.yaml cannot be read: Is a directory"):
        load_plant(Settings(home=tmp_path))


def test_receivers_causes_and_silences(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(
        "ui: https://dagster.plant.example/\n"
        "alerts:\n"
        "  receivers:\n"
        "    night: {url_file: /etc/yolo-assets/night.url, causes: [camera_absent, box_silent]}\n"
        "    office: {url_variable: OFFICE_URL}\n"
        "  camera_absent_hours: 1.5\n"
        "  silences:\n"
        "    - {until: 2026-03-01T06:00:00+08:00, cause: camera_absent, about: cam1, reason: replaced}\n"
        "    - until: 2026-03-01T06:00:00Z\n"
    )
    plant = load_plant(Settings(home=tmp_path))
    assert plant.ui == "https://dagster.plant.example"
    assert plant.alerts.receivers["night"].causes == ("camera_absent", "box_silent")
    assert "run_failed" in plant.alerts.receivers["office"].causes
    assert "camera_sick" in plant.alerts.receivers["office"].causes, "on unless others are named"
    assert [f"{silence.until:%d %H:%M}" for silence in plant.alerts.silences] == ["28 22:00", "01 06:00"]
