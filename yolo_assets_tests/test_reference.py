"""The reference of the documentation site: complete, current, and built without a warning."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fastapi.testclient import TestClient

from yolo_assets.contracts.settings import variables
from yolo_assets.edge.agent import Agent
from yolo_assets_tests.edge.plant import Plant

ROOT = Path(__file__).parents[1]
OPENAPI = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_description_an_example_and_described_options(reference: ModuleType) -> None:
    commands = dict(reference.commands())
    assert {"archive run", "edge init", "evidence verify", "models promote", "restore", "demo"} <= commands.keys()
    for words, command in commands.items():
        assert command.help and "Example: yolo-assets " in f"{command.help}\n{command.epilog}", words
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help, f"{words} {option.opts}"
    page = reference.commands_page()
    assert all(f"## {words}\n" in page for words in commands)


def test_every_setting_is_in_the_operators_table_as_the_code_has_it(reference: ModuleType) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for name, (default, text) in variables().items():
        row = f"| `{name}` | {f'`{default}`' if default else ''} | {text} |"
        assert text and row in page, f"docs/operations.md lacks the row\n{row}"
        assert row in reference.settings_page()


def test_every_metric_has_a_help_text_and_a_unique_name(reference: ModuleType) -> None:
    metrics = reference.metrics()
    assert {"yolo_edge_frames", "yolo_edge_ready", "yolo_assets_archive_retries"} <= metrics.keys()
    for name, (_, text) in metrics.items():
        assert (text.endswith(".") and text[0].isupper()) or text[0].isdigit(), f"{name}: {text}"


def test_every_section_of_the_agents_configuration_is_explained(reference: ModuleType) -> None:
    page = reference.configuration_page()
    example = (ROOT / "deploy" / "edge" / "edge.example.yaml").read_text()
    for option in re.findall(r"(?m)^(\w+):", example):
        assert f"| `{option}` |" in page, option


def test_every_option_of_the_agents_configuration_has_a_description(reference: ModuleType) -> None:
    rows = [line for line in reference.configuration_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row for row in rows if not re.split(r"(?<!\\)\|", row)[-2].strip()] == []


def test_the_description_of_the_http_api_is_current(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    agent = Agent(plant.config([camera]))
    try:
        with TestClient(agent.app, "http://127.0.0.1:8080", client=("127.0.0.1", 50000)) as client:
            document = client.get("/openapi.json").json()
    finally:
        agent.stop()
    if os.environ.get("YOLO_ASSETS_TESTS_UPDATE"):
        OPENAPI.write_text(json.dumps(document, indent=1) + "\n")
    assert document == json.loads(OPENAPI.read_text()), "run this test with YOLO_ASSETS_TESTS_UPDATE=1"


@pytest.mark.timeout(600)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    for page in ("index", "glossary", "reference/commands", "reference/python-api", "decisions/0012-stores-retry"):
        assert (tmp_path / page / "index.html").exists() or (tmp_path / f"{page}.html").exists()
    html = (tmp_path / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://(?!squidfunk\.github\.io)[^"]+"', html), (
        "the site loads from elsewhere"
    )
