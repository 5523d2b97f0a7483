"""From a real H.264 file and real photographs to an archive that GNU tar reads: agent and archiver as processes."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_assets.spool.hours import list_hours
from yolo_assets_tests.edge.plant import Plant

HOUR = "20260102_03"


def photographs() -> list[Path]:
    """The two photographs that Ultralytics ships; looked up without importing it."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.origin is not None
    return sorted((Path(spec.origin).parent / "assets").glob("*.jpg"))


def h264(path: Path) -> Path:
    """Two seconds of moving picture, encoded by ffmpeg where it is installed, else by PyAV's own."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg:
        source = "testsrc2=size=640x360:rate=15:duration=2"
        command = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p"]
        subprocess.run([*command, str(path)], check=True, timeout=60)
        return path
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(30):
            picture = np.roll(np.tile(np.arange(640, dtype=np.uint8), (360, 1)), number * 8, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.stack([picture] * 3, axis=2), format="bgr24")))
        container.mux(stream.encode(None))
    return path


def cli(*argv: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_ASSETS_")}
    env["YOLO_ASSETS_HOME"] = str(home)
    command = [sys.executable, "-m", "yolo_assets.cli.main", *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.timeout(240)
def test_what_the_agent_saw_comes_out_of_tar_byte_for_byte(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.register("1")
    plant.promote("1")
    folder = tmp_path / "photos"
    folder.mkdir()
    for photograph in photographs():
        shutil.copy(photograph, folder)
    start = {"start": "2026-01-02T03:10:00Z"}
    config = plant.config_file(
        [
            {"kind": "video", "camera_id": "film", "path": str(h264(tmp_path / "film.mp4")), **start},
            {"kind": "folder", "camera_id": "photos", "path": str(folder), **start},
        ],
        exit_when_done=True,
        sampling={"normal_every": 1},
    )
    done = cli("edge", "run", "--config", str(config), home=tmp_path)
    assert done.returncode == 0, done.stderr
    hours = list_hours(plant.spool)
    seals = {hour.camera_id: hour.seal() for hour in hours}
    assert {name: (seal.captured, seal.processed, seal.frames) for name, seal in seals.items() if seal} == {
        "film": (30, 30, 30),
        "photos": (2, 2, 2),
    }
    spooled = {
        f"{hour.camera_id}/{HOUR}/{member.name}": hashlib.sha256((hour.path / member.name).read_bytes()).hexdigest()
        for hour in hours
        for member in hour.members()
    }
    archive = tmp_path / "archive"
    done = cli("archive", "run", "--spool", str(plant.spool), "--archive", str(archive), "--grace", "0", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not any(hour.frames() for hour in list_hours(plant.spool)), "verified, so the disk is free again"

    out = tmp_path / "out"
    out.mkdir()
    archives = sorted(archive.rglob("*.tar.gz"))
    assert [path.name for path in archives] == [f"yolo_film_{HOUR}.tar.gz", f"yolo_photos_{HOUR}.tar.gz"]
    for path in archives:
        subprocess.run(["gzip", "-t", str(path)], check=True, timeout=60)
        subprocess.run(["tar", "-xzf", str(path), "-C", str(out)], check=True, timeout=60)
    unpacked = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file()
    }
    assert unpacked == spooled
