"""``yolo-assets exporter``."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated

import typer

from yolo_assets.cli.common import SpoolOption, StoreOption, need, note, settings

PORT = 9878


def exporter(
    spool: SpoolOption = None,
    store: StoreOption = None,
    port: Annotated[int, typer.Option(help="Port of /metrics and /healthz; 0: a free one.", min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
    once: Annotated[bool, typer.Option("--once", help="Print the figures once, and end.")] = False,
) -> None:
    """Serve the platform's figures for Prometheus: runs, failed partitions, backlog, gaps, catalog, fleet, verdicts.

    A subject is read at most every 15 seconds and for at most a tenth of the time, however often it is scraped. The
    Dagster instance is that of DAGSTER_HOME, else of the home; the stores and the spool are read, never changed.

    Example: yolo-assets exporter --port 9878
    """
    need("dagster", "duckdb")
    from yolo_assets.exporter.plant import open_exporter
    from yolo_assets.runtime.metrics_page import MetricsPage

    stop = threading.Event()
    page = MetricsPage(open_exporter(settings(store=store, spool=spool), note), stopping=stop.is_set)
    if once:
        sys.stdout.buffer.write(page.render())
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    note(f"metrics: {page.serve(host, port)}")
    stop.wait()
