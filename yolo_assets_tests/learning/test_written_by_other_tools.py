"""Files that Label Studio's converter and datumaro (as CVAT) wrote of one project give that project's boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets_tests.learning.label_inbox import Inbox

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
    ],
)
def test_each_tool_gives_the_boxes_of_the_project(tmp_path, file, boxes, backgrounds, unreviewed):
    inbox = Inbox(tmp_path)
    report = inbox.bring((WRITTEN / file).read_bytes(), name=file)
    assert (report.backgrounds, report.unreviewed) == (backgrounds, unreviewed)
    assert all("--reviewed" in problem.reason for problem in report.problems)
    found = inbox.boxes()
    assert set(found) == set(boxes)
    for name, expected in boxes.items():
        assert [c for c, _ in found[name]] == [c for c, _ in expected]
        for (_, xyxy), (_, wanted) in zip(found[name], expected, strict=True):
            assert xyxy == pytest.approx(wanted, abs=0.02)
