"""``yolo-assets edge try``: a model on a video, live on a page, within a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yolo_assets.cli import common
from yolo_assets.cli.class_names import ClassesOption, given_classes
from yolo_assets.contracts.errors import UserError


def try_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="ONNX file, checkpoint (.pt), or NAME/VERSION.")],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Video file, folder of pictures, address of a stream, USB device."),
    ],
    open_page: Annotated[bool, typer.Option("--open", help="Open the live page in a browser.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; by default the file's.")] = None,
    classes: ClassesOption = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", min=0.0, max=1.0, help="Confidence from which boxes are shown; default: 0.25."),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port of the page; 0 takes a free one.")] = 0,
    as_json: common.JsonOption = False,
) -> None:
    """Run a model on a video, a folder, a stream or a USB camera, and show its boxes live, until Ctrl-C.

    Keys, store, configuration and release are made in the folder try of YOLO_ASSETS_HOME; nothing of a plant is
    touched. Repeating it goes on from there.

    Example: yolo-assets edge try best.onnx shift.mp4 --open
    """
    import logging
    import webbrowser

    from yolo_assets.edge.agent import Agent, run_agent
    from yolo_assets.local.edge_trial import prepare_trial

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    trial = prepare_trial(
        common.settings(),
        model,
        sources,
        name=name,
        confidence=confidence,
        classes=given_classes(classes),
        port=port,
        say=common.note,
    )
    for warning in trial.warnings:
        common.note(f"warning: {warning}")
    agent = Agent(trial.config)

    def report_started() -> None:
        if as_json:
            common.emit_json(
                {"url": agent.url, "model": trial.model, "boxes": trial.boxes, "config": str(trial.config_file)}
            )
        else:
            common.out().print(f"live page: {agent.url}", markup=False)
            for line in _next_steps(trial.model, model, trial.config_file):
                common.note(line)
        if open_page:
            webbrowser.open(agent.url)

    if not run_agent(agent, report_started):
        raise UserError("stopped, but a camera or an inference hung and did not end")


def _next_steps(version: str, model: str, config: Path) -> list[str]:
    """What a person may do once it runs."""
    steps = [
        f"{version} is on its way; the first start measures which engine is fastest here",
        f"to change cameras, classes of alarms or outputs: edit {config}",
        f"then run it without importing again: yolo-assets edge run --config {config}",
    ]
    if Path(model).suffix:
        name = version.partition("/")[0]
        steps.append(
            f"to bring it into the plant: yolo-assets models import {model} --name {name} --version 1 --golden PICTURES"
        )
    return [*steps, "Ctrl-C stops it"]
