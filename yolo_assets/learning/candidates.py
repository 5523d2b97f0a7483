"""What there is to choose from: frames of the archive with what the model on the line said about them.

Frames that no model has seen (a line that has none yet) have no row in the tables; they are found by the archive's
indexes. Does not belong here: choosing (``sampling``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from yolo_assets.archive.reading.lookup import load_index
from yolo_assets.archive.reading.read import list_archives, load_receipt
from yolo_assets.contracts.names import is_frame, parse_frame_name
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import hours_between
from yolo_assets.learning.batch import Guess, guesses_from_table
from yolo_assets.learning.sampling import Candidate, candidates_from_tables
from yolo_assets.storage import ObjectStore
from yolo_assets.tables.drift import Period, drift_report
from yolo_assets.tables.scan import read_detections, read_frames

REFERENCE = timedelta(days=7)
"""What a camera is held against, before the stretch that is sampled."""


@dataclass(frozen=True)
class Pool:
    """Candidates and the model's boxes by image path."""

    candidates: list[Candidate]
    guesses: dict[str, Guess]


def gather(store: ObjectStore, archive: ObjectStore, trusted: TrustedKeys, start: datetime, end: datetime) -> Pool:
    """Every archived frame captured in ``[start, end)``.

    Args:
        store: the store root, for the tables.
        archive: the archive root; receipts and indexes are read, no archive.
        trusted: keys whose receipts count.
        start: aware.
        end: aware.
    """
    frames, detections = read_frames(store, start, end), read_detections(store, start, end)
    before = Period(read_frames(store, start - REFERENCE, start), read_detections(store, start - REFERENCE, start))
    drift = drift_scores(drift_report(before, Period(frames, detections)))
    tabled = {one.image_path: one for one in candidates_from_tables(frames, detections, drift=drift)}
    found: list[Candidate] = []
    for hour in hours_between(start, end):
        for name in list_archives(archive, hour=hour):
            receipt = load_receipt(archive, name, trusted)
            for member in load_index(archive, receipt):
                path = f"{receipt.camera_id}/{receipt.hour}/{member.name}"
                moment = parse_frame_name(member.name)
                if not is_frame(member.name) or moment is None or not start <= moment < end:
                    continue
                found.append(tabled.get(path) or Candidate(path, receipt.camera_id, moment))
    return Pool(found, guesses_from_table(detections))


def drift_scores(report: pl.DataFrame) -> dict[str, float]:
    """How far the output of each drifted camera has moved, 0 to 1; cameras that did not drift are left out.

    Args:
        report: from ``detections.drift.drift_report``.
    """
    scores: dict[str, float] = {}
    for row in report.filter(pl.col("verdict") == "drifted").iter_rows(named=True):
        low, high = sorted((row["rate_before"] or 0.0, row["rate_now"] or 0.0))
        rate = 1 - low / high if high else 0.0
        moved = max(rate, row["class_distance"] or 0.0, row["confidence_distance"] or 0.0)
        scores[row["camera_id"]] = max(moved, scores.get(row["camera_id"], 0.0))
    return scores
