"""From the wheel: each extra in a fresh environment does what it is for, and a device installs without a network.

The environments are made from the wheel and the pins of ``constraints.txt`` and ``overrides.txt``, as ``make dist``
makes them. uv links files from its cache, so that the large extras take seconds once ``make install`` has run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from yolo_assets_tests.cli.command_line import clean_env, cli
from yolo_assets_tests.edge.plant import Plant as EdgePlant
from yolo_assets_tests.edge.test_no_egress import needs_namespace
from yolo_assets_tests.evidence.evidence_world import Plant as EvidencePlant

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
TIMES = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")
HEAVY = ("dagster", "torch", "ultralytics", "openvino", "onnxruntime", "cv2", "duckdb", "polars", "pyarrow", "boto3")

pytestmark = pytest.mark.timeout(900)


def checked(*command: str | Path, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    checked(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out, cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


@dataclass(frozen=True)
class Installation:
    """A fresh environment with one extra, used from an empty folder outside the checkout."""

    venv: Path
    folder: Path

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        """The installed command line."""
        command = [self.venv / "bin" / "yolo-assets", *argv]
        env = clean_env(self.folder / "home")
        env.pop("PYTHONPATH", None)
        return subprocess.run(
            list(map(str, command)), cwd=self.folder, env=env, capture_output=True, text=True, timeout=300
        )

    def works(self, *argv: str | Path) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, f"{argv}: {done.stderr[-2000:]}"
        return done.stdout

    def python(self, code: str) -> str:
        env = {**clean_env(self.folder / "home"), "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(self.folder)}
        env.pop("PYTHONPATH", None)
        return checked(self.venv / "bin" / "python", "-I", "-c", code, cwd=self.folder, env=env)

    def lacks(self, *modules: str) -> None:
        """None of these packages came along."""
        code = f"import importlib.util as u; print([m for m in {modules!r} if u.find_spec(m)])"
        assert self.python(code).strip() == "[]"


def installed(wheel: Path, extra: str, tmp_path: Path) -> Installation:
    venv = tmp_path / "venv"
    checked(sys.executable, "-m", "venv", "--without-pip", venv)
    what = f"{wheel}[{extra}]" if extra else str(wheel)
    pins = ("--constraint", ROOT / "constraints.txt", "--override", ROOT / "overrides.txt")
    checked(UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python", *pins, what)
    folder = tmp_path / "empty"
    folder.mkdir()
    found = Installation(venv, folder)
    assert found.python("import yolo_assets; print(yolo_assets.__file__)").startswith(str(venv))
    return found


def test_every_pin_takes_the_python_of_debian_12() -> None:
    """Its 3.11.2, and any other 3.11: a pin that wants a later one stops `make install` there."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    asked = {one.name: one.metadata["Requires-Python"] for one in distributions() if one.version == pins.get(one.name)}
    assert len(asked) > 150
    refusing = {name: wanted for name, wanted in asked.items() if wanted and "3.11.0" not in SpecifierSet(wanted)}
    assert refusing == {}


def test_base_verifies_an_evidence_pack(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "plant").mkdir()
    EvidencePlant(tmp_path / "plant").hour()
    pack = tmp_path / "pack"
    done = cli("evidence", "make", "--camera", "cam1", *TIMES, "--out", pack, home=tmp_path / "plant")
    assert done.returncode == 0, done.stderr
    base = installed(wheel, "", tmp_path)
    base.lacks(*HEAVY)
    key = tmp_path / "plant" / "keys" / "archiver.pub"
    report = json.loads(base.works("evidence", "verify", pack, "--key", key, "--json"))
    assert report["ok"] is True
    archive = ("--archive", tmp_path / "plant" / "archive", "--key", key)
    (listed,) = json.loads(base.works("archive", "ls", "--json", *archive))
    name = listed["archive_key"].rpartition("/")[2]
    assert "20260102_03000" in base.works("archive", "show", name, "--members", *archive)
    base.works("restore", "--camera", "cam1", *TIMES, "--out", "back", *archive)
    frame = next(path for path in (pack / "frames").rglob("*.jpg"))
    frame.write_bytes(frame.read_bytes() + b"x")
    assert base.run("evidence", "verify", pack, "--key", key).returncode == 1
    assert base.works("--version").startswith("yolo-assets ")
    base.works("edge", "init", "--out", "edge.yaml", "--units", "units")
    assert (base.folder / "edge.yaml").read_bytes() == (ROOT / "deploy" / "edge" / "edge.example.yaml").read_bytes()
    assert {path.name for path in (base.folder / "units").iterdir()} == {
        "yolo-assets-edge.service",
        "yolo-assets-archive.service",
        "archive.env.example",
    }


def test_s3_opens_a_bucket(wheel: Path, tmp_path: Path) -> None:
    s3 = installed(wheel, "s3", tmp_path)
    s3.lacks("dagster", "torch", "cv2", "pyarrow")
    code = "from yolo_assets.storage import open_store; print(open_store('s3://bucket/prefix').url)"
    assert s3.python(code).strip() == "s3://bucket/prefix"


def test_archive_archives_and_restores(wheel: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    done = cli("simulate", "--out", spool, "--cameras", "1", "--hours", "1", "--fps", "0.01", home=tmp_path / "plant")
    assert done.returncode == 0, done.stderr
    archive = installed(wheel, "archive", tmp_path)
    archive.lacks("dagster", "torch", "cv2", "openvino", "onnxruntime")
    archive.works("archive", "run", "--spool", spool, "--archive", tmp_path / "archive", "--grace", "0")
    assert json.loads(archive.works("archive", "ls", "--archive", tmp_path / "archive", "--json"))
    archive.works("archive", "verify", "--sample", "1/1", "--archive", tmp_path / "archive")


@pytest.mark.parametrize(
    ("extra", "engine"), [("edge-onnxruntime", "onnxruntime"), ("edge-openvino", "openvino"), ("edge", "auto")]
)
def test_an_edge_extra_runs_an_agent(extra: str, engine: str, wheel: Path, tmp_path: Path) -> None:
    config = agent_config(tmp_path / "plant", engine)
    edge = installed(wheel, extra, tmp_path)
    edge.lacks("dagster", "torch", "duckdb", "polars", "pyarrow")
    edge.works("edge", "run", "--config", config)
    assert sum(1 for _ in (tmp_path / "plant" / "spool").glob("cam1/*/.sealed")) >= 1


def test_platform_loads_the_graph_and_builds_a_catalog(wheel: Path, tmp_path: Path) -> None:
    platform = installed(wheel, "platform", tmp_path)
    platform.lacks("torch", "ultralytics")
    count = platform.python(
        "import dagster as dg; from yolo_assets.definitions import defs;"
        "print(len(list((defs() if callable(defs) else defs).resolve_asset_graph().get_all_asset_keys())))"
    )
    assert int(count) >= 12
    simulated = platform.folder / "spool"
    platform.works("simulate", "--out", simulated, "--cameras", "1", "--hours", "1", "--fps", "0.01")
    platform.works("archive", "run", "--spool", simulated, "--grace", "0")
    platform.works("catalog", "rebuild")
    assert "1" in platform.works("catalog", "query", "SELECT count(*) FROM archives")


def test_train_trains_without_triton(wheel: Path, tmp_path: Path) -> None:
    train = installed(wheel, "train", tmp_path)
    train.lacks("dagster", "duckdb", "triton")
    loss = train.python(
        "import torch; from ultralytics import YOLO; import yolo_assets.training.trainer;"
        "net = YOLO('yolo11n.yaml').model.train(); y = net(torch.zeros(1, 3, 64, 64));"
        "y = y.values() if isinstance(y, dict) else y;"
        "s = sum(t.float().sum() for t in y if hasattr(t, 'sum')); s.backward(); print('ok')"
    )
    assert loss.strip().endswith("ok")


def test_all_is_platform_edge_and_train_and_k8s_is_its_own(wheel: Path, tmp_path: Path) -> None:
    everything = installed(wheel, "all", tmp_path)
    everything.lacks("triton", "dagster_k8s", "kubernetes")
    everything.python("import dagster, duckdb, torch, ultralytics, openvino, onnxruntime, dagster_aws")
    up_and_down(everything)
    pods = tmp_path / "pods"
    pods.mkdir()
    installed(wheel, "k8s", pods).python("import dagster_k8s")


@needs_namespace
def test_a_device_installs_from_the_folder_without_a_network_and_runs(tmp_path: Path) -> None:
    out = tmp_path / "dist"
    bin_folder = Path(sys.executable).parent
    checked("bash", ROOT / "deploy" / "wheels.sh", out, "edge", env={**os.environ, "BIN": str(bin_folder)})
    config = agent_config(tmp_path / "plant", "auto")
    home = tmp_path / "device"
    home.mkdir()
    script = f"""
set -euo pipefail
ip link set lo up 2>/dev/null || true
python3 -m venv venv
./venv/bin/pip install --quiet --no-index --no-deps --find-links {out}/wheels -r {out}/wheels/requirements-edge.txt
./venv/bin/yolo-assets edge run --config {config}
"""
    env = {**clean_env(home), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    env.pop("PYTHONPATH", None)
    checked("unshare", "-rn", "bash", "-c", script.replace("python3 ", f"{sys.executable} "), cwd=home, env=env)
    assert sum(1 for _ in (tmp_path / "plant" / "spool").glob("cam1/*/.sealed")) >= 1
    shutil.rmtree(home)


def up_and_down(everything: Installation) -> None:
    """``yolo-assets up`` in an empty folder: the live page and the Dagster UI answer, and SIGTERM ends both."""
    env = clean_env(everything.folder / "home")
    env.pop("PYTHONPATH", None)
    command = [str(everything.venv / "bin" / "yolo-assets"), "up"]
    pages: dict[str, str] = {}
    with subprocess.Popen(command, cwd=everything.folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.match(r"(live page|Dagster UI) +(http://127\.0\.0\.1:\d+/)", line):
                    pages[found[1]] = found[2]
                if line.startswith("Ctrl-C"):
                    break
            for page in pages.values():
                with urllib.request.urlopen(page, timeout=60) as answer:
                    assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    assert pages.keys() == {"live page", "Dagster UI"}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_demo_runs_from_the_wheel_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    everything = installed(wheel, "all", tmp_path)
    command = [str(everything.venv / "bin" / "yolo-assets"), "demo"]
    env = clean_env(everything.folder / "home")
    env.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=everything.folder, env=env, capture_output=True, text=True, timeout=3000)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    assert re.search(r"frames lost in the switch\W+0\b", done.stdout)


def agent_config(root: Path, engine: str) -> Path:
    """An agent over a few photographs that ends by itself."""
    root.mkdir()
    plant = EdgePlant(root)
    plant.register("1")
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos"))}
    return plant.config_file([camera], exit_when_done=True, engine={"kind": engine})
