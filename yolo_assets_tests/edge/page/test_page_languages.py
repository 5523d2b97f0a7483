"""The page in the language of whoever looks: English, Chinese, and a file of the plant; nothing is left in English."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.agent import Page
from yolo_assets.edge.http.texts import PAGE, PageTexts
from yolo_assets_tests.edge.page.conftest import OpenPage, camera, moving_blobs
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant

SOURCES = Path(__file__).parents[3] / "yolo_assets"
CLOCK = {"start": "2026-01-02T05:00:00Z", "speed": 1}
NAMES = {"crack": {"en": "Crack", "zh": "裂纹", "de": "Riss"}, "porosity": "Pore", "undercut": "Kerbe"}
SIGNS = {"B", "kB", "MB", "GB", "TB", "UTC", "GPU", "p99", "yolo", "assets"}
"""Latin letters that the Chinese page may have, besides names that the plant gave."""

OWN = re.compile(
    r"/tmp/[\w/-]+|\b(?:(?:lineA_)?cam\d+|box1|line(?:/\d)?|stable|rule\d|crak|crack|porosity|undercut|Pore|Kerbe|"
    r"L1|S7|onnxruntime cpu f32|test|serve \d|127\.0\.0\.1|v?\d[\d.]*\w*)\b"
)
"""Names that this plant gave."""

# All that a person reads or is read aloud: text that is seen, labels, titles, placeholders, and the title of the page.
TEXTS = """() => {
  const found = [document.title];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (["SCRIPT", "NOSCRIPT", "OPTION"].includes(parent.tagName) || !parent.checkVisibility()) continue;
    found.push(walker.currentNode.textContent);
  }
  for (const node of document.querySelectorAll("[aria-label], [title], [placeholder]"))
    for (const name of ["aria-label", "title", "placeholder"])
      if (node.getAttribute(name)) found.push(node.getAttribute(name));
  return found.map((text) => text.trim()).filter(Boolean);
}"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plant, AgentProcess]]:
    """An agent with something to say in every part of its page."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    for version in "12":
        plant.register(version, display_names=NAMES)
    plant.promote("1", unjudged=True)
    blobs = moving_blobs(plant.root / "blobs")
    cameras = [
        camera("cam1", blobs, fps=8, mask={"polygons": [[[0, 0], [0.1, 0], [0.1, 0.1]]]}),
        {"kind": "simulated", "camera_ids": ["lineA_cam02"], "fps": 4, "clock": CLOCK},
        camera("cam3", moving_blobs(plant.root / "gone"), fps=5),
    ]
    alarms: list[dict[str, Any]] = [
        {"name": "rule1", "classes": ["crack"], "cameras": ["cam1"], "severity": "critical"},
        {"name": "rule2", "classes": ["crak"]},
    ]
    agent = AgentProcess(plant.config_file(cameras, alarms=alarms))
    try:
        agent.wait_for(lambda status: status["fps"] > 0 and status["outputs"]["alarms"])
        assert agent.request("/v1/cameras/cam1/batch", "PUT", TOKEN, {"batch_id": "L1", "part_id": "S7"})[0] == 200
        plant.promote("2")
        agent.wait_for(lambda status: status["model"]["version"] == "line/2")
        assert agent.request("/v1/rollback", "POST", TOKEN)[0] == 200
        (plant.root / "gone").rename(plant.root / "away")
        agent.wait_for(lambda status: status["cameras"]["cam3"]["state"] in ("failed", "reconnecting"))
        yield plant, agent
    finally:
        agent.stop()


def english_words(text: str) -> list[str]:
    """Latin words that are neither a sign nor a name of this plant."""
    plain = OWN.sub("", text)
    return [word for word in re.findall(r"[A-Za-z]{2,}", plain) if word not in SIGNS]


def test_no_english_is_left_on_the_chinese_page(busy: tuple[Plant, AgentProcess], open_page: OpenPage) -> None:
    page = open_page(busy[1].url, locale="zh-CN")
    page.wait_for_selector('[data-camera="cam1"] .badge.word:text-is("实时")')
    page.wait_for_selector("#history li.rolled_back")
    page.wait_for_selector("#history li.changed:has-text('L1'):has-text('cam1 前的批次')")
    page.wait_for_selector("#standing li:has-text('严重：cam1 上的 rule1')")
    page.wait_for_selector('[data-camera="cam1"] .chips b:has-text("裂纹")')
    page.wait_for_selector('[data-camera="cam1"] .rates:has-text("批次 L1 · 工件 S7 · 隐私遮罩")')
    page.wait_for_selector('[data-camera="lineA_cam02"] .badge.simulated:text-is("模拟")')
    page.wait_for_selector("#states li:has-text('已锁定')")
    assert page.locator("html[lang=zh]").count() == 1
    texts: list[str] = page.evaluate(TEXTS)
    page.locator("#pin").click()
    page.wait_for_selector("#dialog[open]")
    texts += page.evaluate(TEXTS)
    left = {text: words for text in texts if (words := english_words(text))}
    assert not left, "\n".join(left)
    assert len(texts) > 80


def test_the_language_is_the_browsers_until_one_is_chosen(
    busy: tuple[Plant, AgentProcess], open_page: OpenPage
) -> None:
    page = open_page(busy[1].url, locale="fr-FR")  # nobody has written French texts
    page.wait_for_selector('[data-camera="cam1"] .badge.word:text-is("live")')
    page.wait_for_selector('[data-camera="cam1"] .chips b:has-text("Crack")')
    assert page.locator("#language option").all_inner_texts() == ["English", "中文"]
    page.locator("#language").select_option(label="中文")
    page.wait_for_selector('[data-camera="cam1"] .badge.word:text-is("实时")')
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector("#lamp-text:text-is('未就绪')")
    assert page.evaluate("localStorage.getItem('language')") == "zh"


def test_a_plants_own_texts_come_first_and_english_fills_in(
    busy: tuple[Plant, AgentProcess], open_page: OpenPage, tmp_path: Path
) -> None:
    cameras = {"one": "{n} Kamera", "other": "{n} Kameras"}
    own = {"language": "Deutsch", "seen.live": "läuft", "fps.cameras": cameras, "said.no_picture": "{n} s kein Bild"}
    path = tmp_path / "de.yaml"
    path.write_text(yaml.safe_dump(own))
    document = PageTexts(Page(language="de", texts=path)).document()
    page = open_page("about:blank", locale="de-DE")
    page.route("**/page/texts.json", lambda route: route.fulfill(json=document))
    page.goto(busy[1].url, wait_until="domcontentloaded")
    page.wait_for_selector('[data-camera="cam1"] .badge.word:text-is("läuft")')
    page.wait_for_selector("#fps-note:text-is('3 Kameras')")
    page.wait_for_selector('[data-camera="cam1"] .chips b:has-text("Riss")')
    assert page.locator("#model-title").inner_text() == "Serving model"
    assert page.locator("html[lang=de]").count() == 1
    numbers = page.evaluate(
        "import('/page/texts.js').then((it) => [it.number(1234.5, 1), it.day('2026-01-02T03:04:05Z')])"
    )
    assert numbers == ["1.234,5", "2. Jan. 2026, 03:04:05 UTC"]


def test_what_nobody_judged_is_seen_from_two_metres(busy: tuple[Plant, AgentProcess], open_page: OpenPage) -> None:
    """Letters of 28 px are 5 mm high on a usual screen of 24 inches: the size that is read at two metres."""
    page = open_page(busy[1].url, width=1920, height=1080)
    page.wait_for_selector("#states li.warn:has-text('not judged')")
    size = "(selector) => parseFloat(getComputedStyle(document.querySelector(selector)).fontSize)"
    assert page.evaluate(size, "#states li.loud") >= 28
    frozen = {"state": "frozen", "message": "", "last_result_age_s": 0.1}

    def answer(route: Any) -> None:
        status = route.fetch().json()
        status["cameras"]["cam1"] |= frozen
        route.fulfill(json=status)

    page.route("**/v1/status", answer)
    page.wait_for_selector('[data-camera="cam1"] .badge.word.bad:text-is("frozen")')
    assert page.locator('[data-camera="cam1"] .veil').inner_text() == "frozen: the same picture for too long"
    assert page.evaluate(size, '[data-camera="cam1"] .veil') >= 28


def shipped(language: str) -> dict[str, Any]:
    return json.loads((PAGE / f"{language}.json").read_text())


def fields(text: Any) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", json.dumps(text)))


def test_catalogues_have_the_same_keys_and_fields() -> None:
    english, chinese = shipped("en"), shipped("zh")
    assert list(english) == list(chinese)
    assert {key: fields(text) ^ fields(chinese[key]) for key, text in english.items()} == {
        key: set() for key in english
    }


def test_every_text_is_used_and_every_text_used_is_there() -> None:
    source = "".join(path.read_text() for path in [*PAGE.glob("*.js"), PAGE / "index.html"])
    english = shipped("en")
    used = set(re.findall(r'"([a-z]+(?:\.[A-Za-z_0-9]+)+)"', source)) | {
        "alarm",
        "output",
        "comma",
        "step",
        "figures",
        "alarms",
        "theme",
        "language",
    }
    groups = {*re.findall(r'word\("([a-z]+)"', source), "said", "archiver", "unit"}
    assert {
        key for key in used if not key.endswith((".js", ".json")) and key.split(".")[0] not in {"application", "image"}
    } <= set(english)
    assert {key for key in english if key not in used and key.split(".")[0] not in groups} == set()
    seen = re.sub(r"<noscript>.*?</noscript>|<title>.*?</title>|<[^>]*>|&nbsp;", "", (PAGE / "index.html").read_text())
    assert re.findall(r"[A-Za-z]{3,}", seen) == []


def test_sentences_of_the_agent_are_written_as_it_says_them() -> None:
    """What an agent says in other words is not translated: each piece of a known sentence is in its sources."""
    source = "".join(path.read_text() for path in sorted(SOURCES.rglob("*.py")))
    source = re.sub(r'"\n\s*f?"', "", source)
    lost = {
        key: piece
        for key, text in shipped("en").items()
        if key.startswith("said.") and not key.startswith("said.errno")
        for part in re.split(r"\{\w+\}|[:;,(]", text)
        if (piece := part.strip().removesuffix(" for").strip()) and piece not in source
    }
    assert lost == {}


def test_what_a_file_of_texts_has_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "de.yaml"
    path.write_text(
        "lamp.running: läuft\nlamp.runing: läuft\nmodel.release: '{n}. Release {nmuber}'\nfps.cameras: {one: eine}\n"
        "theme: [hell]\n"
    )
    texts = PageTexts(Page(language="de", texts=path))
    assert texts.languages["de"] == {"lamp.running": "läuft"}
    told = "\n".join(texts.problems)
    assert "no text 'lamp.runing'" in told and "{nmuber}; it has {n}" in told
    assert "fps.cameras is neither" in told and "theme is neither" in told and len(texts.problems) == 4
    for words, given in (
        ("there are en, zh", Page(language="de")),
        ("cannot read", Page(language="de", texts=tmp_path / "none")),
    ):
        with pytest.raises(BadInputError, match=words):
            PageTexts(given)
    path.write_text("- a list\n")
    with pytest.raises(BadInputError, match="no list of texts"):
        PageTexts(Page(language="de", texts=path))
    with pytest.raises(ValueError, match="texts needs language"):
        Page(texts=path)
