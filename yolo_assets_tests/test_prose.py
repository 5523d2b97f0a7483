"""What docstrings, comments and documents name in backticks exists: modules, classes, functions, files."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "yolo_assets"
_NAME = re.compile(r"(?<![`\w])``?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?``?(?!`)")
_FILE = re.compile(r"(?<![`\w/])``?((?:yolo_assets|yolo_assets_tests|benchmarks|deploy|docs)/[\w./-]+)``?")
_EVENT_TYPE = re.compile(r"yolo_assets(\.\w+)+\.v\d+")
_ENDINGS = {
    *("json", "jsonl", "ndjson", "yaml", "yml", "toml", "md", "py", "sh", "js", "html", "css", "svg", "txt", "log"),
    *("jpg", "png", "webp", "pt", "onnx", "gz", "tar", "duckdb", "parquet", "sig", "key", "pub", "uploaded", "sealed"),
    *("members", "example", "service", "env", "lock", "tally", "whl", "pdf", "plan", "zip", "com", "aws", "id"),
}


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {dotted(path): path for base in (PACKAGE, ROOT / "benchmarks") for path in base.rglob("*.py")}


@cache
def names_in(module: str) -> frozenset[str]:
    """Everything that a module defines or imports, members of its classes as ``Class.member``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}.{name}" for name in _members(node)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
    return frozenset(found)


def _members(node: ast.ClassDef) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner.name
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            yield inner.attr


@cache
def classes() -> dict[str, frozenset[str]]:
    """Names in each class of the product, by the class's name; classes of one name together."""
    found: dict[str, set[str]] = {}
    for module in modules():
        for name in names_in(module):
            head, dot, member = name.partition(".")
            if dot:
                found.setdefault(head, set()).add(member)
            elif name[:1].isupper():
                found.setdefault(name, set())
    return {name: frozenset(members) for name, members in found.items()}


@cache
def event_types() -> frozenset[str]:
    """Types of CloudEvents, as the code has them."""
    events = (PACKAGE / "contracts" / "announcements.py", PACKAGE / "edge" / "outputs" / "events.py")
    texts = (
        node.value
        for path in events
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    )
    return frozenset(text for text in texts if isinstance(text, str) and _EVENT_TYPE.fullmatch(text))


def exists(reference: str, where: str) -> bool | None:
    """Whether a dotted name means something of ours; None when it is about something else."""
    head = reference.split(".")[0]
    if reference.rsplit(".", 1)[-1].lower() in _ENDINGS:
        return None
    if _EVENT_TYPE.fullmatch(reference):
        return reference in event_types()
    if head[:1].isupper() and head in classes():
        return reference.split(".")[1] in classes()[head] or _inherits(head)
    if head in _words_of(where) or (head in _sections(where)):
        return None  # a parameter, a field or a library of that module; an option of the agent's configuration
    bases = ["", "yolo_assets."]
    parts = where.split(".")
    bases += [".".join(parts[:depth]) + "." for depth in range(1, len(parts) + 1)]
    known_head = False
    for base in bases:
        if any(name == base + head or name.startswith(base + head + ".") for name in modules()):
            known_head = True
            if _resolves(base + reference):
                return True
    if known_head:
        return False
    if hasattr(builtins, head) or head in sys.stdlib_module_names or head in ("self", "cls", "np", "pa", "pq", "dg"):
        return None
    return None if importlib.util.find_spec(head) is not None else False


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        module, rest = ".".join(parts[:depth]), parts[depth:]
        if module in modules():
            return not rest or ".".join(rest) in names_in(module) or rest[0] in names_in(module)
        if any(other.startswith(module + ".") for other in modules()) and not rest:
            return True
    return False


def _inherits(name: str) -> bool:
    """Whether a class has a base from outside, whose members are not known here."""
    for module in modules():
        for node in ast.walk(ast.parse(modules()[module].read_text())):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return bool(node.bases)
    return False


@cache
def _words_of(where: str) -> frozenset[str]:
    """Identifiers in the code of a module, and words of its texts, as SQL: its prose may speak of them."""
    if where not in modules():
        return frozenset()
    tree = ast.parse(modules()[where].read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )
    return frozenset(
        {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        | {word for text in texts for word in re.findall(r"\w+", text)}
    )


@cache
def _sections(where: str) -> frozenset[str]:
    """Sections of the agent's configuration, which the edge speaks of, and documents, too, as of keys of its status."""
    if where and not where.startswith("yolo_assets.edge."):
        return frozenset()
    example = (PACKAGE / "shipped" / "edge.example.yaml").read_text()
    return frozenset(re.findall(r"(?m)^#? ?(\w+):", example)) - ({"model", "spool"} if where else set()) | (
        frozenset() if where else {"bandwidth", "edge"}
    )


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings and comments of a module, or the lines of a document outside its code blocks."""
    text = path.read_text()
    if path.suffix != ".py":
        fenced = False
        for number, line in enumerate(text.splitlines(), 1):
            fenced ^= line.startswith("```")
            if not fenced and not line.startswith("    "):
                yield number, line
        return
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def pages() -> list[Path]:
    tops = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]
    return sorted([*modules().values(), *(ROOT / "docs").rglob("*.md"), *tops])


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_prose_exist(path: Path) -> None:
    where = dotted(path) if path.suffix == ".py" else ""
    wrong: list[str] = []
    for number, text in prose(path):
        wrong += [f"{number}: {name}" for name in _NAME.findall(text) if exists(name, where) is False]
        for file in _FILE.findall(text):
            if not any(ROOT.glob(file.rstrip("/."))):
                wrong.append(f"{number}: {file}")
    assert not wrong, f"{path.relative_to(ROOT)} names what does not exist: {wrong}"


def test_a_name_that_does_not_exist_is_found() -> None:
    assert exists("storage.open.open_store", "yolo_assets.cli.common") is True
    assert exists("storage.open.open_nothing", "yolo_assets.cli.common") is False
    assert exists("edge.nowhere", "yolo_assets.edge.agent") is False
    assert exists("ObjectStore.put_if_absent", "yolo_assets.storage.base") is True
    assert exists("manifest.json", "yolo_assets.storage.base") is None
