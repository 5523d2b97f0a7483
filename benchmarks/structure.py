"""Counts what the structure of the product costs a reader: files, cycles, twins, threaded arguments.

    python benchmarks/structure.py [--root CHECKOUT] [--list]

Read from the syntax trees alone; nothing is imported. Run it on two checkouts to compare; ``--list`` names what was
counted. Every figure is a count: the speed of the machine does not matter. What each line counts:

- files, lines: Python files below ``yolo_assets/`` and their lines.
- folders in cycles: folders, and modules beside folders, that import each other in a circle, at any depth.
- store and keys apart: functions with one parameter for a store and another for trusted keys.
- retry calls: calls of a function named ``retry`` outside ``storage/``.
- class names used twice: names that more than one class of the product has, private ones counted.
- single-use siblings: modules under 100 lines whose only importer lies in the same folder.
- IoU: functions that divide an intersection (a maximum of lower and a minimum of upper corners) by a union.
- child supervisors: modules that start a process and supervise it with ``subprocess.Popen``.
- backoffs: modules that compute a growing or jittered pause themselves, or configure a retry library.
- largest file, and files over 500 lines.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "yolo_assets"
SMALL = 100
LARGE = 500
_PAUSE = re.compile(
    r"\b2(?:\.0)? \*\* ?(?:min|attempt|failures|tries|\()|random\.uniform\(0, min\(|retry_context\(|"
    r"wait_(?:random_)?exponential(?:_jitter)?\(|\b(?:pause|wait|delay)\w* \* 2"
)


@dataclass(frozen=True)
class Module:
    """One Python file.

    Attributes:
        name: dotted, ``yolo_assets.archive.archive``; a package has its folder's name.
        folder: dotted name of the folder that holds it; a package's is itself.
        tree: its syntax tree.
        text: its source.
        imports: dotted names of the product's modules that it imports.
    """

    name: str
    folder: str
    tree: ast.Module
    text: str
    imports: frozenset[str]

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return len(self.text.splitlines())


def read_modules(root: Path) -> list[Module]:
    """Every module of the product in a checkout, by name."""
    paths = {_dotted(path.relative_to(root)): path for path in sorted((root / PACKAGE).rglob("*.py"))}
    modules: list[Module] = []
    for name, path in paths.items():
        text = path.read_text()
        tree = ast.parse(text)
        folder = name if path.name == "__init__.py" else name.rpartition(".")[0]
        modules.append(Module(name, folder, tree, text, frozenset(_imports(tree, paths.keys() - {name}))))
    return modules


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from members & known
            if node.module in known and not members <= known:
                yield node.module


def folders_in_cycles(modules: list[Module]) -> list[set[str]]:
    """Groups of folders (and modules beside folders) below one parent that import each other in a circle."""
    packages = {module.name for module in modules if module.name == module.folder}
    circles: list[set[str]] = []
    for parent in sorted(packages):
        depth = parent.count(".") + 1
        arrows: dict[str, set[str]] = defaultdict(set)
        for module in modules:
            source = _child(module.name, parent, depth)
            if source is None:
                continue
            for target in module.imports:
                child = _child(target, parent, depth)
                if child is not None and child != source:
                    arrows[source].add(child)
        circles += [group for group in _strong_components(arrows) if len(group) > 1]
    return circles


def _child(name: str, parent: str, depth: int) -> str | None:
    """The child of ``parent`` in which a module lies; None outside it, and for the package's own file."""
    parts = name.split(".")
    return ".".join(parts[: depth + 1]) if name.startswith(parent + ".") and len(parts) > depth else None


def _strong_components(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Groups in which everything reaches everything else, from reachability both ways."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in arrows.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    reached = {node: reach(node) for node in arrows}
    groups: list[set[str]] = []
    for node in arrows:
        group = {node} | {other for other in reached[node] if node in reached.get(other, ())}
        if group not in groups:
            groups.append(group)
    return groups


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def store_and_keys_apart(modules: list[Module]) -> list[str]:
    """Functions with a parameter for a store and another for trusted keys, constructors of the owning types apart."""
    listed: list[str] = []
    for module in modules:
        for function in functions(module):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            types = [ast.unparse(argument.annotation) if argument.annotation else "" for argument in arguments]
            if any("ObjectStore" in text for text in types) and any("TrustedKeys" in text for text in types):
                listed.append(f"{module.name}:{function.name}")
    return listed


def retry_calls(modules: list[Module]) -> list[str]:
    """Calls of ``retry(…)`` outside the stores."""
    return [
        f"{module.name}:{node.lineno}"
        for module in modules
        if not module.name.startswith(f"{PACKAGE}.storage")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "retry"
    ]


def class_names_used_twice(modules: list[Module]) -> list[str]:
    """Class names that more than one class has, ``_Private`` counted as ``Private``."""
    homes: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(module.name.removeprefix(f"{PACKAGE}."))
    return [f"{name}: {', '.join(places)}" for name, places in sorted(homes.items()) if len(places) > 1]


def single_use_siblings(modules: list[Module]) -> list[str]:
    """Small modules that serve exactly one module of their own folder."""
    importers: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        for target in module.imports:
            importers[target].add(module.name)
    folder_of = {module.name: module.folder for module in modules}
    return [
        f"{module.name} ({module.lines}) for {next(iter(importers[module.name]))}"
        for module in modules
        if module.name != module.folder
        and module.lines < SMALL
        and len(importers[module.name]) == 1
        and folder_of[next(iter(importers[module.name]))] == module.folder
    ]


def overlap_functions(modules: list[Module]) -> list[str]:
    """Functions that compute an intersection over a union themselves."""
    listed: list[str] = []
    for module in modules:
        for function in functions(module):
            text = ast.unparse(function)
            corners = len(re.findall(r"\bmaximum\(|\bmax\(", text)) and len(re.findall(r"\bminimum\(|\bmin\(", text))
            if corners and " / " in text and re.search(r"\b(areas?|union|common|intersection|inter|overlap)\b", text):
                listed.append(f"{module.name}:{function.name}")
    return listed


def process_supervisors(modules: list[Module]) -> list[str]:
    """Modules that start a child process with ``Popen``."""
    return [module.name for module in modules if re.search(r"\bPopen\(", module.text)]


def backoffs(modules: list[Module]) -> list[str]:
    """Modules that compute a growing or jittered pause themselves, or configure a retry library."""
    return [module.name for module in modules if _PAUSE.search(module.text)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="a checkout")
    parser.add_argument("--list", action="store_true", help="name what was counted")
    options = parser.parse_args()
    modules = read_modules(options.root)
    circles = folders_in_cycles(modules)
    sizes = Counter({module.name: module.lines for module in modules})
    large = [f"{name} ({lines})" for name, lines in sizes.most_common() if lines > LARGE]
    rows: list[tuple[str, int, list[str]]] = [
        ("files", len(modules), []),
        ("lines", sizes.total(), []),
        ("folders in cycles", sum(map(len, circles)), [", ".join(sorted(circle)) for circle in circles]),
        *(
            (title, len(listed), listed)
            for title, listed in (
                ("functions that take store and keys apart", store_and_keys_apart(modules)),
                ("retry( calls outside storage", retry_calls(modules)),
                ("class names used twice", class_names_used_twice(modules)),
                (f"single-use siblings under {SMALL} lines", single_use_siblings(modules)),
                ("IoU implementations", overlap_functions(modules)),
                ("child supervisors", process_supervisors(modules)),
                ("backoffs", backoffs(modules)),
                (f"files over {LARGE} lines", large),
            )
        ),
        ("lines of the largest file", max(sizes.values()), [sizes.most_common(1)[0][0]]),
    ]
    for title, count, listed in rows:
        print(f"{title:44}{count:>8}")
        if options.list:
            print("".join(f"    {line}\n" for line in listed), end="")


if __name__ == "__main__":
    main()
