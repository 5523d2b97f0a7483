"""``yolo-assets edge``: try a model, run the agent, show its status, check its audit log, say who may use it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli import common, edge_audit, edge_token
from yolo_assets.cli.class_names import ClassesOption, given_classes
from yolo_assets.contracts.errors import BadInputError, UsageError, UserError
from yolo_assets.contracts.locations import location_folder, location_url
from yolo_assets.contracts.names import check_id, parse_model_version

if TYPE_CHECKING:
    from yolo_assets.edge.config.agent import AgentConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(edge_audit.app, name="audit")
app.add_typer(edge_token.app, name="token")

UNITS = ("yolo-assets-edge.service", "yolo-assets-archive.service", "archive.env.example")


def _model(text: str) -> None:
    if not text.lower().endswith((".onnx", ".pt")):
        parse_model_version(text)


@app.command("try")
def try_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="ONNX file, checkpoint (.pt), or NAME/VERSION.", parser=common.valid(_model)
        ),
    ],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Video file, folder of pictures, address of a stream, USB device."),
    ],
    open_page: Annotated[bool, typer.Option("--open", help="Open the live page in a browser.")] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the model; by default the file's.",
            parser=common.valid(partial(check_id, what="model name")),
        ),
    ] = None,
    classes: ClassesOption = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", min=0.0, max=1.0, help="Confidence from which boxes are shown; default: 0.25."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 0,
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


@app.command()
def init(
    out: Annotated[
        Path, typer.Option("--out", help="File to write; it must not exist.", metavar="FILE", parser=location_folder)
    ],
    units: Annotated[
        Path | None,
        typer.Option(
            "--units", help="Folder to write the systemd units to, as well.", metavar="DIR", parser=location_folder
        ),
    ] = None,
) -> None:
    """Write a configuration to start from, with every option explained, and, if requested, the systemd units.

    Example: yolo-assets edge init --out edge.yaml
    """
    from yolo_assets.shipped import shipped_file

    wanted = {out: "edge.example.yaml"} | ({units / name: name for name in UNITS} if units is not None else {})
    for path in wanted:
        if path.exists():
            raise UserError(f"{path} exists already; choose another file, or move it away")
    for path, name in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shipped_file(name).read_bytes())
        common.out().print(f"wrote {path}", markup=False)
    common.note(f"edit it: device_id, store, trusted_keys, cameras; then: yolo-assets edge run --config {out}")


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration of the agent, YAML.", metavar="FILE")],
    spool: common.SpoolOption = None,
    store: common.StoreOption = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the page; 0 takes a free one.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more details.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Run the edge agent until it is stopped with Ctrl-C or SIGTERM.

    The agent loads only releases signed by a key in trusted_keys. yolo-assets models keygen makes a pair where models
    are promoted; copy its .pub to the device. Rollback, pin and reload need a person with a role: yolo-assets edge
    token add, or one token for all in token_file.

    Example: yolo-assets edge run --config edge.yaml
    """
    import logging

    overrides: dict[str, Any] = {
        "spool": str(spool.absolute()) if spool else None,
        "store": location_url(store) if store is not None else None,
    }
    settings = _settings(config, **overrides)
    if port is not None:
        settings = settings.with_port(port)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("yolo_assets").setLevel(logging.DEBUG if verbose else logging.INFO)
    from yolo_assets.edge.agent import Agent, run_agent

    agent = Agent(settings)

    def report_started() -> None:
        if as_json:
            common.emit_json({"url": agent.url, "device_id": settings.device_id, "cameras": settings.camera_ids})
            return
        common.out().print(f"live page: {agent.url}", markup=False)
        if not agent.people.anybody:
            common.note(
                "no token is set: rollback and reload are off; set token_file, or add a person with: "
                "yolo-assets edge token add"
            )

    if not run_agent(agent, report_started):
        raise UserError("stopped, but a camera or an inference hung and did not end")


@app.command()
def check(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration of the agent, YAML.", metavar="FILE")],
    seconds: Annotated[
        float, typer.Option(help="How long each camera and receiver may take to show itself.", min=0.5, max=600)
    ] = 10.0,
    as_json: common.JsonOption = False,
) -> None:
    """Try everything that a configuration names, and print one table: cameras, store, release, model, alarms, outputs.

    Nothing is written to spool, state or store, and no message is sent. Beside a running agent it works as well, but
    for USB cameras, which one program at a time can open. Exit 1 when something cannot work, 2 when the file is wrong.

    Example: yolo-assets edge check --config edge.yaml --seconds 10
    """
    import dataclasses
    import logging

    settings = _settings(config)
    from yolo_assets.edge.check import check_everything

    logging.getLogger("yolo_assets").setLevel(logging.CRITICAL)  # what is found is told in the table
    with common.progress("checking"):
        found = check_everything(settings, seconds)
    if as_json:
        common.emit_json([dataclasses.asdict(row) for row in found])
    else:
        rows = [(row.state, row.what, row.found) for row in found]
        common.show_table(("state", "what", "found"), rows, titles=2)
    failed = [row for row in found if row.state == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(found)} cannot work, the first: {failed[0].what}: {failed[0].found}")


def _settings(config: Path, **overrides: Any) -> AgentConfig:
    """The configuration of an agent.

    Raises:
        UsageError: it is missing or wrong.
    """
    from yolo_assets.edge.config.agent import load_config

    try:
        return load_config(config, **overrides)
    except BadInputError as error:
        raise UsageError(str(error)) from None


@app.command()
def status(
    url: Annotated[str, typer.Option("--url", help="Address of the agent's page.")] = "http://127.0.0.1:8080/",
    as_json: common.JsonOption = False,
) -> None:
    """Show the status of a running agent.

    Example: yolo-assets edge status --url http://127.0.0.1:8080/
    """
    import orjson

    document = orjson.loads(read_agent(url.rstrip("/") + "/v1/status"))
    if as_json:
        common.emit_json(document)
        return
    out = common.out()
    model, cameras = document["model"], document["cameras"]
    pinned = f", pinned to {model['name']}/{model['pinned']['version']}" if model["pinned"] else ""
    out.print(
        f"{document['device_id']}: {model['version'] or 'no model'} on {model['engine'] or 'no engine'}"
        f" (release {model['release'] or '-'}{pinned}), {document['fps']} frames a second",
        markup=False,
    )
    rows: list[list[str]] = []
    for name, camera in cameras.items():
        dropped = ", ".join(f"{reason} {number}" for reason, number in sorted(camera["dropped"].items())) or "0"
        figures = (camera["fps"], camera["latency_ms_p99"] or "-", camera["captured"], camera["processed"], dropped)
        shown = name + (" (simulated)" if camera["simulated"] else "")
        rows.append([shown, camera["state"], *map(str, figures), str(camera["in_flight"])])
    heads = ("camera", "state", "fps", "p99 ms", "captured", "processed", "dropped", "in flight")
    common.show_table(heads, rows, titles=2)
    for reason in document["not_ready"]:
        out.print(f"not ready: {reason}", markup=False)
    if key := document.get("audit", {}).get("fingerprint"):
        out.print(f"key of the device: {key}", markup=False)


def read_agent(url: str) -> bytes:
    """The body of a GET.

    Raises:
        UserError: no agent answers, or the answer is an error.
    """
    import http.client
    import os
    import urllib.error
    import urllib.request

    from yolo_assets.edge.config.agent import TOKEN_VARIABLE

    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is not the address of an agent; give one like http://127.0.0.1:8080/")
    request = urllib.request.Request(url)  # noqa: S310 - the scheme was checked
    if token := os.environ.get(TOKEN_VARIABLE):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.read()
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{url} answers {error.code} {error.reason}; if it needs a token, set {TOKEN_VARIABLE}"
        ) from None
    except (http.client.HTTPException, ValueError) as error:
        raise UserError(f"{url!r} does not lead to an agent: {error}") from None
    except OSError as error:
        raise UserError(f"no agent answers at {url}: {getattr(error, 'reason', error)}") from None


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
