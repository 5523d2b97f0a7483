"""The import rules of the layout, read from the source: a rule that only people know is broken within a month."""

import ast
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
