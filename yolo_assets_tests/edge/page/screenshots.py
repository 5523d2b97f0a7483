"""Makes the pictures of the live page for the documentation, from the models that a demo has trained.

    make demo
    python -m yolo_assets_tests.edge.page.screenshots --home var --out docs

An agent in a temporary folder serves one of the demo's models, takes the other, and is looked at in dark, in light and
on a phone. Nothing of the home is changed: it works on a copy of its store.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, sync_playwright

from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import Promoter, ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant, until

MODEL = "line"
_MOST_BYTES = 200_000
VIEWS = {
    "live-page.webp": (1600, 1000, "dark"),
    "live-page-light.webp": (1600, 1000, "light"),
    "live-page-phone.webp": (390, 844, "dark"),
}


def main() -> None:
    """Parse, stage, look."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", type=Path, required=True, help="home of a finished demo")
    parser.add_argument("--out", type=Path, required=True, help="where the pictures go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plant = Plant(root)
        shutil.copytree(given.home / "store" / "models", plant.store_folder / "models")
        shutil.copytree(given.home / "store" / "datasets", plant.store_folder / "datasets", dirs_exist_ok=True)
        store = open_store(plant.store_folder.as_uri())
        signer = Signer.load(given.home / "keys" / "promotion")
        promoter = Promoter(Registry(store, TrustedKeys.of(signer)), signer)
        shutil.copy(given.home / "keys" / "promotion.pub", root / "keys")
        versions = sorted(path.name for path in (plant.store_folder / "models" / MODEL).iterdir())[-2:]

        def release(version: str, reason: str) -> None:
            promoter.promote(ReleaseRequest(MODEL, version, "stable", by="gate", reason=reason))

        release(versions[0], "first model of the line")
        cameras = {
            "kind": "simulated",
            "camera_ids": [f"lineA_cam0{n}" for n in range(1, 5)],
            "fps": 4,
            "width": 640,
            "height": 480,
            "clock": {"start": "2026-01-02T05:00:00Z", "speed": 1},
        }
        config = plant.config_file([cameras], device_id="lineA_box1", trusted_keys=["keys/promotion.pub"])
        agent = AgentProcess(config)
        try:
            agent.wait_for(lambda status: status["ready"])
            release(versions[1], "2.1 points better on the golden set")
            agent.wait_for(lambda status: (status["model"]["version"] or "").endswith(versions[1]))
            agent.request("/v1/pin", "POST", token=TOKEN)
            with sync_playwright() as play:
                arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
                browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
                for name, (width, height, scheme) in VIEWS.items():
                    _shoot(browser, agent.url, given.out / name, width, height, scheme)
                browser.close()
        finally:
            agent.stop()


def _shoot(browser: Browser, url: str, path: Path, width: int, height: int, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="light" if scheme == "light" else "dark"
    )
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector('.badge.word:text-is("live")')
    page.wait_for_timeout(4000)  # until rates and the processor have settled
    until(lambda: page.evaluate("document.querySelectorAll('.camera.found').length >= 2"), 60)
    image = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    context.close()
    assert image is not None
    pictures = (cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1] for quality in range(95, 30, -5))
    path.write_bytes(next(data for data in pictures if data.size < _MOST_BYTES).tobytes())


if __name__ == "__main__":
    main()
