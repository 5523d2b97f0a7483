"""The report: its content, prepared once for both forms, and ``report.html``. All text from outside is made plain here.

Belongs here: which facts, in which words, and the HTML page. Does not belong here: the PDF (``pdf``).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from yolo_assets.contracts.text import plain
from yolo_assets.evidence.drawing import decoded, small
from yolo_assets.evidence.findings import Finding
from yolo_assets.evidence.manifest import FINDINGS, PackManifest, annotated_path
from yolo_assets.evidence.signing import ProvenReceipt
from yolo_assets.evidence.wording import (
    CUSTODY,
    DOES_NOT_PROVE,
    PROVES,
    answer,
    how_to_verify,
    many,
    not_found,
    question,
    searched,
    size,
    when,
)

PICTURES = 300
"""Findings that are shown with their picture. The rest is listed: a page of ten thousand pictures opens nowhere."""

ROWS = 40
"""Detections of one frame that the report lists; all are in ``findings.ndjson``."""

_WIDEST = 640


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
    """One finding as text; ``picture`` is a small JPEG of the drawn copy."""

    number: int
    taken: str
    camera: str
    batch: str
    models: str
    archive: str
    member: str
    original: str
    drawn: str
    size: str
    sha256: str
    receipt_key: str
    verified: str
    rows: tuple[DetectionText, ...]
    more: str
    notes: tuple[str, ...]
    classes: str
    picture: bytes | None


@dataclass(frozen=True)
class ArchiveText:
    """One archive as text."""

    name: str
    frames: str
    size: str
    sha256: str
    index_sha256: str
    verified: str
    signed_by: str
    retention: str


@dataclass(frozen=True)
class Report:
    """The content of a report. The findings, which are many, are read one at a time."""

    pack: PackManifest
    folder: Path
    receipts: Mapping[str, ProvenReceipt]

    def cover(self) -> list[tuple[str, str]]:
        """The facts of the first page."""
        pack = self.pack
        return [
            ("Question", question(pack.query)),
            ("Answer", answer(pack.counts)),
            ("Reason", plain(pack.reason) or "none was given"),
            ("Asked by", plain(pack.asked_by)),
            ("Made at", f"{when(pack.made_at)}, by yolo-assets {pack.tool_version}"),
            ("Archive", plain(pack.archive_url)),
            ("Searched", searched(pack)),
            ("Catalog", plain(pack.catalog[:1].upper() + pack.catalog[1:]) + "."),
            ("Pack signed by", f"key {pack.signed_by}"),
            ("Receipts signed by", ", ".join(f"key {key}" for key in pack.receipts_signed_by) or "none"),
        ]

    def missing(self) -> list[str]:
        """What could not be shown."""
        return not_found(self.pack)

    def models(self) -> list[tuple[str, str]]:
        """Models and what the pack has of them."""
        return [(plain(model.model_version), plain(model.note)) for model in self.pack.models]

    def archives(self) -> list[ArchiveText]:
        """The archives that hold something, by name."""
        return [
            ArchiveText(
                name=stem,
                frames=f"{proven.receipt.frame_count:,}",
                size=size(proven.receipt.archive_size),
                sha256=proven.receipt.sha256,
                index_sha256=proven.receipt.index_sha256,
                verified=when(proven.receipt.verified_at),
                signed_by=proven.signed_by,
                retention=when(proven.receipt.retention_until) if proven.receipt.retention_until else "not recorded",
            )
            for stem, proven in sorted(self.receipts.items())
        ]

    def entries(self) -> Iterator[FindingText]:
        """The findings, pictures for the first ``PICTURES`` of them."""
        with (self.folder / FINDINGS).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield self._entry(number, Finding.from_json(line, FINDINGS))

    def _entry(self, number: int, finding: Finding) -> FindingText:
        frame = finding.frame
        proven = self.receipts.get(frame.archive) if frame is not None else None
        drawn = annotated_path(frame.archive, Path(frame.path).name) if frame is not None else ""
        shown = self.folder / drawn if drawn else None
        exists = shown is not None and shown.is_file()
        picture = decoded(shown.read_bytes()) if exists and shown is not None and number <= PICTURES else None
        rows = [
            DetectionText(
                class_name=plain(item.class_name),
                confidence=f"{item.confidence:.3f}",
                box=", ".join(f"{value:.1f}" for value in item.bbox),
                model=plain(entry.record.model_version),
                fits=self.pack.query.meets(item),
            )
            for entry in finding.records
            for item in entry.record.detections
        ]
        notes: list[str] = []
        if not finding.records:
            notes.append("No record was archived for this frame.")
        if frame is None:
            notes.append("The picture was not kept; the record alone was archived.")
        elif not exists:
            notes.append("The archived bytes are not a readable picture; there is no drawn copy.")
        if len(finding.records) > 1:
            notes.append(f"{many(len(finding.records), 'record')} name this frame; all are shown.")
        return FindingText(
            number=number,
            taken=when(finding.captured_at, finding.hour),
            camera=plain(finding.camera_id),
            batch=_distinct(entry.record.batch_id for entry in finding.records),
            models=_distinct(entry.record.model_version for entry in finding.records),
            archive=frame.archive if frame else _archives_of(finding),
            member=plain(frame.member) if frame else "",
            original=frame.path if frame else "",
            drawn=drawn if exists else "",
            size=size(frame.size) if frame else "",
            sha256=frame.sha256 if frame else "",
            receipt_key=proven.signed_by if proven else "",
            verified=when(proven.receipt.verified_at) if proven else "",
            rows=tuple(rows[:ROWS]),
            more=f"and {many(len(rows) - ROWS, 'more detection')}, in findings.ndjson" if len(rows) > ROWS else "",
            notes=tuple(notes),
            classes=_distinct(row.class_name for row in rows),
            picture=small(picture, _WIDEST) if picture is not None else None,
        )


def _distinct(values: Iterable[str | None]) -> str:
    return ", ".join(plain(value) for value in dict.fromkeys(values) if value) or "–"


def _archives_of(finding: Finding) -> str:
    stems = dict.fromkeys(record.source.split("/")[1] for record in finding.records)
    return ", ".join(stems)


def html(report: Report) -> Iterator[bytes]:
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
        made=when(report.pack.made_at),
        custody=CUSTODY,
        proves=PROVES,
        does_not_prove=DOES_NOT_PROVE,
        steps=how_to_verify(report.pack),
        pictures=PICTURES,
    )
    return (piece.encode() for piece in pieces)
