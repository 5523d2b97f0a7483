"""``report.pdf``: the same content as ``report.html``, on numbered A4 pages, dated by the manifest alone."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, WrapMode, XPos, YPos
from fpdf.fonts import FontFace, TTFFont
from PIL import Image

from yolo_assets.evidence.drawing import font_file
from yolo_assets.evidence.report import PICTURES, FindingText, Report
from yolo_assets.evidence.wording import CUSTODY, DOES_NOT_PROVE, PROVES, how_to_verify, when

_INK, _SOFT, _LINE, _MARK, _TINT = (29, 33, 38), (89, 99, 110), (213, 218, 224), (138, 42, 31), (245, 246, 248)
_TALLEST = 66.0
_LABEL = 36.0
"""Millimetres: a picture's height, and the column of labels."""


def pdf(report: Report) -> bytes:
    """The document."""
    page = _ReportPdf(f"Evidence pack, {when(report.pack.made_at)}, signed by key {report.pack.signed_by}")
    page.set_creation_date(report.pack.made_at)
    page.set_title("Evidence pack")
    page.set_creator(f"yolo-assets {report.pack.tool_version}")
    page.add_page()
    _cover(page, report)
    _findings(page, report)
    _archives(page, report)
    page.heading("Models")
    page.grid(("Model version", "In this pack"), report.models() or [("none", "No record names a model.")], (2, 3))
    page.heading("Chain of custody")
    for title, text in CUSTODY:
        page.paragraph(text, lead=title)
    page.heading("How to verify this pack")
    for text, commands in how_to_verify(report.pack):
        page.paragraph(text)
        page.commands(commands)
    page.heading("What the signatures prove")
    page.points(PROVES)
    page.heading("What they do not prove")
    page.points(DOES_NOT_PROVE)
    return bytes(page.output())


class _ReportPdf(FPDF):
    """Fonts, margins, footer, and the few shapes of paragraph that the report has."""

    def __init__(self, foot: str) -> None:
        super().__init__(format="A4")
        self._foot = foot
        for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            self.add_font("text", style, font_file(name))
        self.add_font("mono", "", font_file("DejaVuSansMono.ttf"))
        fonts = {name: font for name, font in self.fonts.items() if isinstance(font, TTFFont)}
        self._characters = {name: set(font.cmap) for name, font in fonts.items()}
        self.set_margins(18, 18)
        self.c_margin = 0  # text, tables and pictures share one left edge
        self.set_auto_page_break(True, 20)

    def footer(self) -> None:
        """What it is, and the number of the page."""
        self.set_y(-13)
        self.use("text", 7, _SOFT)
        self.cell(self.epw - 25, 4, self._foot)
        self.cell(25, 4, f"{self.page_no()} / {{nb}}", align="R")

    def use(self, family: str, points: float, colour: tuple[int, int, int] = _INK, style: str = "") -> None:
        """Font and colour of what follows."""
        self.set_font(family, style, points)
        self.set_text_color(*colour)

    def shown(self, text: str, family: str = "text") -> str:
        r"""Text with every character that the font does not have written out, like ``\u4e2d``."""
        characters = self._characters[family]
        return "".join(c if ord(c) in characters else c.encode("unicode_escape").decode("ascii") for c in text)

    def reserve(self, millimetres: float) -> None:
        """Start the next page unless this one has so much space left."""
        if self.will_page_break(millimetres):
            self.add_page()

    def heading(self, text: str) -> None:
        """A section."""
        self.reserve(30)
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
        shown = self.shown(text, family)
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
        self.multi_cell(0, 4.6, shown, align="L", wrapmode=self._wrap(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

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
            "\n".join(self.shown(line, "mono") for line in lines),
            fill=True,
            align="L",
            wrapmode=WrapMode.CHAR,
            padding=2,
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
        )
        self.ln(3)

    def grid(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], bold: Collection[int] = ()
    ) -> None:
        """A table; its head is repeated on each page, rows of the numbers ``bold`` stand out."""
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
            wrapmode=WrapMode.CHAR,
        ) as table:
            for number, row in enumerate((head, *rows), -1):
                line = table.row(style=FontFace(emphasis="B") if number in bold else None)
                for text in row:
                    line.cell(self.shown(text))
        self.ln(2)

    @staticmethod
    def _wrap(text: str) -> WrapMode:
        """By characters where a word alone is longer than a line."""
        return WrapMode.CHAR if max((len(word) for word in text.split()), default=0) > 60 else WrapMode.WORD


def _cover(page: _ReportPdf, report: Report) -> None:
    page.use("text", 20, style="B")
    page.multi_cell(0, 10, "Evidence pack", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.paragraph(
        "Frames out of the cold archive, with the records, receipts and signatures that prove them.",
        points=9.5,
        colour=_SOFT,
    )
    page.ln(2)
    for label, text in report.cover():
        page.fact(label, text, style="B" if label == "Answer" else "")
        page.ln(1.2)
    missing = report.missing()
    if missing:
        page.ln(3)
        page.use("text", 10, _MARK, "B")
        title = "Not in this pack" if report.pack.complete else "This pack is incomplete"
        page.multi_cell(0, 6, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        page.points(missing[:50])
        if len(missing) > 50:
            page.points([f"and {len(missing) - 50} more, in manifest.json."])


def _findings(page: _ReportPdf, report: Report) -> None:
    page.heading("Findings")
    bold = "" if report.pack.counts.fitting is None else " Detections that meet the question are set in bold."
    page.paragraph(
        "Pictures shown here are small, drawn copies. The archived bytes, untouched, are the files named “original”."
        f"{bold}"
    )
    rest: list[Sequence[str]] = []
    for entry in report.entries():
        if entry.number <= PICTURES:
            _finding(page, entry)
        else:
            proof = f"{entry.original}\n{entry.sha256}" if entry.original else "picture not kept"
            rest.append((str(entry.number), entry.taken, entry.camera, entry.classes, proof))
    if rest:
        page.paragraph(f"The first {PICTURES} findings are shown with their picture; the others follow as a list.")
        page.grid(("No.", "Taken", "Camera", "Classes", "Original and its SHA-256"), rest, (1, 3, 2, 2, 7))


def _finding(page: _ReportPdf, entry: FindingText) -> None:
    width = height = 0.0
    if entry.picture is not None:
        with Image.open(io.BytesIO(entry.picture)) as head:
            scale = min(page.epw / head.width, _TALLEST / head.height, 25.4 / 96)
            width, height = head.width * scale, head.height * scale
    page.reserve(height + 46 + 6 * min(len(entry.rows), 8))
    page.ln(2)
    page.use("text", 10, style="B")
    page.multi_cell(
        0, 6, page.shown(f"{entry.number}. {entry.taken} · {entry.camera}"), new_x=XPos.LMARGIN, new_y=YPos.NEXT
    )
    if entry.picture is not None:
        page.image(io.BytesIO(entry.picture), w=width, h=height)
        page.ln(1)
        page.paragraph(f"Drawn copy: {entry.drawn}", points=7.5, colour=_SOFT)
    for text in entry.notes:
        page.paragraph(text, points=8.5, colour=_MARK)
    if entry.rows:
        head = ("Class", "Confidence", "Box x1, y1, x2, y2 in pixels", "Model")
        rows = [(row.class_name, row.confidence, row.box, row.model) for row in entry.rows]
        page.grid(head, rows, (3, 2, 4, 4), bold=[number for number, row in enumerate(entry.rows) if row.fits])
        if entry.more:
            page.paragraph(entry.more, points=8.5)
    elif not entry.notes:
        page.paragraph("No detection in this frame.", points=8.5)
    page.fact("Production batch", entry.batch)
    page.fact("Model version", entry.models)
    page.fact("Archive", entry.archive)
    if entry.original:
        same_name = entry.original.endswith(f"/{entry.member}")
        page.fact(
            "Original", f"{entry.original}, {entry.size}" + ("" if same_name else f", archived as {entry.member}")
        )
        page.fact("SHA-256", entry.sha256, mono=True)
        page.fact("Receipt", f"signed by key {entry.receipt_key}, archive verified {entry.verified}")
    page.ln(3)


def _archives(page: _ReportPdf, report: Report) -> None:
    page.heading("Archives")
    for row in report.archives():
        page.reserve(32)
        page.use("text", 9, style="B")
        page.multi_cell(0, 5, page.shown(row.name), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        page.fact("Content", f"{row.frames} frames, {row.size}")
        page.fact("Verified", f"{row.verified}; write-once until: {row.retention}")
        page.fact("Signed by", f"key {row.signed_by}")
        page.fact("Archive SHA-256", row.sha256, mono=True)
        page.fact("Index SHA-256", row.index_sha256, mono=True)
        page.ln(2)
