"""Reports in every script and in two languages, and a PDF/A that other tools read and check."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pdf_oxide
import pikepdf
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.wording import Language
from yolo_assets.evidence import lettering
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.lettering import Fonts, packages
from yolo_assets.evidence.make import Request, make_pack
from yolo_assets.evidence.manifest import PackManifest
from yolo_assets.evidence.signing import sealed_by
from yolo_assets.evidence.verify import verify_pack
from yolo_assets.evidence.wording import PackWording
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.cli.command_line import clean_env, cli
from yolo_assets_tests.evidence.evidence_world import NOW, STEM, Plant, detection, picture, query, record_line

CJK = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
NAME = "20260102_030001_000"
SCRIPTS = {
    "chinese": "焊缝裂纹",
    "traditional": "焊縫裂紋",
    "japanese": "溶接クラック",
    "korean": "균열",
    "cyrillic": "трещина",
    "greek": "ρωγμή",
    "arabic": "شق",
    "hebrew": "סדק",
    "hindi": "दरार",
    "thai": "รอยแตก",
    "emoji": "🔥",
}
ALL = " ".join(SCRIPTS.values())


def asked(
    plant: Plant, language: Language = "en", fonts: tuple[Path, ...] = (), reason: str = "客户投诉", **more: Any
) -> tuple[PackManifest, Path]:
    pack = plant.folder / f"pack-{len(list(plant.folder.iterdir()))}"
    request = Request(query(**more), "李雷", reason, 1000, language)
    archive = Archive(plant.archive, plant.trusted)
    return make_pack(archive, None, plant.office, request, pack, fonts=fonts, now=NOW), pack


def one_frame(folder: Path, *classes: str, batch: str = "批次-7") -> Plant:
    plant = Plant(folder / "plant")
    found = [detection(name, 1.0, (10, 10 + 20 * number, 100, 25 + 20 * number)) for number, name in enumerate(classes)]
    line = record_line(f"{NAME}.jpg", *found, batch_id=batch)
    plant.foreign({f"{NAME}.jpg": picture(1), f"{NAME}.json": line})
    return plant


def printed(pack: Path, program: str = "pdftotext") -> str:
    """The text of the PDF as another program reads it."""
    command = {
        "pdftotext": ["pdftotext", "-layout", str(pack / "report.pdf"), "-"],
        "mutool": ["mutool", "draw", "-F", "text", str(pack / "report.pdf")],
    }[program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack with a class, a batch and a reason in every script."""
    plant = one_frame(tmp_path_factory.mktemp("scripts"), *SCRIPTS.values(), batch=ALL)
    made, pack = asked(plant, reason=ALL, batch=ALL)
    assert made.unprinted == "" and made.problems == ()
    return pack


@pytest.mark.parametrize("program", ["pdftotext", "mutool"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_pdf_is_read_in_every_script(script: str, program: str, scripts: Path) -> None:
    text = printed(scripts, program).replace("\u202b", "").replace("\u202c", "")
    word = SCRIPTS[script]
    shaped = script in ("hindi", "thai")  # a reader gets joined letters in the order in which they stand
    turned = program == "mutool" and word[::-1] in text  # MuPDF gives letters from left to right as they stand
    assert word in text or turned or (shaped and set(word) & set(text)), text[:2000]
    assert "\\u" not in text and "U+" not in text and "□" not in text


def test_the_fonts_of_the_pdf_are_cut_and_embedded(scripts: Path) -> None:
    listed = subprocess.run(["pdffonts", str(scripts / "report.pdf")], capture_output=True, text=True, check=True)
    fonts = [line.split() for line in listed.stdout.splitlines()[2:]]
    assert any("NotoSansCJK" in line[0] for line in fonts) and any("DejaVuSans" in line[0] for line in fonts)
    assert all("no" not in line[-5:-2] or "Type" in line for line in fonts), listed.stdout
    assert (scripts / "report.pdf").stat().st_size < 400_000  # the CJK font alone has 19 MB


@pytest.mark.parametrize("script", SCRIPTS)
def test_labels_of_every_script_are_drawn(script: str) -> None:
    """Two words of a script give two different labels, and neither is the label of an unknown character."""
    fonts = Fonts()
    word = SCRIPTS[script]
    assert fonts.shown(word) == word and fonts.missing == ()
    tile = np.asarray(fonts.picture(word, 24, (255, 255, 255)))
    boxes = np.asarray(fonts.picture("\uffff" * len(word), 24, (255, 255, 255)))
    assert tile[:, :, 3].any() and tile.shape != boxes.shape
    assert not np.array_equal(tile, np.asarray(fonts.picture("x" * len(word), 24, (255, 255, 255))))


def test_the_drawn_copy_shows_chinese_and_no_boxes(tmp_path: Path) -> None:
    """The label of a class differs from that of another one of as many letters."""
    labels: list[bytes] = []
    for number, name in enumerate(("焊缝裂纹", "表面凹陷")):
        plant = one_frame(tmp_path / str(number), name)
        _, pack = asked(plant)
        path = pack / "annotated" / STEM / f"{NAME}.jpg"
        labels.append(decode_image(path.read_bytes(), path.name)[:12, :90].tobytes())
    assert labels[0] != labels[1]


def test_the_page_brings_its_own_letters(tmp_path: Path) -> None:
    _, pack = asked(one_frame(tmp_path, "焊缝裂纹"))
    text = (pack / "report.html").read_text("utf-8")
    (data,) = re.findall(r"font/woff;base64,([A-Za-z0-9+/=]+)", text)
    font = TTFont(io.BytesIO(base64.b64decode(data)))
    assert {ord(char) for char in "焊缝裂纹客户投诉李雷批次"} <= set(font.getBestCmap() or ())
    assert "焊缝裂纹" in text and "font-src data:" in text and len(data) < 100_000


# A letter that no font has is told, wherever it would have stood.


def test_a_missing_letter_is_told_in_the_report_and_nothing_is_lost(tmp_path: Path) -> None:
    plant = one_frame(tmp_path, "焊缝裂纹")
    made, pack = asked(plant, fonts=(lettering.REGULAR,))
    assert set(made.unprinted) == set("焊缝裂纹客户投诉李雷批次")
    text, page = printed(pack), (pack / "report.html").read_text("utf-8")
    assert "U+710A" in text and "U+7EB9" in text and "\\u" not in text
    for shown in (" ".join(text.split()), page):
        assert "fonts-noto-cjk" in shown and "YOLO_ASSETS_FONTS" in shown and "What could not be shown" in shown
    assert "焊缝裂纹" in page and "焊缝裂纹" in (pack / names.FINDINGS).read_text("utf-8")
    assert verify_pack(pack, TrustedKeys.of(plant.office, plant.signer)).first_difference is None


def test_a_missing_letter_is_told_on_standard_error(tmp_path: Path) -> None:
    plant = one_frame(tmp_path, "焊缝裂纹")
    asked_for = ("--camera", "cam1", "--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")
    env = {**clean_env(plant.folder), "YOLO_ASSETS_FONTS": str(lettering.REGULAR)}
    done = cli("evidence", "make", *asked_for, "--out", tmp_path / "pack", home=plant.folder, env=env)
    assert done.returncode == 0, done
    assert "焊 (U+710A)" in done.stderr and "fonts-noto-cjk" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_report_that_no_font_could_print_is_refused(tmp_path: Path) -> None:
    plant = one_frame(tmp_path, "crack")
    with pytest.raises(BadInputError, match=r"fonts-noto-cjk.*--lang en"):
        asked(plant, "zh", fonts=(lettering.REGULAR,))
    made, _ = asked(plant, "zh", fonts=(CJK,))
    assert made.unprinted == ""


def test_fonts_come_from_the_files_and_folders_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.copy(CJK, tmp_path / "deep" / "er" / "plant.ttc")
    for place in (CJK, tmp_path):
        face = Fonts([place]).face("焊")
        assert face is not None and face.number == 2  # the forms of simplified Chinese
    assert Fonts([lettering.MONO]).face("焊") is None
    with pytest.raises(BadInputError, match="no font file or folder"):
        Fonts([tmp_path / "nothing"])
    (tmp_path / "text.ttf").write_text("no font")
    with pytest.raises(BadInputError, match="is not a TrueType or OpenType font"):
        Fonts([tmp_path / "text.ttf"])
    assert Fonts([tmp_path]).face("焊") is not None  # a bad file in a folder does not hide its neighbours


@pytest.mark.parametrize(
    ("char", "package"),
    [("焊", ["fonts-noto-cjk"]), ("ก", ["fonts-noto-core"]), ("🔥", ["fonts-noto-color-emoji"]), ("\ue000", [])],
)
def test_the_package_with_a_missing_letter_is_named(char: str, package: list[str]) -> None:
    assert packages(char) == package


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_any_text_becomes_a_picture_and_no_character_is_lost(text: str) -> None:
    fonts = Fonts([lettering.REGULAR])
    tile = fonts.picture(f"{text} 0.90", 12, (255, 255, 255))
    assert tile.width > 0 and tile.height > 0
    shown = fonts.shown(text)
    for char in text:
        assert char in shown or f"U+{ord(char):04X}" in shown or ord(char) in lettering.UNSEEN


# Two languages.


def test_both_languages_have_the_same_texts_and_fields() -> None:
    texts = tomllib.loads((Path(lettering.__file__).with_name("texts.toml")).read_text("utf-8"))
    assert texts.keys() == {"en", "zh"} and texts["en"].keys() == texts["zh"].keys()
    for key, english in texts["en"].items():
        fields = [set(re.findall(r"{(\w+)}", text)) for text in (english, texts["zh"][key])]
        assert fields[0] == fields[1], key
    assert PackWording("en").text("frame", 1) == "1 frame" and PackWording("en").text("frame", 1200) == "1,200 frames"
    assert PackWording("zh").text("frame", 1) == "1 帧"


def test_a_chinese_report_is_chinese_throughout(tmp_path: Path) -> None:
    plant = one_frame(tmp_path, "焊缝裂纹")
    made, pack = asked(plant, "zh", class_name="焊缝裂纹")
    page, text = (pack / "report.html").read_text("utf-8"), printed(pack)
    visible = re.sub(r"<(style|pre|code)\b.*?</\1>|<[^>]*>", " ", page, flags=re.S)
    english = re.findall(r"[A-Za-z]{3,}(?: [a-z]{2,}){2,}", visible)
    assert made.language == "zh" and '<html lang="zh-CN">' in page and english == []
    for word in ("证据包", "客户投诉", "焊缝裂纹", "保管链", "签名不能证明什么", "1 帧，含 1 条记录、1 个检测"):
        assert word in page and word in text, word
    assert verify_pack(pack, TrustedKeys.of(plant.office, plant.signer)).first_difference is None


def test_the_language_is_an_option_and_a_setting(tmp_path: Path) -> None:
    plant = one_frame(tmp_path, "crack")
    asked_for = ("--camera", "cam1", "--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z", "--json")
    env = {**clean_env(plant.folder), "YOLO_ASSETS_LANG": "ZH"}
    told = [
        orjson.loads(cli("evidence", "make", *asked_for, *more, home=plant.folder, env=env).stdout)["language"]
        for more in (("--out", tmp_path / "one"), ("--out", tmp_path / "two", "--lang", "en"))
    ]
    assert told == ["zh", "en"]
    wrong = cli("evidence", "make", *asked_for, "--out", tmp_path / "x", "--lang", "de", home=plant.folder)
    assert wrong.returncode == 2 and "--lang" in wrong.stderr


# PDF/A-3u, by a checker that is not ours, by the structure that the standard asks for, and with what is attached.


def as_pdf_a(path: Path) -> list[str]:
    """What keeps a file from being PDF/A-3u; empty when nothing does."""
    checked = pdf_oxide.PdfDocument(str(path)).validate_pdf_a("3u")
    problems = [] if checked["valid"] else [str(error) for error in checked["errors"]] or ["not valid"]
    with pikepdf.open(path) as pdf:
        root = pdf.Root
        with pdf.open_metadata() as about:
            level = f"{about.get('pdfaid:part')}{about.get('pdfaid:conformance')}"
        problems += [] if level == "3U" else [f"it calls itself PDF/A {level}"]
        intents = [intent for intent in root.get("/OutputIntents", []) if intent.get("/S") == "/GTS_PDFA1"]
        problems += [] if intents and "/DestOutputProfile" in intents[0] else ["no output intent"]
        problems += ["encrypted"] if pdf.is_encrypted else []
        problems += [f"{key} in the catalogue" for key in ("/AA", "/AcroForm") if key in root]
        opened = root.get("/OpenAction")
        problems += ["an action at opening"] if isinstance(opened, pikepdf.Dictionary) else []  # a page is none
        problems += [] if "/ID" in pdf.trailer else ["no file identifier"]
        problems += [] if "/Lang" in root else ["no language"]
        attached = {str(spec.get("/UF")): str(spec.get("/AFRelationship")) for spec in root.get("/AF", [])}
        problems += [f"{name} is {how}" for name, how in attached.items() if how != "/Data"]
        problems += [] if attached.keys() == set(pdf.attachments.keys()) else ["attachments are not associated files"]
        for item in pdf.objects:
            if not isinstance(item, pikepdf.Dictionary):
                continue
            if item.get("/Type") == "/FontDescriptor" and not {"/FontFile2", "/FontFile3"} & set(item.keys()):
                problems.append("a font that is not embedded")
            if item.get("/Type") == "/Font" and item.get("/Subtype") != "/CIDFontType2" and "/ToUnicode" not in item:
                problems += ["a font without Unicode"] if "CIDFont" not in str(item.get("/Subtype")) else []
            problems += [f"an action {item['/S']}"] if item.get("/S") in ("/JavaScript", "/Launch") else []
    return problems


def test_the_report_is_pdf_a(scripts: Path) -> None:
    assert as_pdf_a(scripts / "report.pdf") == []
    checked = subprocess.run(["qpdf", "--check", str(scripts / "report.pdf")], capture_output=True, text=True)
    assert checked.returncode == 0 and "No syntax or stream encoding errors" in checked.stdout


@pytest.mark.parametrize("spoil", ["/Metadata", "/OutputIntents", "/Lang", "/AF", "font", "script", "encrypted"])
def test_the_check_of_pdf_a_fails_where_it_should(spoil: str, scripts: Path, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.pdf"
    with pikepdf.open(scripts / "report.pdf") as pdf:
        encryption: Any = None
        if spoil == "font":
            for item in pdf.objects:
                if isinstance(item, pikepdf.Dictionary) and item.get("/Type") == "/FontDescriptor":
                    for key in ("/FontFile2", "/FontFile3"):
                        if key in item:
                            del item[key]
        elif spoil == "script":
            pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
        elif spoil == "encrypted":
            encryption = pikepdf.Encryption(owner="o", user="")
        else:
            del pdf.Root[spoil]
        pdf.save(path, encryption=encryption or False)
    assert as_pdf_a(path) != []


def test_the_attached_manifest_is_signed_and_lists_every_file_but_the_report(tmp_path: Path) -> None:
    plant = one_frame(tmp_path, "焊缝裂纹")
    _, pack = asked(plant)
    with pikepdf.open(pack / "report.pdf") as pdf:
        attached = {name: spec.get_file().read_bytes() for name, spec in pdf.attachments.items()}
    assert attached.keys() == {names.MANIFEST, names.SIGNATURE}
    keys = TrustedKeys.of(plant.office)
    assert sealed_by(attached[names.MANIFEST], attached[names.SIGNATURE], keys) == plant.office.key_id
    inner, outer = orjson.loads(attached[names.MANIFEST]), orjson.loads((pack / names.MANIFEST).read_bytes())
    without = {names.REPORT_PDF, names.REPORT_HTML, names.SUMS}
    assert inner.pop("files") == [file for file in outer.pop("files") if file["path"] not in without]
    assert inner == outer
    listed = subprocess.run(
        ["pdfdetach", "-list", str(pack / "report.pdf")], capture_output=True, text=True, check=True
    )
    assert names.MANIFEST in listed.stdout


def test_pages_are_drawn_by_poppler_and_mupdf(scripts: Path, tmp_path: Path) -> None:
    subprocess.run(["pdftoppm", "-r", "40", "-png", scripts / "report.pdf", tmp_path / "p"], check=True, timeout=60)
    subprocess.run(
        ["mutool", "draw", "-q", "-r", "40", "-o", tmp_path / "m%d.png", scripts / "report.pdf"], check=True, timeout=60
    )
    assert len(list(tmp_path.glob("p*.png"))) == len(list(tmp_path.glob("m*.png"))) >= 3
    for path in tmp_path.glob("*.png"):
        assert (decode_image(path.read_bytes(), path.name) < 100).any()
