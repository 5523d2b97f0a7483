"""A small plant for tests of the agent: a folder store with signed tiny models, a configuration, an agent process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import yaml

from yolo_assets.contracts.model import ChannelPointer, ModelManifest
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.edge.config.agent import AgentConfig, load_config
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.spool.hours import list_hours
from yolo_assets.storage import open_store
from yolo_assets_tests.models.release_support import promoter_of
from yolo_assets_tests.support.tiny_model import Variant, blob_frame, tiny_bundle_files

TOKEN = "a-token-for-tests"
MODEL = "line"


@cache
def bundle(version: str, variant: Variant = "good", most: int = 300) -> tuple[ModelManifest, dict[str, bytes]]:
    """A tiny bundle that reports at most ``most`` boxes: on a frame with many, the count tells who looked at it."""
    manifest, files = tiny_bundle_files(name=MODEL, version=version, variant=variant)
    return manifest.model_copy(
        update={"thresholds": manifest.thresholds.model_copy(update={"max_detections": most})}
    ), files


class Plant:
    """Everything around an agent, in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store_folder = root / "store"
        self.store_folder.mkdir()
        self.store = open_store(self.store_folder.as_uri())
        self.signer = Signer.load_or_create(root / "keys" / "promotion")
        self.spool = root / "spool"

    def register(self, version: str, variant: Variant = "good", most: int = 300, **fields: Any) -> ModelManifest:
        """Write a bundle, unsigned, as training does; ``fields`` are changed in its manifest."""
        manifest, files = bundle(version, variant, most)
        manifest = manifest.model_copy(update=fields)
        Registry(self.store).write_bundle(manifest, files)
        return manifest

    def promote(
        self, version: str, signer: Signer | None = None, channel: str = "stable", **options: Any
    ) -> ChannelPointer:
        signer = signer or self.signer
        return promoter_of(Registry(self.store, TrustedKeys.of(signer)), signer).promote(
            ReleaseRequest(MODEL, version, channel, by="test", reason=f"serve {version}", **options)
        )

    def photos(self, name: str, count: int = 6, blobs: int = 4, width: int = 320, height: int = 240) -> Path:
        """A folder of pictures with blobs."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(folder / f"{number:03d}.png"), blob_frame(number, height, width, blobs)[0])
        return folder

    def config_file(self, cameras: list[dict[str, Any]], **options: Any) -> Path:
        document = {
            "device_id": "box1",
            "spool": "spool",
            "store": "store",
            "model": MODEL,
            "trusted_keys": ["keys/promotion.pub"],
            "token": TOKEN,
            "listen": {"port": 0},
            "engine": {"kind": "onnxruntime"},
            "poll_seconds": 0.2,
            "heartbeat_seconds": 0.5,
            "watch": {"seconds": 0},
            "cameras": cameras,
        }
        document |= options
        # A rehearsal starts a process for each change of the model; it has tests of its own.
        document["engine"] = {"rehearse": False} | document["engine"]
        path = self.root / "edge.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def config(self, cameras: list[dict[str, Any]], **options: Any) -> AgentConfig:
        return load_config(self.config_file(cameras, **options))

    def records(self, files: str = "*.ndjson") -> list[dict[str, Any]]:
        """Every record in the spool, as JSON; those that came after their hour's seal are in files of their own."""
        lines: list[dict[str, Any]] = []
        for path in sorted(self.spool.glob(f"*/*/{files}")):
            lines += [json.loads(line) for line in path.read_bytes().splitlines()]
        return lines

    def seals(self) -> dict[tuple[str, str], Any]:
        found = {(hour.camera_id, hour.hour.key): hour.seal() for hour in list_hours(self.spool)}
        return {key: seal for key, seal in found.items() if seal is not None}


class AgentProcess:
    """A real agent, started by its command."""

    def __init__(self, config: Path) -> None:
        cli = [sys.executable, "-m", "yolo_assets.cli.main"]
        command = [*cli, "edge", "run", "--json", "--config", str(config)]
        self.log = config.parent / "agent.log"
        env = {key: value for key, value in os.environ.items() if key != "YOLO_ASSETS_TOKEN"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=env)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(30)
            raise AssertionError(f"the agent did not start: {self.log.read_text()}")
        self.url: str = json.loads(line)["url"]

    def request(self, path: str, method: str = "GET", token: str | None = None, body: Any = None) -> tuple[int, Any]:
        request = urllib.request.Request(self.url.rstrip("/") + path, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, data, timeout=20) as answer:
                status, content, kind = answer.status, answer.read(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            status, content, kind = error.code, error.read(), error.headers.get_content_type()
        return status, json.loads(content) if kind.endswith("json") else content

    def status(self) -> dict[str, Any]:
        return self.request("/v1/status")[1]

    def wait_for(self, what: Callable[[dict[str, Any]], bool], seconds: float = 40) -> dict[str, Any]:
        """Poll the status until it is as wanted."""
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the agent ended: {self.log.read_text()}")
            try:
                found = self.status()
            except (urllib.error.URLError, ConnectionError):
                found = None
            if found is not None and what(found):
                return found
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {json.dumps(found, indent=1)}\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


def until(what: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until ``what()`` is true, and give what it gave."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)
    return found
