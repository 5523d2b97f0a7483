"""Writes the reference pages of the documentation site from the code; mkdocs runs it (plugin gen-files).

Each function returns one page as Markdown. Tests call them too: a command, setting or metric without a description
fails there and not in front of a reader.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from yolo_assets.cli.main import app
from yolo_assets.contracts.archiver_figures import COUNTERS, PREFIX
from yolo_assets.contracts.plant import Plant
from yolo_assets.contracts.settings import variables
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.http.access import NEEDS
from yolo_assets.training.spec import Recipe, TrainSpec

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "yolo_assets"
_FAMILIES = {"Counter", "Gauge", "Histogram", "Summary", "CounterMetricFamily", "GaugeMetricFamily"}
API = (
    "yolo_assets.archive.archive",
    "yolo_assets.models.registry",
    "yolo_assets.models.channels",
    "yolo_assets.storage.base",
    "yolo_assets.storage.open",
    "yolo_assets.vision.detections",
    "yolo_assets.vision.matching",
    "yolo_assets.contracts.detection",
    "yolo_assets.contracts.receipt",
    "yolo_assets.contracts.model",
)
"""Modules whose public names people import."""


def commands() -> list[tuple[str, Any]]:
    """Every command by its words, like ``archive run``, in alphabetical order."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        context = click.Context(command)
        if hasattr(command, "list_commands"):
            for name in command.list_commands(context):
                yield from below(command.get_command(context, name), (*words, name))
        else:
            yield " ".join(words), command

    return sorted(below(typer.main.get_command(app), ()))


def commands_page() -> str:
    """Usage, description and options of each command."""
    parts = [
        "# Commands\n\nExit codes: 0 done, 1 failed (one line says what to do), 2 called wrongly, 130 interrupted.\n"
        "Every command has `-h`; most have `--json`.\n"
    ]
    for words, command in commands():
        text = "\n\n".join(
            " ".join(block.split()) for block in f"{command.help}\n\n{command.epilog or ''}".split("\n\n")
        )
        text = re.sub(r"Example: (yolo-assets .*)", r"Example: `\1`", text.strip())
        rows = [
            f"| {', '.join(f'`{name}`' for name in (*option.opts, *option.secondary_opts))} | {_cell(option.help)} |"
            for option in command.params
            if option.param_type_name == "option" and "--help" not in option.opts
        ]
        arguments = "".join(f" {p.metavar or str(p.name).upper()}" for p in command.params if _is_argument(p))
        parts.append(f"## {words}\n\n    yolo-assets {words}{arguments}\n\n{text}\n")
        if rows:
            parts.append("| option | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def settings_page() -> str:
    """Every environment variable with its default."""
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {_cell(text)} |"
        for name, (default, text) in variables().items()
    ]
    return (
        "# Settings\n\nEnvironment variables of the command line, the archiver and Dagster. Options of a command come\n"
        "first, then these, then the defaults. S3 credentials and endpoint come from the standard AWS variables.\n\n"
        "| variable | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def configuration_page() -> str:
    """The options of the configuration files, section by section."""
    parts = [
        "# Configuration files\n\n`yolo-assets edge init --out edge.yaml` writes the agent's file with every option"
        " explained; `edge run` checks the whole file before it starts anything. `plant.yaml` lies in the home of the"
        " centre and of each archiver, and need not exist. The training recipe is the file that `YOLO_ASSETS_RECIPE`"
        " names: [Train a model](../how-to/train-a-model.md).\n"
    ]
    seen: set[type] = set()
    waiting: list[tuple[str, type[BaseModel]]] = [
        ("edge.yaml", AgentConfig),
        ("plant.yaml", Plant),
        ("training recipe", Recipe),
        ("starter and fine_tune", TrainSpec),
    ]
    while waiting:
        title, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        rows = [
            f"| `{name}` | {_cell(_type(field))} | {_cell(_default(field))} | {_cell(field.description or '')} |"
            for name, field in model.model_fields.items()
        ]
        doc = " ".join((model.__doc__ or "").split("\n\n")[0].split())
        parts.append(
            f"## {title}\n\n{doc}\n\n| option | type | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
        for name, field in model.model_fields.items():
            for inner in _models(field.annotation):
                kind = inner.model_fields.get("kind")
                label = f"{name}: {get_args(kind.annotation)[0]}" if kind and get_args(kind.annotation) else name
                waiting.append((label, inner))
    return "\n".join(parts)


def metrics() -> dict[str, tuple[str, str]]:
    """Every Prometheus metric by its name: kind and help, read from the source."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FAMILIES):
                continue
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if len(texts) == 2 and texts[0].startswith("yolo_"):
                found[texts[0]] = (node.func.id.removesuffix("MetricFamily").lower(), texts[1])
    for counter in COUNTERS:
        found[f"{PREFIX}{counter.name}"] = ("counter", counter.help)
    return dict(sorted(found.items()))


def metrics_page() -> str:
    """The table of metrics."""
    rows = [
        f"| `{name}{'_total' if kind == 'counter' and not name.endswith('_total') else ''}` | {kind} | {_cell(text)} |"
        for name, (kind, text) in metrics().items()
    ]
    return (
        "# Metrics\n\nThe agent serves them at `/metrics`, the archiver with `--metrics-port`,\n"
        "`yolo-assets exporter` those of the platform.\n\n"
        "| metric | kind | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def http_api_page() -> str:
    """The agent's routes, from the description that it serves at ``/openapi.json``."""
    description = json.loads((ROOT / "docs" / "openapi.json").read_text())
    rows = [
        f"| `{method.upper()} {path}` | {NEEDS[f'{method.upper()} {path}'] or 'open'} "
        f"| {_cell(route.get('summary', ''))} | {_cell(route.get('description', ''))} |"
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    return (
        f"# HTTP API\n\n{description['info']['description']}\n\n| route | role | | |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def python_api_page() -> str:
    """The modules that people import, rendered from their docstrings."""
    return "# Python API\n\n" + "\n\n".join(f"::: {name}" for name in API) + "\n"


PAGES = {
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
    "reference/configuration.md": configuration_page,
    "reference/metrics.md": metrics_page,
    "reference/http-api.md": http_api_page,
    "reference/python-api.md": python_api_page,
}


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    if annotation is None or list(_models(annotation)):
        return "section"
    return _type_text(annotation)


def _type_text(annotation: Any) -> str:
    """A type as text, without its validators."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is type(None) or annotation is Ellipsis:
        return "None" if annotation is not Ellipsis else "..."
    if origin is Annotated:
        return _type_text(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(repr(value) for value in inner)}]"
    if origin in (Union, UnionType):
        return " | ".join(_type_text(one) for one in inner)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_type_text(one) for one in inner)}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "" if field.default_factory is not None else "required"
    return "" if field.default is None or isinstance(field.default, BaseModel) else f"`{field.default}`"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def write() -> None:
    """Write every page into the site."""
    import mkdocs_gen_files

    for path, page in PAGES.items():
        with mkdocs_gen_files.open(path, "w") as file:
            file.write(page())


if __name__ == "<run_path>":  # how gen-files runs a script
    write()
