"""The page in a real browser: boxes that move, a swap, pin and rollback by button, a lost agent, a phone."""

from __future__ import annotations

import re
import signal
import time
from typing import Any
from urllib.parse import urlsplit

import cv2
import pytest

from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.edge.page.conftest import OpenPage, camera, moving_blobs
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant, until
from yolo_assets_tests.support.played_file import PlayedFile

Staged = tuple[Plant, AgentProcess]

# Where the pixels of a class's colour are, in shares of the canvas: the frame and the label of its box.
CENTRE = """([selector, wanted]) => {
  const canvas = document.querySelector(selector);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0, x = 0, y = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    if (wanted.every((value, at) => Math.abs(pixels[i + at] - value) < 6)) {
      n += 1; x += (i / 4) % canvas.width; y += Math.floor(i / 4 / canvas.width);
    }
  }
  return n ? [n, x / n / canvas.width, y / n / canvas.height] : null;
}"""
CRACK = [0xFF, 0x5D, 0x5D]


def word(page: Any, name: str) -> str:
    return f'[data-camera="{name}"] .badge.word:text-is("{page}")'


def live(page: Any, name: str = "cam1") -> None:
    page.wait_for_selector(word("live", name))


def runs(page: Any) -> None:
    # Not wait_for_function: between its looks it evaluates text in the page, which the page's policy forbids.
    page.locator("#lamp-text").filter(has_text=re.compile("^running$", re.IGNORECASE)).wait_for()


def give_token(page: Any, token: str = TOKEN) -> None:
    page.get_by_label("Token of this device").fill(token)
    page.locator("#dialog-go").click()


def test_boxes_move_with_the_pictures(staged: Staged, open_page: OpenPage) -> None:
    page = open_page(staged[1].url)
    live(page)
    runs(page)
    places: set[tuple[float, float]] = set()
    sequences: list[int] = []
    end = time.monotonic() + 15
    while len(places) < 5:
        assert time.monotonic() < end, places
        found = page.evaluate(CENTRE, ['[data-camera="cam1"] canvas', CRACK])
        if found is not None and found[0] > 200:
            places.add((round(found[1], 1), round(found[2], 1)))
        sequences.append(int(page.locator('[data-camera="cam1"]').get_attribute("data-sequence")))
        page.wait_for_timeout(70)
    assert sequences == sorted(sequences) and sequences[-1] > sequences[0]
    chips = page.locator('[data-camera="cam1"] .chips b').all_inner_texts()
    assert set(chips) <= {"crack", "porosity"} and chips


def test_an_active_alarm_is_shown_in_words(staged: Staged, open_page: OpenPage) -> None:
    page = open_page(staged[1].url)
    page.wait_for_selector("#standing li.critical:has-text('critical: crack seen on cam2 since')")


def test_nothing_is_loaded_from_elsewhere(staged: Staged, open_page: OpenPage) -> None:
    agent = staged[1]
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(agent.url, wait_until="domcontentloaded")
    live(page)
    origins = {urlsplit(url).netloc for url in asked if not url.startswith("data:")}
    assert origins == {urlsplit(agent.url).netloc} and len(asked) > 8


def test_a_swap_a_pin_and_a_rollback(staged: Staged, open_page: OpenPage) -> None:
    """One story, on one page that is never loaded again."""
    plant, agent = staged
    page = open_page(agent.url)
    page.wait_for_selector("#model:text-is('line/1')")
    live(page)
    assert page.get_by_role("button", name="Roll back").is_disabled()
    plant.promote("2")
    page.wait_for_selector("#model:text-is('line/2')")
    page.wait_for_selector('[data-camera="cam1"][data-model="line/2"]')
    page.wait_for_selector("#states li:has-text('serving')")
    page.wait_for_selector("#history li.committed:has-text('line/1 → line/2')")
    assert "the release channel" in page.locator("#history li").first.inner_text()

    page.get_by_role("button", name="Pin", exact=True).click()
    give_token(page, "not the token")
    page.wait_for_selector("#dialog-error:has-text('not the token of this device')")
    assert page.evaluate("sessionStorage.getItem('token')") is None
    assert agent.status()["model"]["pinned"] is None
    give_token(page)
    page.wait_for_selector("#states li:has-text('pinned'):has-text('until unpinned')")
    page.wait_for_selector("#dialog", state="hidden")
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="Unpin now").click()  # the token is still there: one click
    page.wait_for_selector("#states li:has-text('pinned')", state="detached")

    page.get_by_role("button", name="Roll back to 1").click()
    page.get_by_role("button", name="Roll back now").click()
    page.wait_for_selector("#model:text-is('line/1')")
    page.wait_for_selector('[data-camera="cam1"][data-model="line/1"]')
    page.wait_for_selector("#history li.rolled_back:has-text('token holder at 127.0.0.1')")
    page.wait_for_selector("#states li:has-text('pinned'):has-text('until a release after')")
    assert agent.status()["model"]["version"] == "line/1"
    assert page.evaluate("[localStorage.length, document.cookie, location.search]") == [0, "", ""]
    results = [line["result"] for line in agent.request("/v1/audit")[1]]
    assert results.index("pinned") < results.index("unpinned") < results.index("rolled_back")


def test_an_unreachable_agent_is_never_shown_as_live(staged: Staged, open_page: OpenPage) -> None:
    """Stopped by the system: the connection stays, and nothing answers. Then it continues."""
    agent = staged[1]
    page = open_page(agent.url)
    live(page)
    live(page, "cam2")  # or it has no picture yet that could be old
    agent.process.send_signal(signal.SIGSTOP)
    try:
        page.wait_for_selector("#lost:visible", timeout=9_000)
        assert "not live" in page.locator("#lost").inner_text()
        page.wait_for_selector(word("not live", "cam1"))
        page.wait_for_selector('[data-camera="cam2"] .veil:has-text("not live")')
        assert "no connection" in page.title() and page.locator("#lamp-text").inner_text().lower() == "no connection"
        assert page.locator("#rollback").is_disabled() and page.locator("#pin").is_disabled()
        name = page.get_by_role("img", name=re.compile("^Camera cam1: not live"))
        assert name.count() == 1
    finally:
        agent.process.send_signal(signal.SIGCONT)
    page.wait_for_selector("#lost", state="hidden")
    live(page)
    assert "no connection" not in page.title()


def test_a_camera_that_falls_silent_is_not_shown_as_live(plant: Plant, open_page: OpenPage) -> None:
    """Its folder vanishes while the other continues: the old picture is veiled, and words say so."""
    plant.register("1")
    plant.promote("1")
    one, two = moving_blobs(plant.root / "one"), moving_blobs(plant.root / "two")
    agent = AgentProcess(plant.config_file([camera("cam1", one, fps=8), camera("cam2", two, fps=8)]))
    try:
        agent.wait_for(lambda status: status["ready"])
        page = open_page(agent.url)
        live(page, "cam1")
        live(page, "cam2")
        two.rename(plant.root / "gone")
        page.wait_for_selector('[data-camera="cam2"] .veil:not(:empty)', timeout=12_000)
        assert page.locator('[data-camera="cam2"] .badge.word').inner_text().lower() != "live"
        live(page, "cam1")
    finally:
        agent.stop()


def test_a_frozen_camera_says_so_everywhere_and_recovers(plant: Plant, open_page: OpenPage) -> None:
    plant.register("1")
    plant.promote("1")
    file = plant.root / "stream.mjpeg"
    moving = [decode_image(path.read_bytes(), path.name) for path in sorted(moving_blobs(plant.root / "b").iterdir())]
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in moving]
    file.write_bytes(jpegs[0])
    played = PlayedFile(file, fps=8)
    stream = {"kind": "stream", "camera_id": "cam1", "url": played.url, "frozen_after_s": 3}
    agent = AgentProcess(plant.config_file([stream]))
    try:
        page = open_page(agent.url)
        status = agent.wait_for(lambda status: status["ready"] and status["cameras"]["cam1"]["state"] == "frozen")
        assert status["cameras"]["cam1"]["message"].startswith("the same picture for ")
        page.wait_for_selector(word("frozen", "cam1"))
        assert "frozen: the same picture for" in page.locator('[data-camera="cam1"] .veil').inner_text()
        assert b'yolo_edge_camera_frozen{camera="cam1"} 1.0' in agent.request("/metrics")[1]
        seen = status["totals"]["processed"]
        agent.wait_for(lambda status: status["totals"]["processed"] >= seen + 6)
        played.show(b"".join(jpegs))
        agent.wait_for(lambda status: status["cameras"]["cam1"]["state"] == "live")
        live(page)
        assert page.locator('[data-camera="cam1"] .veil').inner_text() == ""
        assert b'yolo_edge_camera_frozen{camera="cam1"} 0.0' in agent.request("/metrics")[1]
    finally:
        agent.stop()
        played.close()
    marked = [record["quality"].get("frozen", False) for record in plant.records()]
    assert marked[0] is False and marked[-1] is False and marked.count(True) > 3


def test_lots_masks_and_warnings_are_on_the_page(plant: Plant, open_page: OpenPage) -> None:
    plant.register("1")
    plant.promote("1")
    mask = {"polygons": [[[0, 0], [0.2, 0], [0.2, 0.2]]]}
    cameras = [camera("cam1", moving_blobs(plant.root / "one"), fps=8, mask=mask)]
    agent = AgentProcess(plant.config_file(cameras, alarms=[{"name": "misspelt", "classes": ["krack"]}]))
    try:
        agent.wait_for(lambda status: status["ready"])
        body = {"batch_id": "LOT-118", "part_id": "SN-7"}
        assert agent.request("/v1/cameras/cam1/batch", "PUT", TOKEN, body)[0] == 200
        page = open_page(agent.url)
        live(page, "cam1")
        page.wait_for_selector('[data-camera="cam1"] .rates:has-text("batch LOT-118 · part SN-7 · privacy mask")')
        page.wait_for_selector("#alarm.warn:has-text('misspelt')")
        runs(page)
    finally:
        agent.stop()


def test_a_picture_that_is_not_renewed_is_not_shown_as_live(staged: Staged, open_page: OpenPage) -> None:
    """Results come and their pictures do not reach this page: what is shown is old, whatever the camera does."""
    page = open_page(staged[1].url)
    live(page, "cam1")
    page.route("**/latest?*", lambda route: route.abort())
    page.wait_for_selector('[data-camera="cam1"] .veil:has-text("the picture is")')
    assert page.locator('[data-camera="cam1"] .badge.word').inner_text().lower() == "not live"
    page.unroute("**/latest?*")
    live(page, "cam1")


def test_from_another_machine_the_page_asks_for_the_token(staged: Staged, open_page: OpenPage) -> None:
    page = open_page(staged[1].url, headers={"X-Forwarded-For": "10.1.2.3"})  # as a proxy on this machine says
    page.wait_for_selector("#dialog:has-text('another machine')")
    assert page.locator(".camera").count() == 0
    give_token(page)
    live(page)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1600, 1000), (820, 1180), (390, 844), (320, 640)])
def test_it_fits_every_screen(staged: Staged, open_page: OpenPage, width: int, height: int) -> None:
    page = open_page(staged[1].url, width=width, height=height)
    live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= width
    if width >= 1600:  # what matters is seen without scrolling
        for selector in ('[data-camera="cam2"] .caption.small', "#states", "#fps", "#disk"):
            box = page.locator(selector).bounding_box()
            assert box["y"] + box["height"] <= height, selector
        assert float(page.evaluate("parseFloat(getComputedStyle(document.querySelector('#fps')).fontSize)")) >= 40


CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const back = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour.startsWith("rgb(")) return numbers(colour);
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const selector of ["#model", "#model-note", "#fps", "#fps-note", ".caption h3", ".caption.small",
                          "#history .reason", "#rollback", "#pin", ".figure h2"]) {
    const node = document.querySelector(selector);
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(back(node))].sort((x, y) => y - x);
    found[selector] = (a + 0.05) / (b + 0.05);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_dark_and_light_can_be_read_and_chosen(staged: Staged, open_page: OpenPage, scheme: str) -> None:
    page = open_page(staged[1].url, scheme=scheme)
    live(page)
    page.wait_for_selector("#history .reason")
    assert {name: ratio for name, ratio in page.evaluate(CONTRAST).items() if ratio < 4.5} == {}
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate(colour) != before
    page.reload(wait_until="domcontentloaded")
    assert page.evaluate(colour) != before  # kept


def test_keyboard_and_screen_reader(staged: Staged, open_page: OpenPage) -> None:
    page = open_page(staged[1].url)
    live(page)
    assert page.get_by_role("img", name=re.compile("^Camera cam1: live, (crack|porosity)")).count() == 1
    assert page.get_by_role("status").count() == 1 and page.locator("html[lang=en]").count() == 1
    names = {heading.inner_text() for heading in page.get_by_role("heading").all()}
    assert {"box1", "cam1", "cam2", "Serving model", "Every frame", "Who changed what"} <= names
    page.locator("body").focus()
    reached: list[str] = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "pin", "history"} <= set(reached)
    page.locator("#pin").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#dialog[open]")
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.press("Escape")
    page.wait_for_selector("#dialog", state="hidden")
    assert page.evaluate("document.activeElement.id") == "pin"


def test_live_streams_are_for_so_many_viewers(staged: Staged, browser: Any) -> None:
    """A browser shows the MJPEG stream as a picture that changes; the ninth viewer is told to wait."""
    import http.client

    agent = staged[1]
    address = urlsplit(agent.url)
    viewers: list[http.client.HTTPConnection] = []
    try:
        for _ in range(8):
            viewer = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
            viewer.request("GET", "/v1/cameras/cam1/live")
            answer = viewer.getresponse()
            assert answer.status == 200 and answer.headers["content-type"].startswith("multipart/x-mixed-replace")
            assert answer.read(7) == b"--frame"
            viewers.append(viewer)
        status, problem = agent.request("/v1/cameras/cam1/live")
        assert status == 503 and "listen.viewers" in problem["detail"]
        assert b"yolo_edge_viewers 8.0" in agent.request("/metrics")[1]
    finally:
        for viewer in viewers:
            viewer.close()
    end = time.monotonic() + 10
    while b"yolo_edge_viewers 0.0" not in agent.request("/metrics")[1]:
        assert time.monotonic() < end, "viewers that left are still counted"
        time.sleep(0.1)
    context = browser.new_context()
    page = context.new_page()
    page.goto(agent.url + "page/icon.svg", wait_until="commit")
    page.goto(agent.url + "v1/cameras/cam1/live", wait_until="commit")
    # Not wait_for_function: between its looks it evaluates text in the page, which the page's policy forbids.
    until(lambda: page.evaluate("document.images.length && document.images[0].naturalWidth === 480"))
    context.close()
