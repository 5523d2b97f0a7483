"""What a receipt tells about the records of an archive, so that the catalog answers without opening it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.receipt import ClassSummary
from yolo_assets.spool.records import BadRecord


@dataclass
class Summary:
    """Distinct values and per-class figures over a stream of records."""

    model_versions: set[str] = field(default_factory=set)
    device_ids: set[str] = field(default_factory=set)
    batch_ids: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)
    bad_records: int = 0

    @classmethod
    def of(cls, records: Iterable[DetectionRecord | BadRecord]) -> Summary:
        """Read the stream to its end."""
        summary = cls()
        for record in records:
            if isinstance(record, BadRecord):
                summary.bad_records += 1
                continue
            summary.model_versions.add(record.model_version)
            summary.device_ids.add(record.device_id)
            if record.batch_id is not None:
                summary.batch_ids.add(record.batch_id)
            for found in record.detections:
                name = found.class_name
                summary.counts[name] = summary.counts.get(name, 0) + 1
                summary.highest[name] = max(summary.highest.get(name, 0.0), found.confidence)
        return summary

    def classes(self) -> dict[str, ClassSummary]:
        """Per class: how many, and the highest confidence."""
        return {
            name: ClassSummary(count=count, max_confidence=self.highest[name])
            for name, count in sorted(self.counts.items())
        }
