"""The files of ``platform init``: systemd and nginx accept them, the units are locked down, all are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from yolo_assets.shipped import PLANT_FILES, plant_dagster_yaml, shipped_file
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.support import nginx
from yolo_assets_tests.support.plant_services import ALL, commands_of

UNITS = (*ALL, "exporter", "events", "pages")
DEPLOY = Path(__file__).parents[2] / "deploy" / "plant"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
needs_nginx = pytest.mark.skipif(nginx.program() is None, reason="no nginx here; run .ci/install-test-services.sh")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


def unit(name: str) -> Path:
    return shipped_file(f"plant/yolo-assets-{name}.service")


def test_platform_init_writes_every_file_and_overwrites_none(tmp_path: Path) -> None:
    done = cli("platform", "init", "--out", tmp_path / "plant", home=tmp_path)
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in (tmp_path / "plant").iterdir()}
    assert written.keys() == {*PLANT_FILES, "dagster.yaml"}
    assert yaml.safe_load(written["dagster.yaml"]) == yaml.safe_load(plant_dagster_yaml())
    again = cli("platform", "init", "--out", tmp_path / "plant", home=tmp_path)
    assert again.returncode == 1 and "exists already" in again.stderr


def test_a_checkout_shows_the_files_under_deploy() -> None:
    assert {path.name for path in DEPLOY.iterdir()} == {*PLANT_FILES, "storage.yaml"}
    for path in DEPLOY.iterdir():
        assert path.read_bytes() == shipped_file(f"plant/{path.name}").read_bytes()


@needs_systemd
def test_systemd_accepts_the_units_without_a_warning(tmp_path: Path) -> None:
    command = re.compile(r"(?m)^(ExecStart|ExecStartPre)=/opt/yolo-assets/bin/\S+ ")
    for name in UNITS:
        text, count = command.subn(r"\1=/bin/true ", unit(name).read_text())
        assert count == 1 + (name == "code")
        (tmp_path / unit(name).name).write_text(text)  # the commands are not installed where this test runs
    units = [tmp_path / unit(name).name for name in UNITS]
    done = run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    units[0].write_text(f"{units[0].read_text()}\n[Service]\nNoSuchSetting=1\n")
    assert run("systemd-analyze", "verify", "--man=no", *units).stderr, "a wrong unit would be told"


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_the_units_are_locked_down(name: str) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit(name))
    assert done.returncode == 0, done.stdout[-400:]


def test_every_service_listens_on_loopback_and_readers_cannot_write() -> None:
    listening = {name: commands_of(name)[0] for name in UNITS if name not in ("daemon", "events")}
    for words in listening.values():
        assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--read-only" in listening["ui-readers"] and "--read-only" not in listening["ui"]
    (server,) = yaml.safe_load(shipped_file("plant/workspace.yaml").read_text())["load_from"]
    assert str(server["grpc_server"]["port"]) in listening["code"]


@needs_nginx
def test_nginx_accepts_the_proxy(tmp_path: Path) -> None:
    configuration = nginx.write_configuration(tmp_path / "n", users={"anna": "a long word"})
    program = str(nginx.program())
    done = run(program, "-t", "-q", "-p", tmp_path / "n", "-c", configuration)
    assert (done.returncode, done.stderr) == (0, "")
    shipped = tmp_path / "n" / "ui.nginx.conf"
    shipped.write_text(shipped.read_text().replace("auth_delay", "auth_delays"))
    assert run(program, "-t", "-q", "-p", tmp_path / "n", "-c", configuration).returncode, "a wrong file would be told"
