"""The pages over a real spool, archive and tables: what they show, where they lead, what they refuse."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BytesIO
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from yolo_assets.contracts.names import annotation_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.config.agent import Listen
from yolo_assets.learning.records import BatchItem, BatchManifest, Prediction, Reason
from yolo_assets.pages.app import new_app
from yolo_assets.pages.links import PageLinks
from yolo_assets.pages.places import Places
from yolo_assets.pages.samples import drawn, picture_of, sample_frames
from yolo_assets.storage import open_store
from yolo_assets_tests.pages.simulated_hour import make_hour

HOUR = Hour.from_key("20260301_02")
LINKS = PageLinks("")
BOX = 30
"""How much a drawn box changes a pixel's colour at least."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two cameras: cam01 is archived and reclaimed, cam02 still in the spool."""
    found = Settings(home=tmp_path_factory.mktemp("home"))
    make_hour(found, HOUR)
    return found


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(new_app(Places.of(settings), Listen()), base_url="http://localhost") as opened:
        yield opened


def test_boxes_are_drawn_where_the_table_has_them(settings: Settings) -> None:
    places = Places.of(settings)
    for camera in ("lineA_cam01", "lineA_cam02"):
        frames = sample_frames(places.store, HOUR, camera)
        assert len(frames) == 3 and all(frame.record.detections for frame in frames)
        data = picture_of(frames[0], settings.spool, places.archive)
        shown = drawn(frames[0], data)
        plain = Image.open(BytesIO(data)).convert("RGB")
        assert shown.shape[:2] == (plain.height, plain.width)
        x1, y1, x2, y2 = frames[0].record.detections[0].bbox
        for x, y in ((x1, (y1 + y2) / 2), ((x1 + x2) / 2, y2)):
            left, top = min(round(x), plain.width - 1), min(round(y), plain.height - 1)
            before, after = plain.getpixel((left, top)), shown[top, left, ::-1].tolist()
            assert isinstance(before, tuple)
            assert max(abs(a - b) for a, b in zip(before, after, strict=True)) > BOX


def test_every_link_of_every_page_leads_somewhere(client: TestClient) -> None:
    seen, waiting = {"/today"}, {"/", LINKS.hour(HOUR)}
    other_hour = re.compile(rf"/hours/(?!{HOUR.key})")
    while waiting:
        path = waiting.pop()
        if path.startswith("/lineage/") and any(one.startswith("/lineage/") for one in seen):
            continue  # one of the frames is enough
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        if answer.headers["content-type"].startswith("text/html"):
            links = (answer.url.join(link) for link in re.findall(r'(?:href|src)="([^"]+)"', answer.text))
            found = {str(link).removeprefix("http://localhost").partition("#")[0] for link in links}
            waiting |= {link for link in found if not other_hour.match(link)} - seen
    kinds = {path.rpartition(".")[2] for path in seen}
    assert {"webp", "jpg", "parquet", "json", "gz", "css"} <= kinds
    assert LINKS.camera(HOUR, "lineA_cam01") in seen and any(path.startswith("/lineage/") for path in seen)


def test_the_front_page_says_which_of_the_last_hours_are_archived(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.pages.documents.utc_now", lambda: HOUR.next(2).start)
    shown = re.findall(r"(\d\d:00)</a> (\w+) archived", client.get("/").text)
    assert shown[:3] == [("03:00", "nothing"), ("02:00", "1"), ("01:00", "nothing")] and len(shown) == 24


def test_sheets_are_small_pictures_that_the_ui_may_show(client: TestClient) -> None:
    for path in (LINKS.sheet(HOUR), LINKS.sheet(HOUR, "lineA_cam02")):
        answer = client.get(path)
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        picture = Image.open(BytesIO(answer.content))
        assert picture.format == "WEBP" and picture.height == 178 and len(answer.content) < 40_000
    assert picture.width == 3 * 208 + 2 * 4


def test_a_picture_that_is_gone_is_told_in_its_place(settings: Settings, client: TestClient) -> None:
    folder = settings.spool / "lineA_cam02"
    folder.rename(folder.with_name("away"))
    try:
        assert client.get(LINKS.sheet(HOUR, "lineA_cam02")).status_code == 200
        name = sample_frames(Places.of(settings).store, HOUR, "lineA_cam02")[0].name
        answer = client.get(LINKS.frame(HOUR, "lineA_cam02", name))
        assert answer.status_code == 404 and "neither in the spool nor in the archive" in answer.text
    finally:
        folder.with_name("away").rename(folder)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/hours/20261327_99",
        "/hours/today",
        "/hours/20260301_03",
        "/hours/20260301_02/..%2f..%2fetc/samples.webp",
        "/hours/20260301_02/lineA_cam02/frames/..%2f..%2f..%2fkeys%2farchiver",
        "/objects/home/keys/archiver",
        "/objects/store/..%2fkeys%2farchiver",
        "/objects/store/%2e%2e/keys/archiver",
        "/models/line/none",
        "/models/..%2f..%2fkeys/archiver",
    ],
)
def test_what_is_not_there_is_one_sentence(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and "<p>" in answer.text and "PRIVATE KEY" not in answer.text


def test_nothing_can_be_changed_and_no_other_name_is_answered(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert client.request(method, LINKS.hour(HOUR)).status_code == 405
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_a_file_that_people_put_there_cannot_run_in_the_page(settings: Settings, client: TestClient) -> None:
    store = open_store(settings.store_url)
    store.put("labels/inbox/evil.html", b"<script>alert(1)</script>")
    store.put("labels/inbox/<b>evil</b>.json", b"{}")
    answer = client.get(LINKS.stored("store", "labels/inbox/evil.html"))
    assert answer.headers["content-disposition"] == "attachment" and "html" not in answer.headers["content-type"]
    listing = client.get(LINKS.stored("store", "labels/inbox/"))
    assert "&lt;b&gt;evil" in listing.text and "default-src 'none'" in listing.headers["content-security-policy"]


def test_pages_read_and_leave_no_trace(tmp_path: Path) -> None:
    places = Places.of(Settings(home=tmp_path))
    with TestClient(new_app(places, Listen()), base_url="http://localhost") as client:
        for path in ("/", LINKS.hour(HOUR), LINKS.stored("store", "")):
            answer = client.get(path)
            assert answer.status_code == 503 and "does not exist; mount it" in answer.text
    assert os.listdir(tmp_path) == []


def test_the_sheet_of_a_batch_shows_each_reason_with_its_boxes(client: TestClient, settings: Settings) -> None:
    store = open_store(settings.store_url)
    reasons: list[Reason] = [*repeat("uncertain", 40), "rare", "novel"]
    items: list[BatchItem] = []
    for number, reason in enumerate(reasons):
        grey = number if reason == "uncertain" else 200
        picture = cv2.imencode(".png", np.full((120, 160, 3), grey, np.uint8))[1].tobytes()
        store.put(annotation_key("batch-1", f"images/{number}.png"), picture)
        box = Prediction.model_validate({"bbox": (20, 20, 90, 90), "class": "crack", "confidence": 0.6})
        made = BatchItem(
            file=f"{number}.png",
            image_path=f"cam01/{HOUR.key}/{number}.png",
            camera_id="cam01",
            reason=reason,
            sha256=f"{number:064x}",
            width=160,
            height=120,
            predictions=(box,),
        )
        items.append(made)
    manifest = BatchManifest(batch="batch-1", class_names=("crack",), items=tuple(items))
    store.put(annotation_key("batch-1", "manifest.json"), manifest.to_json())
    answer = client.get(LINKS.batch_sheet("batch-1"))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/webp"
    sheet = np.asarray(Image.open(BytesIO(answer.content)).convert("L"))
    assert sheet.shape[0] == 8 * (156 + 22), "24 frames, three in a row"
    assert (sheet > 190).mean() > 0.03, "the rare and the novel frame are on it, although 40 others come first"
    assert client.get(LINKS.batch_sheet("batch-2")).status_code == 404
