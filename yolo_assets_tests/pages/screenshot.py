"""Makes the picture of an hour's page for the documentation, from simulated cameras; look at it before it is committed.

python -m yolo_assets_tests.pages.screenshot docs/pages-hour.webp
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.server import ApiServer
from yolo_assets.pages.app import new_app
from yolo_assets.pages.links import PageLinks
from yolo_assets.pages.places import Places
from yolo_assets_tests.pages.simulated_hour import make_hour

HOUR = Hour.from_key("20260301_08")


def main() -> None:
    """Make an hour, serve its page, keep what a browser shows."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        settings = Settings(home=Path(folder))
        make_hour(settings, HOUR)
        listen = Listen(port=0)
        server = ApiServer(listen, tokens=False)
        server.start(new_app(Places.of(settings), listen))
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        shown = browser.new_page(viewport={"width": 900, "height": 880})
        shown.goto(PageLinks(server.url.rstrip("/")).hour(HOUR), wait_until="networkidle")
        shot = Path(folder, "hour.png")
        shown.screenshot(path=shot)
        browser.close()
        server.stop()
        with Image.open(shot) as picture:
            picture.save(sys.argv[1], quality=70, method=6)


if __name__ == "__main__":
    main()
