"""Bad input to the real command line: one line that says what to do, a non-zero exit, nothing lost."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets.contracts.model import ONNX
from yolo_assets_tests.cli.command_line import cli, contents, refused
from yolo_assets_tests.edge.plant import Plant
from yolo_assets_tests.support.signed import content
from yolo_assets_tests.support.small_disk import small_disk as mounted_disk
from yolo_assets_tests.support.tiny_model import tiny_bundle_files

HOUR = "20260102_03"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\xff\xd9"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A foreign spool: one camera-hour of frames with their records, without any marker."""
    hour = tmp_path / "spool" / "cam01" / HOUR
    hour.mkdir(parents=True)
    for number in range(4):
        stem = f"20260102_03000{number}_000"
        (hour / f"{stem}.jpg").write_bytes(JPEG + bytes([number]))
        record = {"image_path": f"cam01/{HOUR}/{stem}.jpg", "detections": [], "model_version": "v", "device_id": "d"}
        (hour / f"{stem}.json").write_text(json.dumps(record))
    return tmp_path / "spool"


def test_a_record_that_is_not_json_is_archived_and_reported(spool: Path, tmp_path: Path) -> None:
    (spool / "cam01" / HOUR / "20260102_030002_000.json").write_text("{not json")
    run = ("archive", "run", "--spool", str(spool), "--archive", str(tmp_path / "archive"), "--grace", "0")
    before = contents(spool)
    done = cli(*run, "--keep-local", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unreadable records: 1" in done.stdout
    assert contents(spool) == before
    listed = json.loads(cli("archive", "ls", "--archive", str(tmp_path / "archive"), "--json", home=tmp_path).stdout)
    assert [archive["bad_records"] for archive in listed] == [1]
    receipt = content(next((tmp_path / "archive" / "receipts").rglob("*.json")).read_bytes())
    assert (receipt["frame_count"], receipt["bad_records"]) == (4, 1)


@pytest.mark.parametrize("camera", ["../etc", "a/b", "..", "cam 1"])
def test_a_camera_id_that_is_none_is_refused_everywhere(camera: str, spool: Path, tmp_path: Path) -> None:
    before, archive = contents(spool), str(tmp_path / "archive")
    base = ("--archive", archive)
    times = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")
    for command in (
        ("archive", "run", "--spool", str(spool), *base, "--camera", camera),
        ("archive", "cat", *base, "--camera", camera, "--frame", "20260102_030000_000.jpg"),
        ("restore", *base, "--camera", camera, *times, "--out", str(tmp_path / "out")),
    ):
        refused(cli(*command, home=tmp_path), "is not a camera id; use", code=2)
    assert contents(spool) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///nonexistent/plant/archive", ("/nonexistent/plant",)),
        ("ftp://somewhere/archive", ("ftp",)),
        ("s3://no-such-bucket-here/archive", ("cannot reach http://127.0.0.1:9", "1 of 1 hours failed and stay")),
    ],
)
def test_a_store_that_does_not_exist_costs_no_frame(
    url: str, words: tuple[str, ...], spool: Path, tmp_path: Path
) -> None:
    before = contents(spool)
    # Loopback, and nobody listens: the answer is at once.
    aws = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = cli("archive", "run", "--spool", str(spool), "--archive", url, "--grace", "0", home=tmp_path, env=aws)
    refused(done, *words, code=2 if url.startswith("ftp") else 1)
    assert "stamina" not in done.stdout
    assert contents(spool) == before


def test_an_archive_folder_that_cannot_be_written_costs_no_frame(spool: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    before = contents(spool)
    done = cli(
        "archive", "run", "--spool", str(spool), "--archive", str(tmp_path / "file" / "archive"), "--grace", "0",
        home=tmp_path,
    )  # fmt: skip
    refused(done, f"{tmp_path}/file is not a folder")
    assert contents(spool) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system that is soon full; needs the right to mount."""
    with mounted_disk(disk := tmp_path / "disk", "64k") as refused:
        if refused:
            pytest.skip(refused)
        yield disk


def test_a_full_archive_disk_costs_no_frame_and_the_hour_follows_later(
    small_disk: Path, spool: Path, tmp_path: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(48 * 1024))
    before = contents(spool)
    run = (
        "archive",
        "run",
        "--spool",
        str(spool),
        "--archive",
        str(small_disk / "archive"),
        "--grace",
        "0",
        "--keep-local",
    )
    done = cli(*run, home=tmp_path)
    refused(done, "1 of 1 hours failed and stay in the spool", "the disk or quota is full")
    assert contents(spool) == before
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    done = cli(*run, home=tmp_path)
    assert done.returncode == 0, done.stderr
    verified = cli("archive", "verify", f"yolo_cam01_{HOUR}", "--archive", str(small_disk / "archive"), home=tmp_path)
    assert verified.returncode == 0, verified.stderr


def test_a_full_spool_disk_is_one_line_and_leaves_no_half_frame(small_disk: Path, tmp_path: Path) -> None:
    done = cli(
        "simulate", "--out", str(small_disk / "spool"), "--cameras", "1", "--hours", "1", "--fps", "0.02", home=tmp_path
    )
    refused(done, "no space on the disk", "give the spool more disk")
    for frame in (small_disk / "spool").rglob("*.jpg"):
        data = frame.read_bytes()
        assert data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9"), f"{frame} is half a frame"


def bundle(folder: Path) -> Path:
    manifest, files = tiny_bundle_files(name="line", version="1")
    (folder / "golden").mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return folder


@pytest.mark.parametrize("damage", ["missing", "no manifest", "half a manifest", "changed model", "no model"])
def test_a_missing_or_corrupt_bundle_is_refused_before_a_frame_is_written(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    if damage != "missing":
        bundle(folder)
    if damage == "no manifest":
        (folder / "manifest.json").unlink()
    elif damage == "half a manifest":
        (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:100])
    elif damage == "changed model":
        (folder / ONNX).write_bytes((folder / ONNX).read_bytes() + b"x")
    elif damage == "no model":
        (folder / ONNX).unlink()
    out = tmp_path / "spool"
    done = cli(
        "simulate",
        "--out",
        str(out),
        "--cameras",
        "1",
        "--hours",
        "1",
        "--fps",
        "0.01",
        "--model",
        str(folder),
        home=tmp_path,
    )
    refused(done, "bundle" if damage == "missing" else "")
    assert not list(out.rglob("*.jpg"))


def test_an_agent_that_cannot_start_says_why(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    cases = {
        "camera id": {"cameras": [{"kind": "folder", "camera_id": "../x", "path": "photos"}]},
        "colour": {"colour": "red"},
        "gone.pub": {"trusted_keys": ["gone.pub"]},
    }
    for word, change in cases.items():
        options = {"cameras": [{"kind": "folder", "camera_id": "cam1", "path": "photos"}], **change}
        config = plant.config_file(options.pop("cameras"), **options)
        refused(cli("edge", "run", "--config", str(config), home=tmp_path), word, code=1 if word == "gone.pub" else 2)
    (tmp_path / "broken.yaml").write_text("cameras: [")
    refused(cli("edge", "run", "--config", str(tmp_path / "broken.yaml"), home=tmp_path), "not YAML", code=2)
    refused(
        cli("edge", "run", "--config", str(tmp_path / "none.yaml"), home=tmp_path), "edge init --out edge.yaml", code=2
    )


def test_an_unreadable_video_is_one_line(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"this is no film")
    config = plant.config_file([{"kind": "video", "camera_id": "film", "path": "film.mp4"}])
    refused(cli("edge", "run", "--config", str(config), home=tmp_path), "camera film", "film.mp4")


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (("nonsense",), 2, "nonsense"),
        (("archive", "run", "--nonsense"), 2, "--nonsense"),
        (("archive", "show", "not-an-archive"), 2, "--key"),
        (("catalog", "query", "SELECT 1"), 1, "catalog"),
        (("models", "list", "--store", "ftp://x"), 2, "is not a store"),
        (("models", "promote", "../../x", "--reason", "y"), 2, "model name"),
        (("simulate", "--out", "spool", "--cameras", "0"), 2, "--cameras"),
        (("simulate", "--out", "spool", "--start", "yesterday"), 2, "yesterday"),
    ],
)
def test_a_command_called_wrongly_is_one_line(argv: tuple[str, ...], code: int, word: str, tmp_path: Path) -> None:
    for folder in ("archive", "store"):
        (tmp_path / folder).mkdir()
    refused(cli(*argv, home=tmp_path), word, code=code)
