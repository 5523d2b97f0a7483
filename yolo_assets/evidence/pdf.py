"""``report.pdf``: the same content as ``report.html``, on numbered A4 pages, dated by the manifest alone.

PDF/A-3u: what it needs to be read in decades is in it, its letters too, each font cut to the characters that are used.
Attached is a signed manifest of every file but the report itself.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from fontTools.ttLib import TTLibError
from fpdf import FPDF
from fpdf.enums import DocumentCompliance, MethodReturnValue, WrapMode, XPos, YPos
from fpdf.errors import FPDFException
from fpdf.fonts import CoreFont, FontFace, TTFFont
from PIL import Image

from yolo_assets.contracts.errors import UserError
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.lettering import BOLD, MONO, REGULAR, Fonts
from yolo_assets.evidence.report import PICTURES, FindingText, Report

_INK, _SOFT, _LINE, _MARK, _TINT = (29, 33, 38), (89, 99, 110), (213, 218, 224), (138, 42, 31), (245, 246, 248)
_TALLEST = 66.0
_LABEL = 36.0
"""Millimetres: a picture's height, and the column of labels."""
_MOST_LINES = 50


def pdf(report: Report, fonts: Fonts, manifest: bytes, signature: bytes) -> bytes:
    """The document.

    Args:
        report: its content.
        fonts: what has the letters of ``report.texts()``.
        manifest: of every file but the report, to be attached.
        signature: of these bytes.
    """
    pack, say = report.pack, report.wording
    page = ReportPdf(fonts, say.text("pdf_footer", when=say.when(pack.made_at), id=pack.signed_by))
    title = say.text("title")
    page.describe(
        title,
        say.text("language"),
        pack.made_at,
        about(title, pack.made_at, pack.tool_version),
        (
            Attachment(names.MANIFEST, manifest, "application/json", say.text("pdf_attachment")),
            Attachment(names.SIGNATURE, signature, "application/octet-stream", say.text("pdf_attachment")),
        ),
    )
    page.add_page()
    _cover(page, report)
    _findings(page, report)
    _archives(page, report)
    page.heading(say.text("models"))
    head = (say.text("model_version"), say.text("in_this_pack"))
    page.grid(head, report.models() or [(say.text("none"), say.text("no_model"))], (2, 3))
    page.heading(say.text("custody"))
    for title, text in say.custody():
        page.paragraph(text, lead=title)
    page.heading(say.text("verify"))
    for text, commands in say.steps(pack):
        page.paragraph(text)
        if commands:
            page.commands(commands)
    page.heading(say.text("proves"))
    page.points(say.proves())
    page.heading(say.text("not_proves"))
    page.points(say.does_not_prove(pack))
    return bytes(page.output())


@dataclass(frozen=True)
class Attachment:
    """A file inside the document.

    Attributes:
        name: its file name.
        data: its bytes.
        kind: media type.
        about: one sentence for the reader's list.
    """

    name: str
    data: bytes
    kind: str
    about: str


def about(title: str, made_at: datetime, tool_version: str) -> str:
    """What a document says about itself, XMP; fpdf2's own would be dated by the clock."""
    at, title = made_at.isoformat(timespec="seconds"), escape(title)
    tool = quoteattr(f"yolo-assets {tool_version}")
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
  <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
        xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"
        xmp:CreatorTool={tool} xmp:CreateDate="{at}" xmp:ModifyDate="{at}" xmp:MetadataDate="{at}">
      <pdfaid:part>3</pdfaid:part>
      <pdfaid:conformance>U</pdfaid:conformance>
      <dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
    </rdf:Description>
  </rdf:RDF>
</x:xmpmeta>"""


class ReportPdf(FPDF):
    """Fonts, margins, footer, and the few shapes of paragraph that a report has."""

    def __init__(self, fonts: Fonts, foot: str) -> None:
        super().__init__(format="A4", enforce_compliance=DocumentCompliance.PDFA_3U)
        self._fonts, self._foot = fonts, foot
        self.add_font("text", "", REGULAR)
        self.add_font("text", "B", BOLD)
        self.add_font("mono", "", MONO)
        self._add_fallbacks()
        self.set_margins(18, 18)
        self.c_margin = 0  # text, tables and pictures share one left edge
        self.set_auto_page_break(True, 20)

    def describe(
        self, title: str, language: str, made_at: datetime, xmp: str, attachments: Sequence[Attachment]
    ) -> None:
        """What the document says of itself, dated by its content alone, and what is attached to it."""
        self.set_creation_date(made_at)
        self.set_title(title)
        self.set_lang(language)
        self.set_xmp_metadata(xmp)
        for one in attachments:
            self.embed_file(
                bytes=one.data,
                basename=one.name,
                mime_type=one.kind,
                associated_file_relationship="Data",
                desc=one.about,
                modification_date=made_at,
                compress=True,
            )

    def headline(self, text: str) -> None:
        """The name of the document, on its first page."""
        self.use("text", 20, style="B")
        self.multi_cell(0, 10, self.shown(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _add_fallbacks(self) -> None:
        """The fonts for what DejaVu lacks, each for the characters that it was chosen for."""
        families: list[str] = []
        for number, (face, characters) in enumerate(self._fonts.used.items()):
            family = f"more{number}"
            for style, path in (("", face.path), ("B", face.bold)):
                self._add_font(family, style, path, face.number, characters)
                if face.colour:
                    _keep_bitmaps(self.fonts[f"{family}{style}"], characters)
            families.append(family)
        self.set_fallback_fonts(families, exact_match=False)

    def _add_font(self, family: str, style: str, path: Path, number: int, characters: Sequence[str]) -> None:
        span = [0x20, *map(ord, characters)]  # without a blank of its own fpdf2 takes the first letter for one
        try:
            self.add_font(family, style, path, unicode_range=span, collection_font_number=number)
        except (FPDFException, TTLibError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            raise UserError(
                f"the font {path} cannot be put into a PDF ({error}); name another one by YOLO_ASSETS_FONTS"
            ) from None

    def _set_font_for_page(
        self, font: CoreFont | TTFFont, font_size_pt: float, wrap_in_text_object: bool = True
    ) -> str:
        """As fpdf2 does it, and for the page as well where a line begins in a fallback font.

        fpdf2 2.8.9 then sets the font inside the line's own graphics state and takes it for the page's: what follows
        would be printed with the letters of another font.
        """
        if not wrap_in_text_object and not self.current_font_is_set_on_page:
            self._out(super()._set_font_for_page(font, font_size_pt))
        return super()._set_font_for_page(font, font_size_pt, wrap_in_text_object)

    def footer(self) -> None:
        """What it is, and the number of the page."""
        before, self.text_shaping = self.text_shaping, None  # it does not know the number of pages
        self.set_y(-13)
        self.use("text", 7, _SOFT)
        self.cell(self.epw - 25, 4, self._foot)
        self.cell(25, 4, f"{self.page_no()} / {{nb}}", align="R")
        self.text_shaping = before

    def use(self, family: str, points: float, colour: tuple[int, int, int] = _INK, style: str = "") -> None:
        """Font and colour of what follows."""
        self.set_font(family, style, points)
        self.set_text_color(*colour)

    def shown(self, text: str) -> str:
        """The text as it can be printed; scripts whose letters join or run from right to left are shaped."""
        shown = self._fonts.shown(text)
        self.set_text_shaping(any(map(_is_shaped, shown)), features={"liga": False, "clig": False})
        return shown

    def reserve(self, millimetres: float) -> None:
        """Start the next page unless this one has so much space left."""
        if self.will_page_break(millimetres):
            self.add_page()

    def heading(self, text: str) -> None:
        """A section; never at the foot of a page, with nothing below it."""
        self.reserve(50)
        self.ln(6)
        self.use("text", 13, style="B")
        self.multi_cell(0, 7, self.shown(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_draw_color(*_LINE)
        self.line(self.l_margin, self.y, self.w - self.r_margin, self.y)
        self.ln(2.5)

    def paragraph(
        self, text: str, lead: str = "", points: float = 9, colour: tuple[int, int, int] = _INK, style: str = ""
    ) -> None:
        """Running text; ``lead`` is printed above it in bold."""
        if lead:
            self.reserve(14)
            self.use("text", points, style="B")
            self.multi_cell(0, 5, self.shown(lead), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.use("text", points, colour, style)
        self.multi_cell(
            0, 5, self.shown(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L", wrapmode=self._wrap(text)
        )
        self.ln(1.5)

    def fact(self, label: str, text: str, *, mono: bool = False, style: str = "") -> None:
        """A label with its text to the right."""
        family = "mono" if mono else "text"
        shown = self.shown(text)
        self.use(family, 7.5 if mono else 8.5, style=style)
        height = self.multi_cell(
            self.epw - _LABEL,
            4.6,
            shown,
            align="L",
            wrapmode=self._wrap(text),
            dry_run=True,
            output=MethodReturnValue.HEIGHT,
        )
        self.reserve(min(height, 100) if isinstance(height, float) else 5)
        top = self.y
        self.use("text", 8.5, _SOFT)
        self.cell(_LABEL, 4.6, self.shown(label))
        self.use(family, 7.5 if mono else 8.5, style=style)
        self.set_xy(self.l_margin + _LABEL, top)
        self.multi_cell(
            0, 4.6, self.shown(text), align="L", wrapmode=self._wrap(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )

    def points(self, texts: Sequence[str]) -> None:
        """A list."""
        for text in texts:
            self.paragraph(f"•  {text}")

    def commands(self, lines: Sequence[str]) -> None:
        """What to type."""
        self.use("mono", 7)
        self.set_fill_color(*_TINT)
        self.multi_cell(
            0,
            4.4,
            "\n".join(self.shown(line) for line in lines),
            fill=True,
            align="L",
            wrapmode=WrapMode.CHAR,
            padding=2,
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
        )
        self.ln(3)

    def grid(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[int],
        bold: Collection[int] = (),
        wrap: WrapMode = WrapMode.CHAR,
    ) -> None:
        """A table; its head is repeated on each page, rows of the numbers ``bold`` stand out.

        Args:
            head: of the columns.
            rows: cells.
            widths: of the columns, in any unit.
            bold: numbers of rows.
            wrap: by characters where a cell holds hashes or paths, by words where it holds sentences.
        """
        self.use("text", 7.5)
        self.set_draw_color(*_LINE)
        style = FontFace(emphasis="", color=_SOFT)
        with self.table(
            col_widths=tuple(widths),
            text_align="LEFT",
            line_height=4.2,
            borders_layout="HORIZONTAL_LINES",
            headings_style=style,
            padding=(0.8, 1.5, 0.8, 0),
            wrapmode=wrap,
        ) as table:
            for number, row in enumerate((head, *rows), -1):
                line = table.row(style=FontFace(emphasis="B") if number in bold else None)
                for text in row:
                    line.cell(self.shown(text))
            self.shown("".join(text for row in (head, *rows) for text in row))  # the table is set at its end
        self.ln(2)

    @staticmethod
    def _wrap(text: str) -> WrapMode:
        """By characters where a word alone, or a text without blanks as Chinese is, is longer than a line."""
        longest = max((sum(1 + _is_wide(char) for char in word) for word in text.split()), default=0)
        return WrapMode.CHAR if longest > 60 else WrapMode.WORD


def _keep_bitmaps(font: object, characters: Sequence[str]) -> None:
    """Let each bitmap of a colour font be read twice: fpdf2 asks for its bytes again after fontTools dropped them."""
    assert isinstance(font, TTFFont)
    bitmaps, names_of = font.ttfont["CBDT"].strikeData[0], font.ttfont.getBestCmap() or {}
    for char in characters:
        bitmap = bitmaps.get(names_of.get(ord(char)))
        if bitmap is not None:
            data = bitmap.data
            bitmap.decompile()
            bitmap.data = data


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in ("W", "F")


def _is_shaped(char: str) -> bool:
    """Whether a character changes its form or place beside others: Arabic, Hebrew, Indic and others with marks."""
    return unicodedata.bidirectional(char) in ("R", "AL", "NSM") or unicodedata.category(char) in ("Mc", "Mn")


def _cover(page: ReportPdf, report: Report) -> None:
    say = report.wording
    page.headline(say.text("title"))
    page.paragraph(say.text("lead"), points=9.5, colour=_SOFT)
    page.ln(2)
    for label, text in report.cover():
        page.fact(label, text, style="B" if label == say.text("answer_label") else "")
        page.ln(1.2)
    _notice(page, say.text("missing" if report.pack.complete else "incomplete"), report.missing(), report, _MARK)
    _notice(page, say.text("notes"), report.notes(), report, _SOFT)


def _notice(page: ReportPdf, title: str, lines: Sequence[str], report: Report, colour: tuple[int, int, int]) -> None:
    if not lines:
        return
    page.ln(3)
    page.use("text", 10, colour, "B")
    page.multi_cell(0, 6, page.shown(title), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.points(lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        page.points([report.wording.text("more_in_manifest", count=len(lines) - _MOST_LINES)])


def _findings(page: ReportPdf, report: Report) -> None:
    say = report.wording
    page.heading(say.text("findings"))
    bold = "" if report.pack.counts.fitting is None else say.text("findings_bold")
    page.paragraph(f"{say.text('findings_lead')}{bold}")
    rest: list[Sequence[str]] = []
    for entry in report.entries():
        if entry.number <= PICTURES:
            _finding(page, entry, report)
        else:
            proof = f"{entry.original}\n{entry.sha256}" if entry.original else say.text("picture_not_kept")
            rest.append((str(entry.number), entry.taken, entry.camera, entry.classes, proof))
    if rest:
        page.paragraph(say.text("findings_rest", count=PICTURES))
        head = [say.text(key) for key in ("number", "taken", "camera", "classes", "original_and_hash")]
        page.grid(head, rest, (1, 3, 2, 2, 7))


def _finding(page: ReportPdf, entry: FindingText, report: Report) -> None:
    say = report.wording
    width = height = 0.0
    if entry.picture is not None:
        with Image.open(io.BytesIO(entry.picture)) as head:
            scale = min(page.epw / head.width, _TALLEST / head.height, 25.4 / 96)
            width, height = head.width * scale, head.height * scale
    page.reserve(height + 46 + 6 * min(len(entry.rows), 8))
    page.ln(2)
    title = page.shown(f"{entry.number}. {entry.taken} · {entry.camera}")
    page.use("text", 10, style="B")
    page.multi_cell(0, 6, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    if entry.picture is not None:
        page.image(io.BytesIO(entry.picture), w=width, h=height, alt_text=f"{say.text('drawn_copy')} {entry.number}")
        page.ln(1)
        page.paragraph(f"{say.text('drawn_copy')}: {entry.drawn}", points=7.5, colour=_SOFT)
    for text in entry.notes:
        page.paragraph(text, points=8.5, colour=_MARK)
    if entry.rows:
        heads = [say.text(key) for key in ("class", "confidence", "box", "model")]
        rows = [(row.class_name, row.confidence, row.box, row.model) for row in entry.rows]
        page.grid(heads, rows, (3, 2, 4, 4), bold=[number for number, row in enumerate(entry.rows) if row.fits])
        if entry.more:
            page.paragraph(entry.more, points=8.5)
    elif not entry.notes:
        page.paragraph(say.text("no_detection"), points=8.5)
    page.fact(say.text("batch"), entry.batch)
    if entry.part:
        page.fact(say.text("part"), entry.part)
    page.fact(say.text("model_version"), entry.models)
    page.fact(say.text("archive"), entry.archive)
    if entry.original:
        same_name = entry.original.endswith(f"/{entry.member}")
        archived = "" if same_name else say.text("archived_as", member=entry.member)
        page.fact(say.text("original"), f"{entry.original}{say.text('comma')}{entry.size}{archived}")
        page.fact(say.text("sha256"), entry.sha256, mono=True)
        page.fact(say.text("receipt"), entry.receipt)
        page.fact(say.text("chain"), entry.chain)
    page.ln(3)


def _archives(page: ReportPdf, report: Report) -> None:
    say = report.wording
    page.heading(say.text("archives"))
    for row in report.archives():
        page.reserve(32)
        page.use("text", 9, style="B")
        page.multi_cell(0, 5, page.shown(row.name), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        page.fact(say.text("content"), row.content)
        page.fact(say.text("verified"), row.verified)
        page.fact(say.text("signed_by"), row.signed_by)
        page.fact(say.text("archive_sha256"), row.sha256, mono=True)
        page.fact(say.text("index_sha256"), row.index_sha256, mono=True)
        page.ln(2)
