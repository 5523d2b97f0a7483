"""The import rules of the layout, read from the source: a rule that only people know is broken within a month."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "yolo_assets"

# What each package may import of this project, besides itself.
LAYERS = {
    "contracts": set(),
    "runtime": {"contracts"},
    "storage": {"contracts", "runtime"},
    "vision": {"contracts", "runtime"},
    "spool": {"contracts", "runtime", "storage"},
    "models": {"contracts", "runtime", "storage", "vision"},
    "simulator": {"contracts", "runtime", "storage", "vision", "spool", "models"},
    "archive": {"contracts", "runtime", "storage", "spool"},
    "tables": {"contracts", "runtime", "storage", "spool", "archive"},
    "catalog": {"contracts", "runtime", "storage", "archive", "tables"},
    "evidence": {"contracts", "runtime", "storage", "spool", "archive", "catalog", "models"},
    "learning": {"contracts", "runtime", "storage", "vision", "spool", "archive", "tables", "catalog"},
    "training": {"contracts", "runtime", "storage", "vision", "learning", "models"},
    "edge": {"contracts", "runtime", "storage", "vision", "spool", "models", "simulator"},
}
# The same for the rooms of the edge agent, from the ground floor up.
EDGE_LAYERS = {
    "types": set(),
    "config": set(),
    "serving": set(),
    "audit": set(),
    "supervision": set(),
    "clock": {"config"},
    "cameras": {"types", "config", "clock"},
    "outputs": {"types", "config"},
    "pipeline": {"types", "config", "serving", "cameras"},
    "image_service": {"config", "serving", "pipeline"},
    "maintenance": {"config", "serving", "clock", "pipeline"},
    "rollout": {"types", "config", "serving", "audit", "pipeline"},
    "balancing": {"types", "config", "serving", "pipeline", "rollout"},
    "telemetry": {"config", "serving", "audit", "clock", "pipeline", "maintenance", "rollout", "balancing"},
    "http": {"types", "config", "serving", "audit", "pipeline", "image_service", "rollout", "telemetry"},
}
TOP = {"shipped", "cli", "defs", "local", "definitions"}
HOMES = {
    "dagster": {"defs", "definitions", "local"},  # in local the driver of the demo alone: see below
    "dagster_aws": {"defs", "definitions"},
    "dagster_k8s": {"defs", "definitions"},
    "torch": {"training"},
    "torchvision": {"training"},
    "ultralytics": {"training"},
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "yolo_assets" else {module}
    return names


def package_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    package = package_of(path)
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("yolo_assets.")}
    ours -= {package, "__version__"}
    if package in LAYERS:
        assert ours <= LAYERS[package], f"{package} may not import {sorted(ours - LAYERS[package])}"
    else:
        assert package in TOP | {"__init__"}, f"{package} has no place in the layout"
    for library, homes in HOMES.items():
        if any(name.split(".")[0] == library for name in imported(path)):
            assert package in homes, f"{library} belongs only in {sorted(homes)}"
            assert package != "local" or path.name == "driver.py", f"in local/ only driver.py imports {library}"


def test_every_package_says_what_belongs_there() -> None:
    for init in ROOT.rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(init.read_text())) or ""
        assert doc.strip(), f"{init.relative_to(ROOT)} has no docstring"
    for path in modules():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} has no docstring"


@pytest.mark.parametrize("path", sorted((ROOT / "edge").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_of_the_agent_imports_only_what_its_layer_may(path: Path) -> None:
    room = path.relative_to(ROOT / "edge").parts[0].removesuffix(".py")
    if room in ("agent", "__init__"):  # the agent composes them all, and no room imports it
        return
    ours = {name.split(".")[2] for name in imported(path) if name.startswith("yolo_assets.edge.")} - {room}
    assert ours <= EDGE_LAYERS[room], f"{room} may not import {sorted(ours - EDGE_LAYERS[room])}"


@cache
def folder_imports() -> dict[str, dict[str, set[str]]]:
    """By package: which of its folders and modules import which others of it; ``""`` is the top."""
    names = {}
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, dict[str, set[str]]] = {}
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("yolo_assets."):
                continue
            module = (node.module or "").removeprefix("yolo_assets.")
            for alias in node.names:
                full = f"{module}.{alias.name}"
                target = full if full in names else module
                here, there = name.split("."), target.split(".")
                same = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
                if same is not None:  # else one lies inside the other
                    package = graph.setdefault(".".join(here[:same]), {})
                    package.setdefault(here[same], set()).add(there[same])
    return graph


@pytest.mark.parametrize(
    ("package", "imports"), folder_imports().items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_cycle_between_folders_at_any_depth(package: str, imports: dict[str, set[str]]) -> None:
    """Modules beside folders count as folders of their own."""
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(f"yolo_assets.{package}: " + " imports ".join(reversed(error.args[1])))
