"""Lists what people read in the product, to be read once as a list: does each sentence make sense to a stranger?

    python docs/strings.py [--module-docstrings] [--words WORD ...]

One line for each string: file, line, kind, text. Kinds: module docstrings, messages of errors, log messages, help of
commands, options and metrics, descriptions of Dagster objects and HTTP routes, texts of the live page.
``--words`` prints only lines with one of the words, as in ``--words believed witness``.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "yolo_assets"
_LOGGING = {"debug", "info", "warning", "error", "exception", "critical"}
_DESCRIBED = {"help", "description", "short_help", "epilog", "label", "title", "reason", "message", "summary"}


def strings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, kind and text of each string of a module that a person may read."""
    tree = ast.parse(path.read_text())
    doc = ast.get_docstring(tree)
    if doc:
        yield 1, "module", doc
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (kind := _described_as(node, "cli" in path.parts)):
            yield node.lineno, kind, ast.get_docstring(node) or ""
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name.endswith("Error"):
                yield from ((node.lineno, "error", text) for text in _texts(node.args))
            elif name in _LOGGING:
                yield from ((node.lineno, "log", text) for text in _texts(node.args))
            elif name.endswith("MetricFamily") or name in ("Counter", "Gauge", "Histogram"):
                yield from ((node.lineno, "metric", text) for text in _texts(node.args[1:2]))
            elif name in ("note", "print", "say", "_say", "print_line", "found"):
                yield from ((node.lineno, "print", text) for text in _texts(node.args))
            for keyword in node.keywords:
                if keyword.arg in _DESCRIBED:
                    yield from ((node.lineno, keyword.arg, text) for text in _texts([keyword.value]))


def page_strings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Quoted texts with a space in the live page's scripts, and texts of its HTML."""
    quoted, between_tags = r"[\"'`]([^\"'`\n]*[a-z] [a-z][^\"'`\n]*)[\"'`]", r">([^<>\n]*[a-z][^<>\n]*)<"
    pattern = quoted if path.suffix == ".js" else between_tags
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.lstrip().startswith("//"):
            yield from ((number, "page", text) for text in re.findall(pattern, line))


def _texts(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(p.value if isinstance(p, ast.Constant) else "{…}" for p in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.BinOp | ast.IfExp):
            yield from _texts([part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)])


def _described_as(node: ast.FunctionDef, in_cli: bool) -> str | None:
    """The kind of a function whose docstring people read: a command, also one that is registered elsewhere; a route."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    if any("command" in text for text in decorators) or (in_cli and "typer.Option" in ast.unparse(node.args)):
        return "command"
    return "route" if any(text.startswith("router.") for text in decorators) else None


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module-docstrings", action="store_true", help="only these")
    parser.add_argument("--words", nargs="*", default=[], help="print only lines with one of them")
    options = parser.parse_args()
    wanted = re.compile("|".join(rf"\b{re.escape(word)}" for word in options.words), re.IGNORECASE)
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.js"), *PACKAGE.rglob("*.html")]):
        for number, kind, text in strings(path) if path.suffix == ".py" else page_strings(path):
            line = " ".join(text.split())
            if line and wanted.search(line) and (kind == "module" or not options.module_docstrings):
                print(f"{path.relative_to(PACKAGE)}:{number}: {kind}: {line}")


if __name__ == "__main__":
    main()
