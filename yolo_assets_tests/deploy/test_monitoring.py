"""Alerts and dashboards: Prometheus reads them, each alert fires when it should, and each has a page in the runbook.

Whether the metrics that they name are exported is shown where the exporter is tested.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook.md"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]


def promtool(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    if tool is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have promtool")
        pytest.skip("promtool is not installed (Debian: package prometheus)")
    return subprocess.run([tool, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The files of Prometheus, where a test may spoil them."""
    for path in MONITORING.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    return tmp_path


def spoil(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


def test_prometheus_takes_the_rules_and_the_configuration(copied: Path) -> None:
    checks = (("rules", "rules.yaml"), ("config", "--syntax-only", "prometheus.yaml"))  # files of secrets are not here
    for words in checks:
        done = promtool("check", *words, cwd=copied)
        assert done.returncode == 0, done.stderr
    spoil(copied / "rules.yaml", lambda text: text.replace("yolo_edge_ready == 0", "yolo_edge_ready = 0"))
    spoil(copied / "prometheus.yaml", lambda text: text.replace("job_name: yolo-edge", "jobname: yolo-edge"))
    assert all(promtool("check", *words, cwd=copied).returncode != 0 for words in checks)


def test_each_alert_fires_when_it_should_and_not_before(copied: Path) -> None:
    done = promtool("test", "rules", "rules_test.yaml", cwd=copied)
    assert done.returncode == 0, done.stderr + done.stdout


def test_every_alert_has_a_case_that_fails_without_it(copied: Path) -> None:
    silent = {"groups": [{"name": "silent", "rules": [rule | {"for": "100d"} for rule in ALERTS]}]}
    (copied / "rules.yaml").write_text(yaml.safe_dump(silent))
    done = promtool("test", "rules", "rules_test.yaml", cwd=copied)
    assert done.returncode != 0
    expected = set(re.findall(r'exp: \{alertname="(\w+)"\}', done.stderr + done.stdout))
    assert expected == {rule["alert"] for rule in ALERTS}


def sections(page: str) -> dict[str, str]:
    """Headings of a page by the anchor that they get."""
    return {title.strip().lower(): title.strip() for title in re.findall(r"(?m)^## (.*)$", page)}


def without_runbook(page: str) -> set[str]:
    """Alerts that the runbook does not explain, and sections of alerts that are no more."""
    found = sections(page)
    named = {rule["alert"]: rule["annotations"]["runbook"].partition("#") for rule in ALERTS}
    wrong = {alert for alert, (file, _, anchor) in named.items() if file != "docs/runbook.md" or anchor not in found}
    return wrong | (set(found.values()) - named.keys())


def test_every_alert_has_its_section_in_the_runbook() -> None:
    page = RUNBOOK.read_text()
    assert without_runbook(page) == set()
    assert without_runbook(page.replace("## GapsGrow", "## GapsGrew")) == {"GapsGrow", "GapsGrew"}
    for section in page.split("\n## ")[1:]:
        assert all(word in section for word in ("**Means:**", "**Look:**", "**Do:**")), section.splitlines()[0]


def test_every_alert_tells_what_and_how_urgent() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, rule["alert"]


@pytest.fixture(scope="module")
def dashboards() -> ModuleType:
    pytest.importorskip("grafana_foundation_sdk")
    spec = importlib.util.spec_from_file_location("dashboards", MONITORING / "dashboards.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboards"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def not_current(dashboards: ModuleType, folder: Path) -> list[str]:
    wanted = {path.name: text for path, text in dashboards.rendered()}
    there = {path.name: path.read_text() for path in folder.glob("*.json")}
    return [name for name in sorted({*wanted, *there}) if wanted.get(name) != there.get(name)]


def test_the_dashboards_are_those_that_the_script_writes(dashboards: ModuleType, tmp_path: Path) -> None:
    assert not_current(dashboards, MONITORING / "dashboards") == [], "run: python deploy/monitoring/dashboards.py"
    shutil.copytree(MONITORING / "dashboards", tmp_path / "old")
    spoil(tmp_path / "old" / "yolo-plant.json", lambda text: text.replace('"s"', '"ms"'))
    assert not_current(dashboards, tmp_path / "old") == ["yolo-plant.json"]


def expressions(dashboard: dict[str, Any]) -> dict[str, str]:
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def checked(exprs: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Prometheus' own parser on expressions, as recording rules."""
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    (folder / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    return promtool("check", "rules", "--lint=none", "panels.yaml", cwd=folder)


@pytest.mark.parametrize("path", sorted((MONITORING / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_every_question_of_a_dashboard_can_be_parsed(path: Path, tmp_path: Path) -> None:
    dashboard = json.loads(path.read_text())
    exprs = list(expressions(dashboard).values())
    assert len(exprs) > 15
    done = checked(exprs, tmp_path)
    assert done.returncode == 0, done.stderr
    assert checked([*exprs, "sum by (x (y)"], tmp_path).returncode != 0
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_jobs_that_rules_and_dashboards_name_are_scraped() -> None:
    scraped = {
        job["job_name"] for job in yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"]
    }
    texts = [path.read_text() for path in (MONITORING / "rules.yaml", *(MONITORING / "dashboards").glob("*.json"))]
    named = {name for text in texts for name in re.findall(r'job!?=\\?"([\w-]+)', text)}
    assert named == {"yolo-platform", "yolo-edge"} and named <= scraped
    assert all(job.startswith("yolo-") for job in scraped), "TargetDown watches yolo-.+"
