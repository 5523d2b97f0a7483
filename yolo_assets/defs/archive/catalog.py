"""``archive_catalog``: the index of all receipts, updated with the days that changed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterEventType
from pydantic import Field
from rich.filesize import decimal

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import format_time, parse_time, utc_now
from yolo_assets.defs.archive.checks import (
    AS_SEALED,
    EVERY_RECEIPT_VERIFIED,
    NO_GAPS,
    SEAL_DAYS,
    as_sealed,
    every_receipt_verified,
    no_gaps,
)
from yolo_assets.defs.archive.columns import catalog_lineage, catalog_schema
from yolo_assets.defs.automation import on_change
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.freshness import EVERY_HOUR
from yolo_assets.defs.hours import VERSION_TAG
from yolo_assets.defs.metadata import counted, table
from yolo_assets.defs.resources import Locations

FULL_PASS = timedelta(days=7)
"""How often all receipts are read: something may have changed outside the graph, by hand or by another centre."""
_MOST_DATES = 400
_MOST_BEHIND = 10
"""Cameras whose newest hour is the oldest. A table of 200 cameras would be 50 KB in each of several events."""
_BEHIND = {"camera": str, "archives": int, "frames": int, "size": str, "hours": str}
"""Of words that the UI can break: what is wider than its panel is cut."""
_INPUTS = (dg.AssetKey("hourly_archives"), dg.AssetKey("detections"))
CATALOG = dg.AssetKey("archive_catalog")


class CatalogConfig(dg.Config):
    """What to read besides the days that changed since the last version."""

    dates: list[str] = Field(default_factory=list, description="read these days as well, YYYY-MM-DD")
    everything: bool = Field(default=False, description="compare all receipts: one request per thousand of them")


@dg.asset(
    deps=["hourly_archives"],
    automation_condition=on_change(),
    check_specs=[EVERY_RECEIPT_VERIFIED, NO_GAPS, AS_SEALED],
    freshness_policy=EVERY_HOUR,
    pool="archive_catalog",
    group_name="archive",
    kinds={"duckdb"},
    owners=["team:platform"],
    metadata={"dagster/column_schema": catalog_schema()},
    code_version=code_version("catalog"),
    description=(
        "DuckDB index of all receipts, published as an immutable file with a pointer. Losing it loses nothing: "
        "`yolo-assets catalog rebuild` makes it again from the receipts. `yolo-assets catalog stats` shows all cameras."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def archive_catalog(
    context: dg.AssetExecutionContext, config: CatalogConfig, locations: Locations
) -> dg.MaterializeResult:
    """Merge new receipts into a copy of the newest catalog and move the pointer."""
    from yolo_assets.catalog.publish import publish
    from yolo_assets.catalog.read import gaps, open_catalog, seals, stats

    store, archive, now = locations.store(), locations.archive(), utc_now()
    devices = locations.devices()
    keys = " ".join(sorted(archive.trusted.keys))
    scope = _scope(context.instance, config, keys, now)
    context.log.info(f"reading {scope.text}")
    started = time.monotonic()
    cache = locations.settings.home / "cache" / "catalog"  # a bucket's newest catalog is not fetched for every version
    published = publish(store, archive, dates=scope.dates, cache=cache)
    seconds = time.monotonic() - started
    with open_catalog(store, cache=cache) as connection:
        totals, missing = stats(connection, utc_now()), gaps(connection)
        sealed = seals(connection, devices, utc_now() - timedelta(days=SEAL_DAYS))
    behind = totals.cameras.sort("last_hour", "camera_id").head(_MOST_BEHIND)
    return dg.MaterializeResult(
        metadata={
            "summary": f"{counted(published.pointer.archives, 'archive')} "
            f"of {counted(totals.cameras.height, 'camera')}; {counted(missing.height, 'hour')} not archived",
            "version": published.pointer.version,
            "dagster/column_lineage": catalog_lineage(),
            "where": locations.links().stored("store", published.pointer.key),
            "dagster/row_count": published.pointer.archives,
            "added": published.added,
            "removed": published.removed,
            "bytes": published.pointer.size,
            "merge_s": round(seconds, 3),
            "inspected": scope.text,
            "full_pass_at": format_time(now if scope.dates is None else scope.full_pass),
            "trusted_keys": keys,
            "seen_through": scope.through,
            "cameras": totals.cameras.height,
            "furthest_behind": table([_row(camera) for camera in behind.iter_rows(named=True)], _BEHIND),
        },
        data_version=dg.DataVersion(published.pointer.sha256),
        check_results=[every_receipt_verified(published), no_gaps(missing), as_sealed(sealed)],
    )


def _row(camera: dict[str, Any]) -> dict[str, Any]:
    first, last = (f"{camera[edge]:%Y-%m-%d %H:%M}" for edge in ("first_hour", "last_hour"))
    return {
        "camera": camera["camera_id"],
        "archives": camera["archives"],
        "frames": camera["frames"],
        "size": decimal(camera["bytes"]),
        "hours": f"{first} to {last}",
    }


@dataclass(frozen=True)
class _Scope:
    """Which receipts this version reads.

    Attributes:
        dates: those of these days; None for all.
        text: the same, and why, for people.
        full_pass: when all receipts were read last.
        through: the newest event of the inputs that this version knows of.
    """

    dates: list[str] | None
    text: str
    full_pass: datetime
    through: int


def _scope(instance: dg.DagsterInstance, config: CatalogConfig, keys: str, now: datetime) -> _Scope:
    """The days of every hour that was archived or tabled since the newest version; sometimes all receipts.

    An hour in which a camera failed is observed instead of materialized; the archives of the others belong here too.
    The position is kept in the metadata of that version, so it cannot be ahead of what was really published.
    """
    newest = [instance.fetch_materializations(key, limit=1).records for key in _INPUTS]
    newest += [instance.fetch_observations(key, limit=1).records for key in _INPUTS]
    through = max((records[0].storage_id for records in newest if records), default=0)
    last = instance.get_latest_materialization_event(CATALOG)
    known = last.asset_materialization.metadata if last is not None and last.asset_materialization is not None else {}
    seen, full_pass = _seen(known)
    if config.everything or seen is None or full_pass is None:
        return _Scope(None, "all receipts: " + ("requested" if config.everything else "the first time"), now, through)
    if getattr(known.get("trusted_keys"), "value", None) != keys:
        return _Scope(None, "all receipts: other keys are trusted now", now, through)
    if now - full_pass > FULL_PASS:
        return _Scope(None, f"all receipts: not done since {format_time(full_pass)}", now, through)
    changed = {hour for key in _INPUTS for hour in instance.get_materialized_partitions(key, after_cursor=seen)}
    changed |= {hour for key in _INPUTS for hour in _incomplete(instance, key, seen)}
    dates = sorted({hour[:10] for hour in changed} | set(config.dates))
    if len(dates) > _MOST_DATES:
        return _Scope(None, f"all receipts: {len(dates)} days changed", now, through)
    return _Scope(dates, f"{counted(len(dates), 'day')}: {', '.join(dates[:31])}", full_pass, through)


def _incomplete(instance: dg.DagsterInstance, key: dg.AssetKey, after: int) -> set[str]:
    """Hours of which a part was made after a position in the event log."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        key, DagsterEventType.ASSET_OBSERVATION, [VERSION_TAG], after_cursor=after
    )
    return set(tags)


def _seen(known: Mapping[str, Any]) -> tuple[int | None, datetime | None]:
    """Position and last full pass from the newest version's metadata; tolerates what an older release wrote."""
    through, full_pass = (getattr(known.get(name), "value", None) for name in ("seen_through", "full_pass_at"))
    try:
        moment = parse_time(full_pass) if isinstance(full_pass, str) else None
    except BadInputError:
        moment = None
    return (through if isinstance(through, int) else None), moment
