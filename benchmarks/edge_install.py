"""How large an installed edge agent is, and whether it runs from nothing but that: fresh environments, measured.

    python benchmarks/edge_install.py [--extra edge ...] [--json]

For each extra: an empty virtual environment, ``uv pip install yolo-assets[<extra>]`` with the pinned versions, its size
on disk without and with compiled Python files, no torch, and the agent started from it until it has judged a frame.
It needs a package index or a filled cache. Exits 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMITS_MB = {"edge": 750, "edge-onnxruntime": 450, "edge-onnxruntime,s3": None, "edge-openvino": None}
"""Without a limit: for information. OpenVINO brings its drivers for cards, 51 MB that no extra can leave out."""
_LARGEST = 8


@dataclass(frozen=True)
class Installed:
    """One environment. Sizes in MB of 2**20 bytes on disk; ``limit_mb``: what the project promises."""

    extra: str
    mb: int
    compiled_mb: int
    limit_mb: int | None
    largest: dict[str, int]
    forbidden: list[str]
    engine: str
    frames: int


def disk_mb(path: Path) -> int:
    """Megabytes that a folder takes on the disk, as ``du -sm`` counts."""
    done = subprocess.run(["du", "-sm", str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def install(source: Path, extra: str, folder: Path) -> Path:
    """An environment with the package and one extra; its interpreter."""
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    wanted = f"yolo-assets[{extra}] @ {source.as_uri()}"
    # Copies, not links into the cache: what is measured is what a box would hold.
    options = ["--quiet", "--link-mode", "copy", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([uv, "pip", "install", *options, "--python", str(python), wanted], check=True)
    return python


def run_agent(python: Path, folder: Path) -> tuple[str, int]:
    """Start an agent with a small signed model and a folder camera; its engine and the frames that it judged."""
    sys.path.insert(0, str(ROOT))
    from yolo_assets_tests.edge.plant import Plant

    folder.mkdir()
    plant = Plant(folder)
    plant.register("1")
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 5))}
    outputs = [{"kind": "mqtt", "name": "near", "host": "127.0.0.1", "port": 9}]
    config = plant.config_file([camera], engine={"kind": "auto"}, exit_when_done=True, outputs=outputs)
    command = [str(python), "-m", "yolo_assets.cli.main", "edge", "run", "--config", str(config)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, cwd=folder, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"error: the agent did not run from {python}: {done.stderr}")
    chosen = next((line.split()[1] for line in done.stderr.splitlines() if line.startswith("* ")), "")
    return chosen, len(plant.records())


def measure(source: Path, extra: str) -> Installed:
    """Install, weigh, run."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "venv"
        python = install(source, extra, folder)
        (packages,) = folder.glob("lib/python*/site-packages")
        sizes = {path.name: disk_mb(path) for path in packages.iterdir() if path.is_dir()}
        largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:_LARGEST])
        size = disk_mb(folder)
        forbidden = [name for name in ("torch", "ultralytics", "dagster", "nvidia") if (packages / name).exists()]
        engine, frames = run_agent(python, Path(temporary) / "plant")
        subprocess.run([str(python), "-m", "compileall", "-q", str(packages)], capture_output=True, check=False)
        return Installed(extra, size, disk_mb(folder), LIMITS_MB[extra], largest, forbidden, engine, frames)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--extra", action="append", choices=sorted(LIMITS_MB), help="default: all of them")
    parser.add_argument("--source", type=Path, default=ROOT, help="the project; default: this one")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = [measure(arguments.source.resolve(), extra) for extra in arguments.extra or sorted(LIMITS_MB)]
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    for one in found:
        if not arguments.json:
            limit = "no limit" if one.limit_mb is None else f"limit {one.limit_mb}"
            print(f"{one.extra}: {one.mb} MB ({one.compiled_mb} with compiled files), {limit};", end=" ")
            print(f"{one.frames} frames judged by {one.engine or 'its only engine'}")
            print("   " + ", ".join(f"{name} {size}" for name, size in one.largest.items()))
    bad = [one.extra for one in found if one.mb > (one.limit_mb or one.mb) or one.forbidden or not one.frames]
    if bad:
        print(f"error: {', '.join(bad)}: over the limit, with a package that must not be there, or without a frame")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
