"""The report stands alone, describes what it shows, and holds no markup from outside."""

from __future__ import annotations

import base64
import subprocess
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from pypdf import PdfReader

from yolo_assets.contracts.text import plain
from yolo_assets.evidence import report
from yolo_assets.evidence.drawing import draw
from yolo_assets.evidence.lettering import Fonts
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.evidence.evidence_world import (
    HEIGHT,
    START,
    STEM,
    WIDTH,
    Plant,
    detection,
    picture,
    record_line,
)

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and keeps texts, elements and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def pdf_text(folder: Path) -> list[str]:
    return [page.extract_text() for page in PdfReader(folder / "report.pdf").pages]


def printed(folder: Path) -> str:
    """The text of the PDF as poppler reads it."""
    command = ["pdftotext", "-layout", str(folder / "report.pdf"), "-"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_the_page_stands_alone_and_shows_every_frame(sound: tuple[Plant, Path]) -> None:
    _, folder = sound
    page = Page((folder / "report.html").read_text())
    assert not {"script", "link", "iframe", "object", "form"} & set(page.elements)
    for address in page.addresses:
        assert address.startswith("data:image/jpeg;base64,") or (folder / address).is_file(), address
    pictures = [address for address in page.addresses if address.startswith("data:")]
    assert len(pictures) == 2
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (HEIGHT, WIDTH, 3) and (np.ptp(shown.astype(int), axis=2) > 60).any()
    for text in ("2 frames with 2 records", "2026-01-02 03:00:03.000 UTC", "line/1", "Audit 17", "A. Berg", "0.650"):
        assert text in " ".join(page.text.split())


def test_the_pdf_has_the_same_content_on_numbered_pages(sound: tuple[Plant, Path]) -> None:
    plant, folder = sound
    pages = pdf_text(folder)
    whole = " ".join(" ".join(pages).split())
    for number, text in enumerate(pages, 1):
        assert f"{number} / {len(pages)}" in text and plant.office.key_id in text
    for name in ("20260102_030000_000.jpg", "20260102_030003_000.jpg"):
        assert f"frames/{STEM}/{name}" in whole
    for text in (
        "2 frames with 2 records",
        "2026-01-02 03:00:03.000 UTC",
        "line/1",
        "Audit 17",
        "What they do not prove",
    ):
        assert text in whole
    about = PdfReader(folder / "report.pdf").xmp_metadata
    assert about is not None and about.xmp_create_date is not None and about.xmp_create_date.year == 2026


HOSTILE = "<script>alert(1)</script>\u202egnp.\x1b[31m &amp; 裂纹 'x' \"y\" {{7*7}}"


def test_no_text_from_outside_gets_into_the_markup(plant: Plant) -> None:
    name = "20260102_030001_000.jpg"
    line = record_line(name, detection(HOSTILE), batch_id=HOSTILE, model_version=HOSTILE, device_id=HOSTILE)
    plant.foreign({name: picture(1), "r.ndjson": line})
    plant.make(plant.folder / "pack", class_name=HOSTILE, batch=HOSTILE)
    text = (plant.folder / "pack" / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.elements and "\u202e" not in text and "\x1b" not in text
    assert plain(HOSTILE) in page.text and "{{7*7}}" in page.text
    whole = " ".join(" ".join(pdf_text(plant.folder / "pack")).split())
    assert "<script>alert(1)</script>" in whole and "裂纹" in printed(plant.folder / "pack") and "\u202e" not in whole
    assert plain("a\u202eb\x00") == "a\\u202eb\\x00"


def test_a_page_shows_a_bounded_number_of_pictures(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("report", "pdf"):
        monkeypatch.setattr(f"yolo_assets.evidence.{module}.PICTURES", 2)
    plant.hour(frames=5)
    plant.make(plant.folder / "pack")
    text = (plant.folder / "pack" / "report.html").read_text()
    page = Page(text)
    assert sum(address.startswith("data:") for address in page.addresses) == 2
    whole = "".join(pdf_text(plant.folder / "pack")).replace("\n", "").replace(" ", "")
    for second in range(5):
        path = f"frames/{STEM}/20260102_03000{second}_000.jpg"
        assert path in page.text and path in whole
    assert "The first 2 findings are shown with their picture" in page.text


def test_many_detections_are_cut_short_in_the_report_alone(plant: Plant) -> None:
    plant.hour(frames=1, detections=[detection("crack", 0.9, (i, i, i + 9, i + 9)) for i in range(report.ROWS + 7)])
    made = plant.make(plant.folder / "pack", end=START + timedelta(seconds=1))
    assert made.counts.detections == report.ROWS + 7
    assert "and 7 more detections, in findings.ndjson" in (plant.folder / "pack" / "report.html").read_text()


def test_a_picture_that_claims_to_be_gigantic_is_not_decoded(plant: Plant) -> None:
    data = bytearray(picture(1))
    head = data.find(b"\xff\xc0")
    data[head + 5 : head + 9] = (65_000).to_bytes(2, "big") * 2
    name = "20260102_030001_000.jpg"
    plant.foreign({name: bytes(data), "r.ndjson": record_line(name, detection())})
    made = plant.make(plant.folder / "pack")
    assert made.counts.not_drawable == 1 and "65000 x 65000 pixels" in made.problems[0].reason
    assert not (plant.folder / "pack" / "annotated").exists()


def test_drawing_changes_a_copy_and_takes_boxes_from_anywhere() -> None:
    from yolo_assets.contracts.detection import Detection

    original = decode_image(picture(1), "it")
    kept = original.copy()
    boxes = [(-9e9, -9e9, 9e9, 9e9), (500, 500, 600, 600), (5, 5, 5, 5), (0, 0, 0.4, 0.4)]
    found = [Detection.model_validate(detection(name, 0.5, box)) for name, box in zip("abcd", boxes, strict=True)]
    placed = [(item, item.bbox) for item in found]
    drawn = draw(original, placed, ["a", "b"], Fonts())
    assert (original == kept).all() and drawn.shape == original.shape and (drawn != original).any()
    assert draw(original, [], [], Fonts()) is not original
