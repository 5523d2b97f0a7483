"""A real Prometheus scrapes a real exporter with the shipped rules, and answers every question of the dashboards."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.services import LocalService, free_port, get_json, wait_for_http
from yolo_assets_tests.defs.hours_in_spool import write_hour

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
BACKLOG = "max(yolo_platform_backlog_age_seconds)"

pytestmark = pytest.mark.soak


def configuration(folder: Path, exporter: int) -> Path:
    """The shipped files, with this exporter as the only target, scraped every second; alerts without a delay."""
    document = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["scrape_configs"] = [
        job | {"static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
        for job in document["scrape_configs"]
        if job["job_name"] == "yolo-platform"
    ]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(document))
    rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    return folder / "prometheus.yaml"


def ask(prometheus: int, expr: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expr})
    answer = get_json(f"http://127.0.0.1:{prometheus}/api/v1/query?{query}")
    assert answer["status"] == "success", expr
    return answer["data"]["result"]


def test_prometheus_scrapes_judges_and_answers(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: package prometheus)")
    home = tmp_path / "plant"
    dagster_home = prepare_dagster_home(home)
    write_hour(home / "spool", "cam1", Hour.of(utc_now()).next(-6), 1)
    ports = {"exporter": free_port(0)}
    ports["prometheus"] = free_port(0)
    exporter = [sys.executable, "-m", "yolo_assets.cli.main", "exporter", "--port", str(ports["exporter"])]
    env = {"YOLO_ASSETS_HOME": str(home), "DAGSTER_HOME": str(dagster_home)}
    prometheus = [
        "prometheus",
        f"--config.file={configuration(tmp_path, ports['exporter'])}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    ]
    with (
        LocalService("the exporter", exporter, tmp_path / "exporter.log", env=env) as running,
        LocalService("Prometheus", prometheus, tmp_path / "prometheus.log") as server,
    ):
        wait_for_http(running, f"http://127.0.0.1:{ports['exporter']}/healthz", 60)
        wait_for_http(server, f"http://127.0.0.1:{ports['prometheus']}/-/ready", 60)
        deadline = time.monotonic() + 60
        firing: set[str] = set()
        while "BacklogOld" not in firing and time.monotonic() < deadline:
            time.sleep(0.5)
            alerts = get_json(f"http://127.0.0.1:{ports['prometheus']}/api/v1/alerts")["data"]["alerts"]
            firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
        assert firing == {"BacklogOld"}, (tmp_path / "prometheus.log").read_text()[-2000:]
        (age,) = ask(ports["prometheus"], BACKLOG)
        assert 5 * 3600 <= float(age["value"][1]) <= 6.1 * 3600
        rules = get_json(f"http://127.0.0.1:{ports['prometheus']}/api/v1/rules")["data"]["groups"]
        wrong = [rule["name"] for group in rules for rule in group["rules"] if rule["health"] != "ok"]
        assert wrong == [] and sum(len(group["rules"]) for group in rules) == 33
        asked = 0
        for path in (MONITORING / "dashboards").glob("*.json"):
            for panel in json.loads(path.read_text())["panels"]:
                for target in panel.get("targets", ()):
                    ask(ports["prometheus"], target["expr"])
                    asked += 1
        assert asked > 40
