"""The plant on a laptop: a Compose file that the specification allows, whose parts exist, without a secret in it.

No container engine with a registry was at hand: it was never started, and its page says so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from yolo_assets.cli.pages import PORT
from yolo_assets.contracts.signing import Signer
from yolo_assets.edge.config.agent import load_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text()


def checked(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The schema of the Compose specification, as check-jsonschema brings it."""
    pytest.importorskip("check_jsonschema")
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_compose_specification_allows_the_file(tmp_path: Path) -> None:
    done = checked(TEXT, tmp_path)
    assert done.returncode == 0, done.stdout
    assert checked(TEXT.replace("depends_on:", "depend_on:"), tmp_path).returncode != 0


def faults(text: str) -> list[str]:
    """Names that lead nowhere, doors that are open, secrets in the clear, images that may change."""
    document: dict[str, Any] = yaml.safe_load(text)
    services, found = document["services"], list[str]()
    for name, service in services.items():
        found += [f"{name} depends on {other}" for other in service.get("depends_on", {}) if other not in services]
        found += [f"{name} has secret {one}" for one in service.get("secrets", ()) if one not in document["secrets"]]
        found += [f"{name} opens {port}" for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")]
        image = service["image"].replace("${TAG:-0.1.0}", "0.1.0")
        if not re.search(r":v?\d+(\.\d+)+$", image):
            found.append(f"{name} may get any version")
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (FOLDER / source).exists() if source.startswith(".") else source in document["volumes"]
            found += [] if there else [f"{name} mounts {source}"]
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|_KEY", variable) and not value.startswith("/run/secrets/"):
                found.append(f"{name} has {variable} in the clear")
    for name, secret in document["secrets"].items():
        if secret != {"file": f"./secrets/{name}"}:
            found.append(f"secret {name} is not a file")
    return found


def test_scripts_that_a_page_runs_by_their_path_can_be_run() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *(ROOT / "deploy").rglob("*.yaml")]
    named = {
        path
        for page in pages
        for path in re.findall(r"(?:^|&& |# +)(deploy/\S+\.sh)\b", page.read_text(), re.MULTILINE)
    }
    assert {"deploy/images/build.sh", "deploy/compose/make-secrets.sh"} <= named
    assert [path for path in sorted(named) if not os.access(ROOT / path, os.X_OK)] == []


def test_the_links_of_the_ui_lead_to_a_service() -> None:
    services = yaml.safe_load(TEXT)["services"]
    links = urlsplit(services["code"]["environment"]["YOLO_ASSETS_PAGES"])
    pages = services["pages"]
    assert f"127.0.0.1:{links.port}:{PORT}" in pages["ports"] and links.hostname == "localhost"
    assert pages["command"] == ["yolo-assets", "pages", "--host", "0.0.0.0"]
    assert all(volume.endswith(":ro") for volume in pages["volumes"]), "it writes nothing"
    assert "postgres-password" not in pages["secrets"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text, []),
        (lambda text: text.replace("{ s3: { cond", "{ s4: { cond", 1), ["prepare depends on s4"]),
        (lambda text: text.replace('"127.0.0.1:9090:9090"', '"9090:9090"'), ["prometheus opens 9090:9090"]),
        (
            lambda text: text.replace("postgres:17.6", "postgres:latest"),
            ["postgres may get any version"],
        ),
        (lambda text: text.replace("./edge.yaml", "./agent.yaml"), ["agent mounts ./agent.yaml"]),
        (
            lambda text: text.replace("PASSWORD_FILE: /run/secrets/postgres-password", "PASSWORD: x"),
            ["postgres has POSTGRES_PASSWORD in the clear"],
        ),
    ],
)
def test_what_the_file_names_exists_and_nothing_is_open(change: Callable[[str], str], fault: list[str]) -> None:
    assert faults(change(TEXT)) == fault


def test_secrets_are_made_once_and_never_go_into_git(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((FOLDER / "make-secrets.sh").read_bytes())
    subprocess.run(["bash", script], check=True, capture_output=True, timeout=30)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == yaml.safe_load(TEXT)["secrets"].keys()
    assert len(set(made.values())) == len(made) and min(map(len, made.values())) > 40
    subprocess.run(["bash", script], check=True, capture_output=True, timeout=30)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    ignored = subprocess.run(["git", "check-ignore", "-q", FOLDER / "secrets" / "agent-token"], cwd=ROOT)
    assert ignored.returncode == 0


def test_the_agent_takes_its_configuration(tmp_path: Path) -> None:
    Signer.load_or_create(tmp_path / "promotion")
    (tmp_path / "token").write_text("t" * 40)
    text = (FOLDER / "edge.yaml").read_text()
    text = text.replace("/etc/yolo-assets/keys", str(tmp_path)).replace(
        "/run/secrets/agent-token", str(tmp_path / "token")
    )
    (tmp_path / "edge.yaml").write_text(text)
    config = load_config(tmp_path / "edge.yaml")
    assert len(config.camera_ids) == 3
    prometheus = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yaml").read_text())
    (edge,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == "yolo-edge"]
    assert edge["static_configs"] == [{"targets": ["agent:8080"]}]
    assert edge["authorization"] == {"credentials_file": "/run/secrets/agent-token"}
