"""Files that Label Studio's converter, datumaro (as CVAT), CVAT and labelImg wrote of one project give its boxes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from yolo_assets_tests.learning.label_inbox import Inbox, coco

WRITTEN = Path(__file__).parents[1] / "foreign" / "labels_written"
PROJECT = {
    str(n): [("crack", (16 + 1.6 * n, 12, 48 + 1.6 * n, 36)), ("dent", (80, 48 + 1.2 * n, 120, 84 + 1.2 * n))]
    for n in range(4)
}
TURNED = PROJECT | {"3": [("crack", (75, 15, 85, 95)), PROJECT["3"][1]]}
FLAT = PROJECT | {"3": [("crack", (40, 50, 120, 60)), PROJECT["3"][1]]}
"""YOLO has no place for the turn: datumaro itself writes the box as if it were upright."""


@pytest.mark.parametrize(
    ("file", "boxes", "backgrounds", "unreviewed"),
    [
        ("label_studio.json", PROJECT | {"4": []}, 1, 3),
        ("label_studio_converter_coco.json", PROJECT, 0, 4),
        ("label_studio_converter_yolo.zip", PROJECT, 0, 4),
        ("datumaro_coco.zip", TURNED, 0, 2),
        ("datumaro_yolo.zip", FLAT, 0, 2),
        ("datumaro_yolo_ultralytics.zip", FLAT, 0, 2),
        ("datumaro_voc.zip", TURNED, 0, 0),
        ("datumaro_json.zip", TURNED, 0, 2),
        ("datumaro_cvat.zip", FLAT, 0, 2),
        ("cvat_images.zip", TURNED, 0, 3),
    ],
)
def test_each_tool_gives_the_boxes_of_the_project(tmp_path, file, boxes, backgrounds, unreviewed):
    inbox = Inbox(tmp_path)
    report = inbox.bring((WRITTEN / file).read_bytes(), name=file)
    assert (report.backgrounds, report.unreviewed) == (backgrounds, unreviewed)
    assert all("--reviewed" in problem.reason for problem in report.problems)
    as_meant(inbox.boxes(), boxes, 0.02)


def as_meant(found: dict[str, Any], boxes: dict[str, Any], off: float) -> None:
    assert set(found) == set(boxes)
    for name, expected in boxes.items():
        assert [c for c, _ in found[name]] == [c for c, _ in expected]
        for (_, xyxy), (_, wanted) in zip(found[name], expected, strict=True):
            assert xyxy == pytest.approx(wanted, abs=off)


def test_labelimg_tells_which_images_were_looked_at(tmp_path):
    inbox = Inbox(tmp_path)
    report = inbox.bring((WRITTEN / "labelimg_voc.zip").read_bytes(), name="labelimg.zip")
    as_meant(inbox.boxes(), PROJECT | {"4": []}, 0.51)  # it writes whole pixels
    assert (report.backgrounds, report.unreviewed) == (1, 1)


def test_cvat_tells_whose_it_is_since_when_and_what_a_model_drew(tmp_path):
    inbox = Inbox(tmp_path)
    report = inbox.bring((WRITTEN / "cvat_images.zip").read_bytes(), name="cvat.zip")
    assert "boxes that a model drew and nobody is known to have looked at: 1" in "\n".join(map(str, report.problems))
    (sha256,) = inbox.history().find("20241015_140000_000.jpg")
    (only,) = inbox.history().of(sha256)
    assert (only.file.tool, only.image.annotator) == ("CVAT", "ada")
    assert only.changed_at == datetime(2024, 10, 16, 8, 30, 0, 654000, tzinfo=UTC)


def test_a_correction_survives_an_older_export_of_cvat(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.bring(coco([{"bbox": [1, 1, 9, 9]}]), name="correction.json")
    inbox.bring((WRITTEN / "cvat_images.zip").read_bytes(), name="cvat.zip")
    assert inbox.boxes()["0"] == [("crack", (1, 1, 10, 10))]
    assert len(inbox.boxes()["1"]) == 2
