"""Files that people write: the agent's configuration, plant.yaml, option files of gate and training."""

from __future__ import annotations

from collections.abc import Iterator

from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.edge.config.agent import AgentConfig, load_config
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.shipped import shipped_file
from yolo_assets.training.spec import Recipe
from yolo_assets_tests.fuzz.law import refused_or, scratch

FILES = ("edge.yaml", "plant.yaml", "gate.yaml", "gate.toml", "gate.json", "recipe.yaml", "recipe.toml")
LONGEST = 2048


def seeds() -> Iterator[bytes]:
    """The shipped example cut in pieces, small whole configurations, and YAML that goes round in circles."""
    example = shipped_file("edge.example.yaml").read_bytes()
    lines = [line for line in example.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    yield b"\0" + b"\n".join(lines)
    camera = b"cameras: [{kind: folder, camera_id: c1, path: /p, fps: 1}]\n"
    yield b"\0device_id: d\nspool: s\nstore: /srv/store\nmodel: line\ntrusted_keys: [k.pub]\n" + camera
    yield b"\0start: 2024-10-15 14:00:00\nspool: C:\\arch\nstore: &a [*a]\n"
    yield b"\1cameras: [lineA_cam01, {id: lineA_cam02}]\n"
    for number, text in ((2, b"min_map50: 0.5\n"), (3, b"min_map50 = 0.5\n"), (4, b'{"min_map50": 0.5}')):
        yield bytes([number]) + text
    for number, text in ((5, b"starter: {epochs: 3}\n"), (6, b"[starter]\nepochs = 3\n")):
        yield bytes([number]) + text


def check(data: bytes) -> None:
    """The first byte says which file it is."""
    number = data[0] % len(FILES) if data else 0
    path = scratch() / FILES[number]
    path.write_bytes(data[1:])
    if number == 0:
        config = refused_or(lambda: load_config(path))
        if config is not None:
            assert AgentConfig.model_validate(config.model_dump()) == config
    elif number == 1:
        refused_or(lambda: load_plant(Settings(home=scratch(), plant=path)))
    elif number <= 4:
        refused_or(lambda: GatePolicy.load(path))
    else:
        recipe = refused_or(lambda: Recipe.load(path))
        if recipe is not None:
            refused_or(lambda: recipe.spec("line", None))
            refused_or(lambda: recipe.spec("line", "line/1"))
