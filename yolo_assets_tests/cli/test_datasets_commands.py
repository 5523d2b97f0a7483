"""Versions of a dataset by its commands: listed, shown, compared, exported, and the golden set that never trains."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision as sv

from yolo_assets_tests.cli.command_line import refused
from yolo_assets_tests.cli.conftest import Call


def pictures(numbers: range) -> bytes:
    """A YOLO zip with pictures that are not alike, each with one object and a name without a number."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("classes.txt", "crack\n")
        for number in numbers:
            name = "abcdefghijklmnopqrstuvwxyz"[number]
            noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
            file.writestr(f"images/{name}.png", cv2.imencode(".png", noise)[1].tobytes())
            file.writestr(f"labels/{name}.txt", "0 0.5 0.5 0.5 0.5\n")
    return buffer.getvalue()


@pytest.fixture
def run(call: Call, tmp_path: Path):
    def command(*arguments: str):
        return call(*arguments, home=tmp_path, cwd=tmp_path)

    def answer(*arguments: str):
        done = command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    command.json = answer  # type: ignore[attr-defined]
    return command


def test_versions_are_listed_compared_and_exported(run, tmp_path):
    (tmp_path / "one.zip").write_bytes(pictures(range(12)))
    run.json("labels", "import", "one.zip")
    first = run.json("datasets", "build")["dataset"]
    (tmp_path / "two.zip").write_bytes(pictures(range(12, 16)))
    run.json("labels", "import", "two.zip")
    second = run.json("datasets", "build")["dataset"]
    rows = {row["dataset"]: row for row in run.json("datasets", "ls")}
    assert rows[second]["current"] and not rows[first]["current"] and rows[second]["parent"] == first
    assert (rows[first]["images"], rows[second]["images"]) == (12, 16)
    changed = run.json("datasets", "diff", first[:10], "current")
    assert len(changed["added"]) == 4 and not changed["removed"] and not changed["split_changed"]
    assert run.json("datasets", "show", second)["leaks"] == []
    refused(run("datasets", "show", "0000"), "is no dataset")
    assert run.json("datasets", "export", "current", "--format", "coco", "--out", "coco")["images"] == 16
    read = 0
    for split in ("train", "val", "test"):
        found = sv.DetectionDataset.from_coco(
            str(tmp_path / "coco" / split), str(tmp_path / f"coco/annotations/instances_{split}.json")
        )
        assert len(found) == rows[second][split]
        for _, _, boxes in found:
            assert boxes.xyxy.tolist() == [[16, 16, 48, 48]]
            read += 1
    assert read == 16
    refused(run("datasets", "export", "current", "--format", "coco", "--out", "coco"), "exists; name another folder")
    assert run.json("datasets", "export", "current", "--out", "yolo")["images"] == 16
    assert (tmp_path / "yolo" / "data.yaml").exists()


def test_the_golden_set_grows_and_never_trains(run, tmp_path):
    (tmp_path / "one.zip").write_bytes(pictures(range(20)))
    run.json("labels", "import", "one.zip")
    labelled = sorted((tmp_path / "store" / "datasets" / "images").iterdir())
    named = [path.stem for path in labelled[:6]]
    say = ("--by", "A. Berg", "--note", "hairline")
    assert len(run.json("datasets", "golden", "add", *named, *say)["added"]) == 6
    assert run.json("datasets", "golden", "add", *named, *say)["added"] == []
    run.json("datasets", "build")
    shown = run.json("datasets", "show", "current")
    assert sorted(shown["golden"]) == sorted(f"imported/{path.name}" for path in labelled[:6])
    assert shown["counts"]["test"] >= 6 and shown["counts"]["val"] >= 1
    run.json("datasets", "export", "current", "--out", "yolo")
    trained = {path.stem for path in (tmp_path / "yolo" / "images" / "train").iterdir()}
    assert trained and not trained & set(named)
    refused(run("datasets", "golden", "add", min(trained), *say), "is in the train split, so models have seen it")
    refused(run("datasets", "golden", "add", "nowhere.jpg", *say), "is no labelled image")
    assert {row["by"] for row in run.json("datasets", "golden", "ls")} == {"A. Berg"}
