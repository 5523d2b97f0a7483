"""The report: its content, prepared once for both forms, and ``report.html``. All text from outside is made plain here.

The page carries its own letters for what DejaVu lacks, cut out of the fonts of this machine: whoever opens it may have
none.

Belongs here: which facts, in which words, and the HTML page. Does not belong here: the PDF (``pdf``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
from fontTools import subset

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName, is_frame
from yolo_assets.contracts.text import plain
from yolo_assets.evidence.drawing import small
from yolo_assets.evidence.findings import Finding, FoundFrame
from yolo_assets.evidence.lettering import FontFace, Fonts
from yolo_assets.evidence.manifest import FINDINGS, PackManifest, annotated_path, proof_paths
from yolo_assets.evidence.signing import ProvenReceipt
from yolo_assets.evidence.wording import PackWording
from yolo_assets.vision.pictures import decode_image

PICTURES = 300
"""Findings that are shown with their picture. The rest is listed: a page of ten thousand pictures opens nowhere."""

ROWS = 40
"""Detections of one frame that the report lists; all are in ``findings.ndjson``."""

_WIDEST = 640
_MOST_NAMES = 20
_MARKS = (("other_size", "size_differs"), ("turned", "turned_boxes"))


@dataclass(frozen=True)
class DetectionText:
    """One detection as text."""

    class_name: str
    confidence: str
    box: str
    model: str
    fits: bool


@dataclass(frozen=True)
class FindingText:
    """One finding as text; ``picture`` is a small JPEG of the drawn copy, ``linked``: readers show the original."""

    number: int
    taken: str
    camera: str
    batch: str
    part: str
    models: str
    archive: str
    member: str
    original: str
    linked: bool
    drawn: str
    size: str
    sha256: str
    receipt: str
    chain: str
    rows: tuple[DetectionText, ...]
    more: str
    notes: tuple[str, ...]
    classes: str
    picture: bytes | None


@dataclass(frozen=True)
class ArchiveText:
    """One archive as text."""

    name: str
    content: str
    sha256: str
    index_sha256: str
    verified: str
    signed_by: str


@dataclass(frozen=True)
class Report:
    """The content of a report. The findings, which are many, are read one at a time."""

    pack: PackManifest
    folder: Path
    receipts: Mapping[str, ProvenReceipt]

    @cached_property
    def _kinds(self) -> dict[str, set[str]]:
        """What is to be told of a frame, by its path."""
        kinds: dict[str, set[str]] = {}
        for problem in self.pack.problems:
            kinds.setdefault(problem.path, set()).add(problem.kind)
        return kinds

    @property
    def wording(self) -> PackWording:
        """The sentences in the language of the pack."""
        return PackWording(self.pack.language)

    def cover(self) -> list[tuple[str, str]]:
        """The facts of the first page."""
        pack, say = self.pack, self.wording
        keys = [say.text("key", id=key) for key in pack.receipts_signed_by]
        catalog = plain(pack.catalog[:1].upper() + pack.catalog[1:])
        return [
            (say.text("question"), say.question(pack.query)),
            (say.text("answer_label"), say.answer(pack.counts)),
            (say.text("reason"), plain(pack.reason) or say.text("no_reason")),
            (say.text("asked_by"), plain(pack.asked_by)),
            (say.text("made_at"), say.text("made_text", when=say.when(pack.made_at), version=pack.tool_version)),
            (say.text("archive_url"), plain(pack.archive_url)),
            (say.text("searched"), say.searched(pack)),
            (say.text("catalog"), say.text("sentence", text=catalog)),
            (say.text("pack_signed_by"), say.text("key", id=pack.signed_by)),
            (say.text("receipts_signed_by"), say.text("comma").join(keys) or say.text("none")),
        ]

    def missing(self) -> list[str]:
        """What could not be shown."""
        return self.wording.missing(self.pack)

    def notes(self) -> list[str]:
        """What is so by design."""
        return self.wording.notes(self.pack)

    def models(self) -> list[tuple[str, str]]:
        """Models and what the pack has of them."""
        return [(self.wording.name(model.model_version), plain(model.note)) for model in self.pack.models]

    def archives(self) -> list[ArchiveText]:
        """The archives that hold something, by name."""
        say = self.wording
        texts: list[ArchiveText] = []
        for stem, proven in sorted(self.receipts.items()):
            receipt, until = proven.receipt, proven.receipt.retention_until
            retention = say.when(until) if until else say.text("not_recorded")
            frames, size = say.text("frame", receipt.frame_count), say.size(receipt.archive_size)
            texts.append(
                ArchiveText(
                    name=stem,
                    content=say.text("content_text", frames=frames, size=size),
                    sha256=receipt.sha256,
                    index_sha256=receipt.index_sha256,
                    verified=say.text("verified_text", when=say.when(receipt.verified_at), retention=retention),
                    signed_by=say.text("key", id=proven.signed_by),
                )
            )
        return texts

    def entries(self, *, pictures: bool = True) -> Iterator[FindingText]:
        """The findings, pictures for the first ``PICTURES`` of them."""
        with (self.folder / FINDINGS).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield self._entry(number, Finding.from_json(line, FINDINGS), pictures=pictures and number <= PICTURES)

    def texts(self) -> Iterator[str]:
        """Everything that the report prints, so that its letters can be found before the first page is set."""
        yield from (text for _, text in self.wording.every())
        yield from (text for pair in (*self.cover(), *self.models()) for text in pair)
        yield from (*self.missing(), *self.notes())
        for entry in self.entries(pictures=False):
            yield from (entry.taken, entry.camera, entry.batch, entry.part, entry.models, entry.member, entry.classes)
            yield from (text for row in entry.rows for text in (row.class_name, row.model))

    def _entry(self, number: int, finding: Finding, *, pictures: bool) -> FindingText:
        say, frame = self.wording, finding.frame
        proven = self.receipts.get(frame.archive) if frame is not None else None
        drawn = annotated_path(frame.archive, Path(frame.path).name) if frame is not None else ""
        shown = self.folder / drawn if drawn else None
        exists = shown is not None and shown.is_file()
        rows = [
            DetectionText(
                class_name=say.name(item.class_name),
                confidence=f"{item.confidence:.3f}",
                box=", ".join(f"{value:.1f}" for value in item.bbox),
                model=say.name(entry.record.model_version),
                fits=self.pack.query.meets(item),
            )
            for entry in finding.records
            for item in entry.record.detections
        ]
        more = say.text("more_detection", len(rows) - ROWS)
        parts = [entry.record.part_name for entry in finding.records]
        return FindingText(
            number=number,
            taken=say.when(finding.captured_at, finding.hour),
            camera=plain(finding.camera_id),
            batch=self._distinct(entry.record.batch_id for entry in finding.records),
            part=self._distinct(parts) if any(parts) else "",
            models=self._distinct(entry.record.model_version for entry in finding.records),
            archive=frame.archive if frame else self._archives_of(finding),
            member=plain(frame.member) if frame else "",
            original=frame.path if frame else "",
            linked=frame is not None and is_frame(Path(frame.path).name),
            drawn=drawn if exists else "",
            size=say.size(frame.size) if frame else "",
            sha256=frame.sha256 if frame else "",
            receipt=say.text("receipt_text", id=proven.signed_by, when=say.when(proven.receipt.verified_at))
            if proven
            else "",
            chain=self._chain(finding),
            rows=tuple(rows[:ROWS]),
            more=say.text("rows_more", more=more) if len(rows) > ROWS else "",
            notes=tuple(self._notes(finding, exists=exists)),
            classes=self._distinct(item.class_name for entry in finding.records for item in entry.record.detections),
            picture=_small(shown) if pictures and exists and shown is not None else None,
        )

    def _chain(self, finding: Finding) -> str:
        """From the lens to this pack: what holds, what does not, what is not there and why; empty without a frame."""
        say, frame = self.wording, finding.frame
        proven = self.receipts.get(frame.archive) if frame is not None else None
        if frame is None or proven is None:
            return ""
        hashes = {entry.record.image_sha256 for entry in finding.records} - {None}
        lens = "none" if not hashes else "held" if hashes == {frame.sha256} else "other"
        return " → ".join(
            (
                say.text(f"chain_lens_{lens}"),
                self._seal_of(frame, proven),
                say.text("chain_receipt", id=proven.signed_by),
                say.text("chain_pack", id=self.pack.signed_by),
            )
        )

    def _seal_of(self, frame: FoundFrame, proven: ProvenReceipt) -> str:
        say, name = self.wording, proven.name
        of_hour = ((one, ArchiveName.parse(one.archive)) for one in self.pack.seals or ())
        mine = (name.camera_id, name.hour)
        seal = next((one for one, its in of_hour if (its.camera_id, its.hour) == mine), None)
        if seal is None:
            return say.text("chain_seal_not_sealed")
        leaf, _ = proof_paths(frame.archive, Path(frame.path).name)
        if (self.folder / leaf).is_file():
            state = f"chain_seal_{seal.state.replace(' ', '_')}"
            return say.text(state, id=seal.key_id, device=plain(seal.device_id))
        custody = proven.receipt.custody
        return say.text("chain_seal_differs" if custody is not None and custody.differing else "chain_seal_late")

    def _notes(self, finding: Finding, *, exists: bool) -> Iterator[str]:
        say, frame = self.wording, finding.frame
        if not finding.records:
            yield say.text("no_record")
        if frame is None:
            yield say.text("not_kept")
        elif not exists:
            yield say.text("not_drawn")
        if frame is not None:
            kinds = self._kinds.get(frame.path, ())
            yield from (say.text(key) for kind, key in _MARKS if kind in kinds)
        if len(finding.records) > 1:
            yield say.text("several_records", len(finding.records))

    def _distinct(self, values: Iterable[str | None]) -> str:
        named = [self.wording.name(value) for value in dict.fromkeys(values) if value]
        more = [f"… (+{len(named) - _MOST_NAMES})"] if len(named) > _MOST_NAMES else []
        return self.wording.text("comma").join([*named[:_MOST_NAMES], *more]) or "–"

    def _archives_of(self, finding: Finding) -> str:
        return self.wording.text("comma").join(dict.fromkeys(record.source.split("/")[1] for record in finding.records))


def _small(drawn: Path) -> bytes | None:
    try:
        return small(decode_image(drawn.read_bytes(), drawn.name), _WIDEST)
    except BadInputError:
        return None


def _font_faces(fonts: Fonts) -> Iterator[tuple[str, str, str]]:
    """Name, data and range of a cut font for each face that is needed beside DejaVu; readers have those in colour."""
    for number, (face, characters) in enumerate(fonts.used.items()):
        if not face.colour:
            span = ",".join(f"U+{ord(char):X}" for char in characters)
            yield f"pack{number}", base64.b64encode(_cut(face, characters)).decode(), span


def _cut(face: FontFace, characters: Iterable[str]) -> bytes:
    """A font with these characters alone, WOFF."""
    options = subset.Options(flavor="woff", layout_features=["*"], recalc_timestamp=False, notdef_outline=True)
    with subset.load_font(str(face.path), subset.Options(font_number=face.number)) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(text="".join(characters))
        cutter.subset(font)
        out = io.BytesIO()
        subset.save_font(font, out, options)
    return out.getvalue()


def html(report: Report, fonts: Fonts) -> Iterator[bytes]:
    """``report.html``, in pieces: one file, no script, nothing loaded from anywhere; rendered in bounded memory."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names and reasons come from outside
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode()
    pieces = environment.get_template("report.html.j2").generate(
        report=report,
        pack=report.pack,
        say=report.wording,
        text=report.wording.text,
        faces=list(_font_faces(fonts)),
        pictures=PICTURES,
    )
    return (piece.encode() for piece in pieces)
