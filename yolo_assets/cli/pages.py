"""``yolo-assets pages``."""

from __future__ import annotations

import signal
import threading
from typing import Annotated
from urllib.parse import urlsplit

import typer

from yolo_assets.cli.common import ArchiveOption, SpoolOption, StoreOption, need, note, settings

PORT = 3002


def pages(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    spool: SpoolOption = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
) -> None:
    """Serve the pages that links in Dagster's UI lead to: sample frames with boxes, gate reports, stored objects.

    Made when somebody looks, and nothing is written. YOLO_ASSETS_PAGES is the address under which browsers reach them:
    the UI shows pictures and links only where it is set.

    Example: yolo-assets pages --port 3002
    """
    need("fastapi", "polars", "supervision", "jinja2")
    from yolo_assets.edge.config.agent import Listen
    from yolo_assets.edge.http.server import ApiServer
    from yolo_assets.pages.app import new_app
    from yolo_assets.pages.places import Places

    found = settings(archive=archive, store=store, spool=spool)
    reached = urlsplit(found.pages).hostname if found.pages is not None else None
    listen = Listen(host=host, port=port, hosts=(reached,) if reached is not None else ())
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server = ApiServer(listen, tokens=False)
    server.start(new_app(Places.of(found), listen))
    note(f"pages: {server.url}")
    stop.wait()
    server.stop()
