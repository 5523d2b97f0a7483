"""The configuration: defaults, one-line refusals that name the field, relative paths, and the shipped example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.agent import AgentConfig, load_config
from yolo_assets.edge.config.cameras import SimulatedCameras

EXAMPLE = Path(__file__).parents[2] / "deploy" / "edge" / "edge.example.yaml"
FOLDER = {"kind": "folder", "camera_id": "cam1", "path": "photos"}
SIMULATED = {"kind": "simulated", "camera_ids": ["lineA_cam01"]}


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "device_id": "box1",
        "spool": "spool",
        "store": "store",
        "model": "line",
        "trusted_keys": ["promotion.pub"],
        "cameras": [FOLDER],
    }
    return {key: value for key, value in (base | changes).items() if value is not None}


def load(tmp_path: Path, **changes: Any) -> AgentConfig:
    path = tmp_path / "edge.yaml"
    path.write_text(yaml.safe_dump(document(**changes)))
    return load_config(path)


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.spool == tmp_path / "spool"
    assert config.store == (tmp_path / "store").as_uri()
    assert config.trusted_keys == (tmp_path / "promotion.pub",)
    assert config.cameras[0].path == tmp_path / "photos"  # type: ignore[union-attr]
    assert config.state_dir == tmp_path / "edge" / "box1"
    assert config.listen.loopback


def test_the_example_is_valid_with_every_commented_camera() -> None:
    text = EXAMPLE.read_text()
    assert load_config(EXAMPLE).camera_ids == ["lineA_cam01"]
    lines = []
    for line in text.splitlines():
        bare = line.strip()
        option = bare.startswith("# ") and (bare.startswith("# - kind") or line.startswith("  #   "))
        lines.append(line.replace("# ", "", 1) if option else line)
    cameras = yaml.safe_load("\n".join(lines))["cameras"]
    kinds = ["stream", "snapshot", "usb", "genicam", "drop_folder", "video", "folder", "simulated"]
    assert [camera["kind"] for camera in cameras] == kinds
    cameras[-1]["camera_ids"] = ["lineA_cam09"]
    AgentConfig.model_validate(yaml.safe_load(text) | {"cameras": cameras})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device_id": None}, "device_id: Field required"),
        ({"device_id": "box 1"}, "device_id"),
        ({"cameras": []}, "cameras"),
        ({"cameras": None}, "cameras"),
        ({"cameras": [FOLDER | {"camera_id": "a/b"}]}, "'a/b' is not a camera id"),
        ({"cameras": [FOLDER | {"camera_id": ".."}]}, "'..' is not a camera id"),
        ({"cameras": [FOLDER, FOLDER]}, "camera id cam1 is used twice"),
        ({"cameras": [{"kind": "usb"}]}, "camera number 1.camera_id: Field required"),
        ({"cameras": [FOLDER | {"fsp": 3}]}, "fsp"),
        ({"cameras": [{"kind": "stream", "camera_id": "cam1", "url": "file:///etc/passwd"}]}, "url"),
        ({"trusted_keys": []}, "trusted_keys"),
        ({"listen": {"port": 70000}}, "listen.port"),
        ({"token": "a", "token_file": "b"}, "token or token_file"),
        ({"colour": "red"}, "colour"),
        ({"poll_seconds": 0}, "poll_seconds"),
        (
            {"cameras": [{"kind": "simulated", "camera_ids": ["lineA_cam01"], "truth": "spool/truth"}]},
            "inside the spool",
        ),
    ],
)
def test_refusals_are_one_line_and_name_the_field(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load(tmp_path, **changes)
    message = str(caught.value)
    assert words in message and "edge.yaml" in message and "\n" not in message


@pytest.mark.parametrize("content", [b"", b"- a", b"a: [", b"\xff\xfe\x00", b"a: b: c"])
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "edge.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"edge\.yaml") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nothing\.yaml; write one: yolo-assets edge init --out edge\.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_times_need_a_zone_and_may_be_bare_yaml(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    camera = "[{kind: simulated, camera_ids: [lineA_cam01], clock: {start: 2026-01-02T03:00:00%s, speed: 60}}]"
    rest = yaml.safe_dump(document(cameras=None))
    path.write_text(f"{rest}cameras: {camera % 'Z'}\n")
    camera_config = load_config(path).cameras[0]
    assert isinstance(camera_config, SimulatedCameras) and camera_config.clock is not None
    assert camera_config.clock.start.isoformat() == "2026-01-02T03:00:00+00:00"
    path.write_text(f"{rest}cameras: {camera % ''}\n")
    with pytest.raises(BadInputError, match="timezone"):
        load_config(path)


def test_the_token_comes_from_file_configuration_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YOLO_ASSETS_TOKEN", raising=False)
    assert load(tmp_path).secret() is None
    monkeypatch.setenv("YOLO_ASSETS_TOKEN", "from-environment")
    assert load(tmp_path).secret() == "from-environment"
    assert load(tmp_path, token="from-configuration").secret() == "from-configuration"
    (tmp_path / "token").write_text("from-a-file\n")
    assert load(tmp_path, token_file="token").secret() == "from-a-file"
    with pytest.raises(BadInputError, match="token_file"):
        load(tmp_path, token_file="missing").secret()
    with pytest.raises(BadInputError, match="8 characters"):
        load(tmp_path, token="short").secret()
    assert "from-configuration" not in repr(load(tmp_path, token="from-configuration"))


def test_port_and_overrides(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.with_port(0).listen.port == 0
    with pytest.raises(BadInputError, match="port"):
        config.with_port(-1)
    assert load_config(tmp_path / "edge.yaml", spool="/elsewhere", store=None).spool == Path("/elsewhere")


def test_an_option_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(yaml.safe_dump(document()) + "infer:\n  concurrency: 1\ninfer:\n  concurrency: 2\n")
    with pytest.raises(BadInputError, match=r"is not YAML: line \d+: infer is given twice$"):
        load_config(path)


@pytest.mark.parametrize(
    "text",
    [
        "cameras:\n  - url: rtsp://admin:geheim: 1@cam/s\n",
        "cameras: [{url: 'rtsp://admin:geheim@cam/s}]\n",
        "geheim: [\n",
    ],
)
def test_a_file_that_cannot_be_read_is_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "edge.yaml").write_text(text)
    with pytest.raises(BadInputError, match="is not YAML") as caught:
        load_config(tmp_path / "edge.yaml")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://user:geheim/x@host/", "https://host:geheim/", "https://[geheim/"])
def test_an_address_that_is_none_is_not_quoted(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInputError, match=r"not an address|no credentials|give an address") as caught:
        load(tmp_path, outputs=[{"kind": "webhook", "name": "mes", "url": url}])
    assert "geheim" not in str(caught.value)
