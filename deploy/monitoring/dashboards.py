"""Writes the Grafana dashboards: ``python deploy/monitoring/dashboards.py``.

The JSON beside this file, in ``dashboards/``, is what Grafana reads; it is generated, and a test fails when it is not
current. Belongs here: which panels there are and what they ask. Names of metrics: the reference, page "Metrics".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUT = Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_WIDTH = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        queries: PromQL by legend, in which ``{{label}}`` is replaced by a label's value.
        unit: Grafana's id of the unit.
        width: columns of 24.
        note: more about it, shown at the title.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    width: int = 8
    note: str = ""


@dataclass(frozen=True)
class Number(Panel):
    """The value now, red from ``red`` on; None: never."""

    width: int = 4
    red: float | None = 1


@dataclass(frozen=True)
class Lines(Panel):
    """Values over time."""


@dataclass(frozen=True)
class Listing(Panel):
    """One row a series, now: the columns are its labels."""

    width: int = 24


ALERTS = Listing(
    "What is wrong now",
    {"": 'ALERTS{alertstate="firing", severity=~".+"}'},
    note="Alerts that fire. docs/runbook.md says what each means and what to do.",
)

PLANT: dict[str, Sequence[Panel]] = {
    "Now": (
        ALERTS,
        Number("Oldest hour without archive", {"": "max(yolo_platform_backlog_age_seconds)"}, "s", red=10800),
        Number("Camera-hours that wait", {"": "sum(yolo_platform_backlog_folders)"}, red=200),
        Number("Failed partitions", {"": "sum(yolo_platform_failed_partitions)"}),
        Number("Runs that wait", {"": 'sum(yolo_platform_runs{state="queued"})'}, red=100),
        Number("Devices silent", {"": 'sum(yolo_platform_devices{state="silent"})'}),
        Number(
            "Age of the catalog", {"": "time() - max(yolo_platform_catalog_published_timestamp_seconds)"}, "s", red=7200
        ),
    ),
    "Runs": (
        Lines("Runs by state", {"{{state}}": "sum by (state) (yolo_platform_runs)"}),
        Lines(
            "Runs that ended, an hour", {"{{result}}": "sum by (result) (increase(yolo_platform_runs_ended_total[1h]))"}
        ),
        Lines(
            "Waiting and running longest",
            {
                "in the queue": "max(yolo_platform_queue_oldest_seconds)",
                "running": "max(yolo_platform_run_longest_seconds)",
            },
            "s",
        ),
        Lines("Failed partitions", {"{{asset}}": "sum by (asset) (yolo_platform_failed_partitions) > 0"}, width=12),
        Lines(
            "Since an asset was made",
            {"{{asset}}": "time() - max by (asset) (yolo_platform_materialized_timestamp_seconds)"},
            "s",
            12,
        ),
        Lines(
            "Silence of Dagster's daemons",
            {"{{daemon}}": "time() - max by (daemon) (yolo_platform_daemon_heartbeat_timestamp_seconds)"},
            "s",
            12,
        ),
        Lines("Sensors whose tick failed", {"{{name}}": "max by (name) (yolo_platform_tick_failed)"}, width=12),
    ),
    "Archive": (
        Lines("Archived bytes", {"all cameras": "sum(rate(yolo_assets_archive_bytes_total[15m]))"}, "Bps"),
        Lines(
            "Sent bytes", {"{{instance}}": "sum by (instance) (rate(yolo_assets_archive_sent_bytes_total[15m]))"}, "Bps"
        ),
        Lines("Backlog", {"{{instance}}": "max by (instance) (yolo_assets_archive_backlog_bytes)"}, "bytes"),
        Lines(
            "Failed hours, an hour",
            {"{{reason}}": "sum by (reason) (increase(yolo_assets_archive_failures_total[1h]))"},
        ),
        Lines("Archives in the catalog", {"": "max(yolo_platform_catalog_archives)"}),
        Lines("Missing camera-hours", {"{{kind}}": "max by (kind) (yolo_platform_gaps)"}),
        Lines(
            "Behind: hours since a camera's newest archive",
            {"{{camera}}": "topk(20, time() - yolo_platform_camera_archived_through_timestamp_seconds)"},
            "s",
            24,
            "The twenty that are furthest behind.",
        ),
    ),
    "Models": (
        Listing("Channels", {"": "yolo_platform_release_info"}, width=12),
        Listing("Newest version", {"": "yolo_platform_gate_newest_info"}, width=12),
        Lines("Devices by state", {"{{state}}": "sum by (state) (yolo_platform_devices)"}, width=12),
        Lines(
            "Newest versions by verdict", {"{{verdict}}": "max by (verdict) (yolo_platform_gate_versions)"}, width=12
        ),
        Listing("Devices", {"": "yolo_platform_device_info"}),
    ),
    "The exporter itself": (
        Lines(
            "Subjects that can be read", {"{{subject}}": "min by (subject) (yolo_platform_exporter_success)"}, width=12
        ),
        Lines("Time to read", {"{{subject}}": "max by (subject) (yolo_platform_exporter_read_seconds)"}, "s", 12),
    ),
}

_DROPPED = (
    'sum by (instance, camera) (rate(yolo_edge_frames_total{outcome=~"dropped_.+"}[5m]))'
    ' / sum by (instance, camera) (rate(yolo_edge_frames_total{outcome="captured"}[5m]))'
)
AGENTS: dict[str, Sequence[Panel]] = {
    "Now": (
        Number("Agents that answer", {"": 'count(up{job="yolo-edge"} == 1)'}, red=None),
        Number("Agents that do not", {"": 'count(up{job="yolo-edge"} == 0) or vector(0)'}),
        Number("Not ready", {"": "count(yolo_edge_ready == 0) or vector(0)"}),
        Number("Cameras without results", {"": "count(yolo_edge_last_result_age_seconds > 120) or vector(0)"}),
        Number("Alarms that stand", {"": "sum(yolo_edge_alarm_standing) or vector(0)"}),
        Number("Clocks not trusted", {"": "count(yolo_edge_clock_trusted == 0) or vector(0)"}),
    ),
    "Frames": (
        Lines(
            "Frames a second",
            {"{{instance}} {{outcome}}": "sum by (instance, outcome) (rate(yolo_edge_frames_total[5m]))"},
            width=12,
        ),
        Lines("Dropped", {"{{instance}} {{camera}}": _DROPPED}, "percentunit", 12),
        Lines(
            "Inference, 99 of 100 frames within",
            {
                "{{instance}} {{slot}}": "histogram_quantile(0.99, sum by (instance, slot, le) "
                '(rate(yolo_edge_inference_seconds_bucket{stage="predict"}[5m])))'
            },
            "s",
            12,
        ),
        Lines(
            "Since the last result", {"{{instance}} {{camera}}": "topk(20, yolo_edge_last_result_age_seconds)"}, "s", 12
        ),
    ),
    "Models": (
        Listing("Models in memory", {"": "yolo_edge_model_info"}, width=12),
        Lines(
            "Model changes, an hour", {"{{result}}": "sum by (result) (increase(yolo_edge_swap_total[1h]))"}, width=12
        ),
    ),
    "Device": (
        Lines("Disk in use", {"{{instance}}": "yolo_edge_disk_used_ratio"}, "percentunit"),
        Lines("Disk stage", {"{{instance}}": "yolo_edge_disk_stage"}),
        Lines("Spool", {"{{instance}}": "yolo_edge_spool_bytes"}, "bytes"),
        Lines("Memory", {"{{instance}}": 'process_resident_memory_bytes{job="yolo-edge"}'}, "bytes"),
        Lines("Events that wait", {"{{instance}} {{output}}": "sum by (instance, output) (yolo_edge_output_waiting)"}),
        Lines("Audit lines not in the store", {"{{instance}}": "yolo_edge_audit_unshipped_lines"}),
    ),
}

DASHBOARDS = {
    "yolo-plant": ("yolo_assets: plant", PLANT),
    "yolo-agents": ("yolo_assets: agents", AGENTS),
}
"""By uid, which is the name of the file: title, and the rows with their panels."""


def rendered() -> Iterator[tuple[Path, str]]:
    """Every dashboard's file and its content."""
    for uid, (title, rows) in DASHBOARDS.items():
        built = _dashboard(uid, title, rows).build()
        yield OUT / f"{uid}.json", json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _dashboard(uid: str, title: str, rows: dict[str, Sequence[Panel]]) -> dashboard.Dashboard:
    numbers = count(1)
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .tags(["yolo_assets"])
        .refresh("1m")
        .time("now-24h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for name, panels in rows.items():
        built = built.with_row(dashboard.Row(name).id(next(numbers)))
        for panel in panels:
            built = built.with_panel(_panel(panel).id(next(numbers)))
    return built


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel | table.Panel:
    built: stat.Panel | timeseries.Panel | table.Panel
    now = not isinstance(panel, Lines)
    if isinstance(panel, Number):
        steps = [Threshold(value=None, color="green")]
        steps += [Threshold(value=panel.red, color="red")] if panel.red is not None else []
        built = (
            stat.Panel()
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .color_mode(BigValueColorMode.BACKGROUND)
            .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
            .height(4)
        )
    elif isinstance(panel, Listing):
        hidden = {"Time": True, "__name__": True, "job": True}
        organized = DataTransformerConfig(id_val="organize", options={"excludeByName": hidden})
        built = table.Panel().with_transformation(organized).height(7)
    else:
        legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        built = timeseries.Panel().legend(legend).height(8)
    for name, (legend_text, expr) in zip(ascii_uppercase, panel.queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expr).legend_format(legend_text).datasource(SOURCE).ref_id(name)
        if now:
            query = query.instant()
        if isinstance(panel, Listing):
            query = query.format(PromQueryFormat.TABLE)
        built = built.with_target(query)
    built = built.title(panel.title).unit(panel.unit).span(panel.width).datasource(SOURCE)
    return built.description(panel.note) if panel.note else built


def write() -> None:
    """Write every file, and delete those of dashboards that are no more."""
    OUT.mkdir(exist_ok=True)
    wanted = dict(rendered())
    for path in OUT.glob("*.json"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text)


if __name__ == "__main__":
    write()
