"""``yolo-assets platform``: the files of a plant's Dagster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yolo_assets.cli import common
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.locations import location_folder

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """With one command Typer would leave its name out."""


@app.command()
def init(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write to.", metavar="DIR", parser=location_folder)
    ] = Path("plant"),
) -> None:
    """Write what a plant's Dagster needs: dagster.yaml for PostgreSQL, systemd units, logins for the UI.

    One machine needs none of it: yolo-assets up. The head of yolo-assets-code.service lists the steps, that of
    ui.nginx.conf how users are made. Nothing that exists is overwritten.

    Example: yolo-assets platform init --out plant
    """
    from yolo_assets.shipped import PLANT_FILES, plant_dagster_yaml, shipped_file

    files = {name: shipped_file(f"plant/{name}").read_text() for name in PLANT_FILES}
    files["dagster.yaml"] = plant_dagster_yaml()
    for name in files:
        if (out / name).exists():
            raise UserError(f"{out / name} exists already; choose another folder, or move it away")
    out.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(files.items()):
        (out / name).write_text(text)
        common.out().print(f"wrote {out / name}", markup=False)
    common.note(f"the steps are in the head of {out / 'yolo-assets-code.service'}")
