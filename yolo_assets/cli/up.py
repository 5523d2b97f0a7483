"""``yolo-assets up``."""

from typing import Annotated

import typer

from yolo_assets.cli.common import need, note, settings


def up(
    cameras: Annotated[int, typer.Option(min=1, max=16, help="How many simulated cameras, when no demo ran here.")] = 3,
    fps: Annotated[float, typer.Option(min=0.1, max=30, help="Frames a second of each camera.")] = 3.0,
) -> None:
    """Dagster UI, daemon and one edge agent with its live page, until Ctrl-C.

    Example: yolo-assets up --cameras 4
    """
    need("dagster", "dagster_webserver")
    from yolo_assets.local.up import serve

    serve(settings(), cameras=cameras, fps=fps, say=note)
