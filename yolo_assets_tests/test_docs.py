"""Every page of the documentation, run: each command in it, in order, in an empty folder; links and settings exist."""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import cv2
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.settings import variables
from yolo_assets.learning.dataset import build_dataset
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.tiny_model import blob_frame, tiny_bundle_files
from yolo_assets_tests.support.videos import write_video

ROOT = Path(__file__).parents[1]
SITE = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
TOP = sorted(path.name for path in ROOT.glob("*.md"))


def commands(page: str) -> list[str]:
    lines = (ROOT / page).read_text().splitlines()
    return [line.strip() for line in lines if re.match(r"    (yolo-assets|make) ", line)]


PAGES = tuple(page for page in (*TOP, *SITE) if commands(page))
"""Every page that shows a command."""


def made(page: str) -> set[str]:
    return {line.split()[1] for line in commands(page) if line.startswith("make ")}


def run(command: str, cwd: Path, env: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "yolo_assets.cli.main", *shlex.split(command)[1:]]
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def serve(command: str, cwd: Path, env: dict[str, str]) -> None:
    """A command that goes on until it is stopped; at a centre with Dagster and an HTTP receiver."""
    home = Path(env["YOLO_ASSETS_HOME"])
    prepare_dagster_home(home)
    (home / "token").write_text("a token of this test")
    (home / "plant.yaml").write_text("events: {receiver: {host: 127.0.0.1, port: 0, token_file: token}}\n")
    argv = [sys.executable, "-m", "yolo_assets.cli.main", *shlex.split(command)[1:]]
    with subprocess.Popen(argv, cwd=cwd, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert re.search(r"(receiver|pages): http://127\.0\.0\.1:", process.stderr.readline())
        process.terminate()
        assert process.wait(60) == 0


def try_a_model(command: str, cwd: Path, env: dict[str, str]) -> None:
    """A trial until its page serves the model; the port is what the machine has."""
    argv = [sys.executable, "-m", "yolo_assets.cli.main", *shlex.split(command)[1:], "--json"]
    with subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        until(lambda: b'"version":"best/' in urllib.request.urlopen(f"{url}v1/models", timeout=10).read(), 60)
        process.terminate()
        assert process.wait(60) == 0


SERVERS = {"events listen": serve, "pages --port": serve, "edge try": try_a_model}


def bring_a_model(folder: Path) -> None:
    """What somebody has on the first day: a model as a file, a video, pictures."""
    (folder / "best.onnx").write_bytes(tiny_bundle_files()[1][ONNX])
    write_video(folder / "shift.mp4")
    (folder / "plant" / "store").mkdir(parents=True)
    (folder / "pictures").mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), blob_frame(number)[0])


def label_frames(home: Path) -> None:
    """A plant with a dataset, and a Dagster that has never run."""
    world = World.make(home)
    world.label(world.archive_frames(12))
    build_dataset(world.store, Archive(world.archive, world.trusted))
    prepare_dagster_home(home)


def run_a_box(root: Path, env: dict[str, str]) -> None:
    """An agent that judged a few pictures and has ended; it is ``box1`` and has no address."""
    root.mkdir()
    plant = Plant(root)
    plant.register("1")
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos"))}
    run(f"yolo-assets edge run --config {plant.config_file([camera], exit_when_done=True)}", root, env)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_runs_in_the_order_it_is_written(page: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_ASSETS_")}
    env["YOLO_ASSETS_HOME"] = str(tmp_path / "plant")
    env["YOLO_ASSETS_GRACE_SECONDS"] = "0"
    if page == "docs/how-to/second-copy.md":
        env["YOLO_ASSETS_ARCHIVE_COPY"] = str(tmp_path / "second-place")
    if page == "docs/edge.md":  # speaks of a box that runs
        run_a_box(tmp_path / "plant", env)
    elif page == "docs/how-to/your-own-model.md":
        bring_a_model(tmp_path)
    elif page == "docs/how-to/train-a-model.md":
        label_frames(tmp_path / "plant")
    elif page != "README.md":  # the operator's page speaks of a plant that exists
        for command in commands("README.md"):
            if command.startswith(("yolo-assets simulate", "yolo-assets archive run", "yolo-assets catalog rebuild")):
                run(command, tmp_path, env)
    for command in commands(page):
        if command.startswith("make "):
            continue
        how = SERVERS.get(" ".join(command.split()[1:3]), run)
        how(command, tmp_path, env)
    for pack in tmp_path.glob("evidence/manifest.json"):
        counts = json.loads(pack.read_text())["counts"]
        assert counts["frames"] and counts["records"] == counts["frames"] and counts["detections"], f"{page}: {counts}"


def test_every_make_target_that_is_named_exists_and_is_explained_by_make_help() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    for page in PAGES:
        for target in made(page):
            assert target in targets and f"make {target}" in told, f"{page} names make {target}"


def test_links_and_pictures_of_the_pages_exist() -> None:
    for page in (*TOP, *SITE):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            generated = "reference/" in target  # written from the code when the site is built
            assert generated or ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_variables_of_the_operators_page_are_those_that_are_read() -> None:
    told = set(re.findall(r"`(YOLO_ASSETS_[A-Z_]+)`", (ROOT / "docs/operations.md").read_text()))
    read = set(variables())
    for path in (ROOT / "yolo_assets").rglob("*.py"):
        read |= set(re.findall(r'"(YOLO_ASSETS_[A-Z_]+)"', path.read_text()))
    assert told == read
