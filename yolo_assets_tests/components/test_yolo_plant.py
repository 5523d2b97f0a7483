"""A project of somebody else: ``dg`` scaffolds the plant there, and loads all that our own code location has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import yaml

from yolo_assets.components import YoloPlant
from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.definitions import defs

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[project]
name = "factory"
version = "0.1"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "factory"
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


class Project:
    """A ``dg`` project in which this package is installed by its entry point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "factory"
        (self.folder / "factory" / "defs").mkdir(parents=True)
        (self.folder / "pyproject.toml").write_text(PYPROJECT)
        for package in ("factory", "factory/defs"):
            (self.folder / package / "__init__.py").touch()
        (self.folder / "factory" / "definitions.py").write_text(DEFINITIONS)
        # What pip writes: a checkout that was installed before the entry point came has an older one.
        group = "dagster_dg_cli.registry_modules"
        points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][group]
        info = folder / "site" / "factory_test_plugin-0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: factory-test-plugin\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_ASSETS_")}
        self.env |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "site"), str(self.folder)]),
            "DAGSTER_HOME": str(folder / "dagster"),
            "DG_CLI_CONFIG": str(folder / "none.toml"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        (folder / "dagster").mkdir()

    def dg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "dg"), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=250, check=False
        )


def names(document: dict[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    return {
        kind: {item["asset_key"] if kind == "assets" else item["name"] for item in document[kind]}
        for kind in ("assets", "sensors", "schedules")
    }


def test_dg_scaffolds_a_plant_and_lists_its_whole_graph(tmp_path: Path) -> None:
    project = Project(tmp_path)
    made = project.dg("scaffold", "defs", "yolo_assets.components.YoloPlant", "berlin", "--home", "berlin-home")
    assert made.returncode == 0, made.stderr + made.stdout
    written = yaml.safe_load((project.folder / "factory" / "defs" / "berlin" / "defs.yaml").read_text())
    assert written == {"type": "yolo_assets.components.YoloPlant", "attributes": {"home": "berlin-home"}}
    home = project.folder / "berlin-home"  # it counts from the project's root
    (home / "spool" / "cam1" / "20251201_05").mkdir(parents=True)
    listed = project.dg("list", "defs", "--json")
    assert listed.returncode == 0, listed.stderr
    found = names(json.loads(listed.stdout[listed.stdout.index("{") :]))
    ours = defs()
    assert found["assets"] == {key.to_user_string() for key in ours.resolve_all_asset_keys()}
    assert found["sensors"] == {sensor.name for sensor in ours.sensors or []}
    assert found["schedules"] >= {schedule.name for schedule in ours.schedules or []}
    assert (home / "first-partition").read_text() == "2025-12-01-05:00\n"


def test_attributes_become_settings_and_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    plant = YoloPlant(home="h", archive="s3://b/p", spool="/data/spool", settings={"YOLO_ASSETS_CLASSES": "crack"})
    assert plant.environment(tmp_path) == {
        "YOLO_ASSETS_HOME": str(tmp_path / "h"),
        "YOLO_ASSETS_ARCHIVE": "s3://b/p",
        "YOLO_ASSETS_SPOOL": "/data/spool",
        "YOLO_ASSETS_CLASSES": "crack",
    }
    for wrong, word in (
        (YoloPlant(home="h", settings={"YOLO_ASSETS_CLASES": "x"}), "YOLO_ASSETS_CLASES is not known"),
        (YoloPlant(home="h", store="gs://bucket"), "gs"),
    ):
        with pytest.raises(UsageError, match=word):
            wrong.environment(tmp_path)


def test_a_second_plant_in_one_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path / "berlin"))
    context = cast("dg.ComponentLoadContext", SimpleNamespace(project_root=tmp_path))
    assert YoloPlant(home="berlin").build_defs(context).assets
    with pytest.raises(BadInputError, match="a code location holds one"):
        YoloPlant(home="wien").build_defs(context)
    assert os.environ["YOLO_ASSETS_HOME"] == str(tmp_path / "berlin")
