"""Makes the picture of the wall page for the documentation; look at it before it is committed.

python -m yolo_assets_tests.today.screenshot docs/today.webp
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from yolo_assets.contracts.times import Hour
from yolo_assets.today.page import page
from yolo_assets.today.summary import Failure, PlantFacts, SpooledHour, Today, summarise, window_of


def plant(now: datetime) -> Today:
    """One camera that failed, two that are absent, one late, eight good."""
    running = Hour.of(now)
    names = [f"lineA_cam{number:02d}" for number in range(1, 13)]
    archived = {(name, hour) for name in names if name != "lineA_cam07" for hour in window_of(now)}
    archived -= {("lineA_cam05", running.next(-back)) for back in (3, 4, 9)}
    archived -= {("lineA_cam03", running.next(-back)) for back in (1, 2, 3, 4)}
    archived -= {("lineA_cam09", hour) for hour in window_of(now)[-6:]}
    spooled = {
        (name, running): SpooledHour(2500, now - timedelta(seconds=2))
        for name in names
        if name not in ("lineA_cam07", "lineA_cam09")
    }
    spooled |= {("lineA_cam03", running.next(-back)): SpooledHour(3600, None) for back in (1, 2, 3, 4)}
    why = "the store refused the archive: 403 Forbidden; correct the archiver's policy"
    return summarise(
        PlantFacts(
            now=now,
            expected=tuple(names),
            spooled=spooled,
            archived=archived,
            counted=dict.fromkeys(archived, 3600),
            first_hours=dict.fromkeys(names, running.next(-900)),
            failures=tuple(
                Failure("hourly_archives", why, "1", now, "lineA_cam03", running.next(-back)) for back in (4, 3, 2, 1)
            ),
        )
    )


def main() -> None:
    """Show the page in a browser and keep what is seen."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        file, shot = Path(folder, "today.html"), Path(folder, "today.png")
        file.write_bytes(page(plant(datetime.now(UTC))))
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        shown = browser.new_page(viewport={"width": 1920, "height": 1080})
        shown.goto(file.as_uri())
        shown.screenshot(path=shot)
        browser.close()
        with Image.open(shot) as picture:
            picture.resize((1440, 810)).save(sys.argv[1], quality=72, method=6)


if __name__ == "__main__":
    main()
