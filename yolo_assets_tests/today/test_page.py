"""The wall page: signs and words beside colours, both languages, nothing from outside, and it says when it is old."""

from __future__ import annotations

import os
import re
import shutil
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from playwright.sync_api import Page, sync_playwright

from yolo_assets.contracts.times import Hour
from yolo_assets.contracts.wording import Language
from yolo_assets.today.page import page
from yolo_assets.today.summary import WORST_FIRST, Failure, PlantFacts, ReasonKey, summarise
from yolo_assets.today.wording import TodayWording
from yolo_assets_tests.today.screenshot import plant

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOT = Path(__file__).parents[2] / "docs" / "today.webp"


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a Chromium")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_page(viewport={"width": 1920, "height": 1080})
        browser.close()


def test_a_long_path_is_cut_before_what_to_do_is() -> None:
    path = f"/srv/{'deep/' * 60}end.tar.gz"
    shown = TodayWording("en").shown(f"{path} is in the way; remove it")
    assert shown.endswith("deep/end.tar.gz is in the way; remove it") and shown.startswith("…") and len(shown) < 80


@pytest.mark.parametrize("language", get_args(Language))
def test_the_page_in_a_browser(language: Language, browser_page: Page, tmp_path: Path) -> None:
    requests: list[str] = []
    errors: list[str] = []
    browser_page.on("request", lambda request: requests.append(request.url))
    browser_page.on("pageerror", lambda error: errors.append(str(error)))
    file = tmp_path / f"today-{language}.html"
    file.write_bytes(page(plant(datetime.now(UTC)), language))
    browser_page.goto(file.as_uri())
    assert requests == [file.as_uri()] and not errors, "it needs nothing else"
    words = TodayWording(language)
    assert browser_page.locator(".wrong li").count() == 4 and browser_page.locator(".well li").count() == 8
    for status in ("absent", "failed", "late"):
        card = browser_page.locator(f".wrong .{status}").first
        assert words.text(status) in card.inner_text().replace(words.text(status).upper(), words.text(status))
        assert card.locator("svg use").get_attribute("href") == f"#{status}"
    sentence = browser_page.locator(".wrong .failed p").first
    assert "403 Forbidden" in sentence.inner_text()
    assert sentence.evaluate("node => parseFloat(getComputedStyle(node).fontSize)") >= 28, "read from five metres"
    assert browser_page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser_page.locator("#stale").is_hidden()
    file.write_bytes(page(plant(datetime.now(UTC) - timedelta(minutes=11)), language))
    browser_page.goto(file.as_uri())
    assert browser_page.locator("#stale").is_visible() and "11" in browser_page.locator("#stale").inner_text()


def test_the_picture_in_the_documentation_is_small() -> None:
    assert SHOT.stat().st_size < 80_000


def test_text_from_outside_cannot_break_or_turn_the_page() -> None:
    now = datetime(2026, 3, 2, 9, 42, tzinfo=UTC)
    evil = "<script>alert(1)</script>\u202e{minutes}"
    failures = (Failure(evil, evil, "1", now), Failure(evil, evil, "1", now, "cam1", Hour.of(now)))
    text = page(summarise(PlantFacts(now=now, failures=failures, unread={"the archive": evil}))).decode()
    assert "<script>alert" not in text and "\u202e" not in text
    assert text.count("&lt;script&gt;") >= 3


def test_every_status_has_a_sign_and_a_word_of_its_own() -> None:
    text = page(plant(datetime(2026, 3, 2, 9, 42, tzinfo=UTC))).decode()
    signs = {status: re.search(rf'<symbol id="{status}".*?</symbol>', text, re.DOTALL) for status in WORST_FIRST}
    shapes = [found[0].replace(status, "") for status, found in signs.items() if found]
    assert len(shapes) == len(set(shapes)) == len(WORST_FIRST)
    for language in get_args(Language):
        assert len({TodayWording(language).text(status) for status in WORST_FIRST}) == len(WORST_FIRST)


def test_both_languages_say_the_same_with_the_same_fields() -> None:
    def fields(text: str) -> set[str]:
        return {name for part in text.split("|") for _, name, _, _ in string.Formatter().parse(part) if name}

    english, chinese = dict(TodayWording("en").every()), dict(TodayWording("zh").every())
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert fields(text) == fields(chinese[key]), key
    assert {f"reason_{key}" for key in get_args(ReasonKey)} <= english.keys()
    assert re.search(r"[\u4e00-\u9fff]", "".join(chinese.values()))


def test_a_plant_without_a_camera_says_what_to_do() -> None:
    text = page(summarise(PlantFacts(now=datetime(2026, 3, 2, 9, 42, tzinfo=UTC)))).decode()
    assert "List the cameras that should be there in plant.yaml" in text
