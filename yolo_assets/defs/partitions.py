"""The one partition scheme: UTC hours. Camera is a column and a path key, never a partition dimension.

200 cameras over six months would be 876,000 keys; Dagster's advice is at most 100,000 an asset.
"""

from __future__ import annotations

import os

import dagster as dg

FIRST_HOUR = os.environ.get("YOLO_ASSETS_FIRST_HOUR") or "2026-01-01-00:00"
"""Start of the plant's history, as a partition key. Moving it later hides hours; moving it earlier adds empty ones."""

hourly = dg.HourlyPartitionsDefinition(start_date=FIRST_HOUR, timezone="UTC")

HOURS_A_RUN = 24
"""A backfill packs this many hours into one run: a process per hour would spend its time starting."""

by_day = dg.BackfillPolicy.multi_run(max_partitions_per_run=HOURS_A_RUN)
