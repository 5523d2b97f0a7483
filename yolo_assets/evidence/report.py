"""What the report shows, prepared once for the HTML page and the PDF: everything a stranger wrote is made plain here.

Belongs here: which facts, in which words. Does not belong here: layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.text import plain
from yolo_assets.evidence.drawing import opened, small
from yolo_assets.evidence.findings import Finding
from yolo_assets.evidence.manifest import FINDINGS, PackManifest, annotated_path
from yolo_assets.evidence.proof import Proven
from yolo_assets.evidence.words import answer, many, not_found, question, searched, size, when

PICTURES = 300
"""Findings that are shown with their picture. The rest is listed: a page of ten thousand pictures opens nowhere."""

ROWS = 40
"""Detections of one frame that the report lists; all are in ``findings.ndjson``."""

_WIDEST = 640


@dataclass(frozen=True)
class Row:
    """One detection as text."""

    class_name: str
    confidence: str
    box: str
    model: str
    fits: bool


@dataclass(frozen=True)
class Entry:
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
    rows: tuple[Row, ...]
    more: str
    notes: tuple[str, ...]
    classes: str
    picture: bytes | None


@dataclass(frozen=True)
class ArchiveRow:
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
    """Everything but the findings, which are many and come one by one."""

    pack: PackManifest
    folder: Path
    receipts: Mapping[str, Proven]

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

    def archives(self) -> list[ArchiveRow]:
        """The archives that hold something, by name."""
        return [
            ArchiveRow(
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

    def entries(self) -> Iterator[Entry]:
        """The findings, pictures for the first ``PICTURES`` of them."""
        with (self.folder / FINDINGS).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield self._entry(number, Finding.from_json(line, FINDINGS))

    def _entry(self, number: int, found: Finding) -> Entry:
        frame = found.frame
        proven = self.receipts.get(frame.archive) if frame is not None else None
        drawn = annotated_path(frame.archive, Path(frame.path).name) if frame is not None else ""
        shown = self.folder / drawn if drawn else None
        exists = shown is not None and shown.is_file()
        picture = opened(shown.read_bytes()) if exists and shown is not None and number <= PICTURES else None
        rows = [
            Row(
                class_name=plain(item.class_name),
                confidence=f"{item.confidence:.3f}",
                box=", ".join(f"{value:.1f}" for value in item.bbox),
                model=plain(one.record.model_version),
                fits=self.pack.query.meets(item),
            )
            for one in found.records
            for item in one.record.detections
        ]
        notes: list[str] = []
        if not found.records:
            notes.append("No record was archived for this frame.")
        if frame is None:
            notes.append("The picture was not kept; the record alone was archived.")
        elif not exists:
            notes.append("The archived bytes are no picture that can be read; there is no drawn copy.")
        if len(found.records) > 1:
            notes.append(f"{many(len(found.records), 'record')} name this frame; all are shown.")
        return Entry(
            number=number,
            taken=when(found.captured_at, found.hour),
            camera=plain(found.camera_id),
            batch=_distinct(one.record.batch_id for one in found.records),
            models=_distinct(one.record.model_version for one in found.records),
            archive=frame.archive if frame else _archives_of(found),
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


def _archives_of(found: Finding) -> str:
    stems = dict.fromkeys(one.source.split("/")[1] for one in found.records)
    return ", ".join(stems)
