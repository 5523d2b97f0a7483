"""The import rules of the layout, read from the source: a rule that only people know is broken within a month."""

import ast
from collections import defaultdict
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
    "classes": {"contracts", "storage"},
    "vision": {"contracts", "runtime"},
    "spool": {"contracts", "runtime", "storage"},
    "models": {"contracts", "runtime", "storage", "vision"},
    "simulator": {"contracts", "runtime", "storage", "vision", "spool", "models"},
    "archive": {"contracts", "runtime", "storage", "classes", "spool"},
    "filesystem": {"contracts", "storage", "spool", "archive", "transparency"},
    "tables": {"contracts", "runtime", "storage", "classes", "vision", "spool", "archive"},
    "replication": {"contracts", "runtime", "storage", "archive", "catalog", "transparency"},
    "custody": {"contracts", "storage"},
    "transparency": {"contracts", "runtime", "storage", "archive"},
    "catalog": {"contracts", "runtime", "storage", "classes", "spool", "archive", "tables"},
    "monitoring": {"contracts", "runtime", "storage", "vision", "spool", "archive", "tables"},
    "today": {"contracts", "runtime", "storage", "spool", "archive", "catalog", "models", "monitoring"},
    "alerts": {"contracts", "runtime", "storage", "models", "today"},
    "evidence": {
        "contracts",
        "runtime",
        "storage",
        "classes",
        "vision",
        "spool",
        "archive",
        "custody",
        "transparency",
        "catalog",
        "models",
    },
    "learning": {
        "contracts",
        "runtime",
        "storage",
        "classes",
        "vision",
        "spool",
        "archive",
        "tables",
        "catalog",
        "monitoring",
    },
    "validation": {"contracts", "storage", "learning", "models", "evidence"},
    "lineage": {"contracts", "storage", "archive", "catalog", "learning", "models"},
    "training": {"contracts", "runtime", "storage", "classes", "vision", "learning", "models", "monitoring"},
    "provenance": {"contracts", "storage", "models", "training", "validation"},
    "cluster": {"contracts", "runtime"},
    "events": {"contracts", "runtime"},
    "edge": {"contracts", "runtime", "storage", "vision", "spool", "models", "simulator", "events"},
    "trail": {"contracts", "storage", "custody", "models", "edge"},
}
# The same for the rooms of the edge agent, from the ground floor up.
EDGE_LAYERS = {
    "types": set(),
    "config": set(),
    "serving": set(),
    "audit": set(),
    "supervision": set(),
    "announcements": {"config"},
    "clock": {"config"},
    "cameras": {"types", "config", "clock"},
    "outputs": {"types", "config"},
    "lots": {"types", "config"},
    "pipeline": {"types", "config", "serving", "cameras", "lots"},
    "image_service": {"config", "serving", "pipeline"},
    "maintenance": {"config", "serving", "clock", "pipeline"},
    "rollout": {"types", "config", "serving", "audit", "pipeline"},
    "check": {"config", "clock", "cameras", "pipeline", "rollout", "http"},
    "balancing": {"types", "config", "serving", "pipeline", "rollout"},
    "telemetry": {"config", "lots", "serving", "audit", "clock", "pipeline", "maintenance", "rollout", "balancing"},
    "http": {"types", "config", "lots", "serving", "audit", "pipeline", "image_service", "rollout", "telemetry"},
}
TOP = {"components", "shipped", "cli", "defs", "exporter", "local", "pages", "definitions"}
HOMES = {
    "dagster": {
        "cluster",
        "components",
        "defs",
        "definitions",
        "exporter",
        "local",
    },  # in local the driver of the demo alone: see below
    "dagster_aws": {"defs", "definitions"},
    "dagster_k8s": {"cluster"},
    "dagster_pipes": {"training"},
    "kubernetes": {"cluster"},
    "torch": {"training"},
    "torchvision": {"training"},
    "ultralytics": {"training"},
    "optuna": {"training"},
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


@cache
def imported_modules(path: Path) -> frozenset[tuple[str, ...]]:
    """Modules and packages of this project that a file imports, as parts of their dotted names below it."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == ROOT.name:
            folder = tuple((node.module or "").split(".")[1:])
            for alias in node.names:  # from a package either a module of it, or what its __init__ defines
                member = ROOT.joinpath(*folder, alias.name)
                found.add((*folder, alias.name) if member.is_dir() or member.with_suffix(".py").exists() else folder)
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            found |= {tuple(parts[1:]) for parts in names if parts[0] == ROOT.name}
    return frozenset(found)


def packages() -> list[tuple[str, ...]]:
    return sorted(init.parent.relative_to(ROOT).parts for init in ROOT.rglob("__init__.py"))


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


@pytest.mark.parametrize("package", packages(), ids=lambda parts: ".".join(("yolo_assets", *parts)))
def test_folders_and_modules_of_a_package_have_no_import_cycle(package: tuple[str, ...]) -> None:
    """Between the children of each package, folders and modules beside them: so none is a circle at any depth."""
    depth = len(package)
    arrows: defaultdict[str, set[str]] = defaultdict(set)
    for path in ROOT.joinpath(*package).rglob("*.py"):
        child = path.relative_to(ROOT).with_suffix("").parts[depth]
        if child == "__init__":
            continue
        targets = (parts[depth] for parts in imported_modules(path) if parts[:depth] == package and parts[depth:])
        arrows[child] |= set(targets) - {child}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        raise AssertionError(f"import each other in a circle: {' -> '.join(reversed(error.args[1]))}") from None


def test_every_package_says_what_belongs_there() -> None:
    for init in ROOT.rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(init.read_text())) or ""
        assert doc.strip(), f"{init.relative_to(ROOT)} has no docstring"
    for path in modules():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} has no docstring"


@pytest.mark.parametrize("path", sorted((ROOT / "edge").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_part_of_the_agent_imports_only_what_its_layer_may(path: Path) -> None:
    room = path.relative_to(ROOT / "edge").parts[0].removesuffix(".py")
    if room in ("agent", "__init__"):  # the agent composes them all, and no room imports it
        return
    ours = {name.split(".")[2] for name in imported(path) if name.startswith("yolo_assets.edge.")} - {room}
    assert ours <= EDGE_LAYERS[room], f"{room} may not import {sorted(ours - EDGE_LAYERS[room])}"
