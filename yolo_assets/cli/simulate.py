"""``yolo-assets simulate``: closed spool hours of a simulated line, for tests, demos and measurements."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli import common
from yolo_assets.cli.archive.options import given
from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from datetime import datetime


def simulate(
    out: Annotated[
        Path, typer.Option("--out", help="Spool folder to write into.", metavar="SPOOL", parser=location_folder)
    ],
    cameras: Annotated[int, typer.Option("--cameras", min=1, max=99, help="How many cameras, 1 to 99.")] = 3,
    hours: Annotated[int, typer.Option("--hours", min=1, help="How many hours, one after the other.")] = 1,
    fps: Annotated[float, typer.Option("--fps", help="Frames per simulated second and camera.")] = 0.05,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed: equal seeds give equal pictures.")] = 0,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Folder of a model bundle; without it only images are written.", metavar="BUNDLE"),
    ] = None,
    truth_records: Annotated[
        bool,
        typer.Option("--truth-records", help="Without a model: records of what is really there, by model `truth`."),
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--start", help="First hour, UTC; default: so that the last hour has just ended.", metavar="YYYYMMDD_HH"
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="Folder for the truth, outside the spool.", metavar="DIR", parser=location_folder),
    ] = None,
    change_at: Annotated[
        list[str] | None,
        typer.Option("--change-at", help="When the line changes: new light, metal and defects.", metavar="TIME"),
    ] = None,
    dirty_lens_at: Annotated[
        list[str] | None,
        typer.Option("--dirty-lens-at", help="When a lens gets dirty.", metavar="TIME"),
    ] = None,
    dirty_camera: Annotated[
        str | None,
        typer.Option("--dirty-camera", help="Which camera's lens; default: the first camera's.", metavar="CAMERA"),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Write closed spool hours of a simulated weld line. Running it again continues where it stopped.

    A TIME is an hour like 20260102_03 or a moment like 2026-01-02T03:30:00Z.

    Example: yolo-assets simulate --out var/spool --cameras 3 --hours 2 --fps 0.05 --seed 7 --truth var/truth
    """
    from yolo_assets.contracts.times import Hour
    from yolo_assets.simulator import simulation as simulated
    from yolo_assets.simulator.weld_line import Change, LineConfig

    lens_of = dirty_camera or LineConfig(seed=max(seed, 0), cameras=cameras).camera_ids[0]
    if dirty_camera is not None and not dirty_lens_at:
        raise UsageError("--dirty-camera says which lens gets dirty; give the time with --dirty-lens-at")
    if not math.isfinite(fps):
        raise UsageError(f"{fps} frames per second cannot be simulated; use 0.0003 (one an hour) to 120")
    changes = [
        Change("line_change", moment, None)
        for text in change_at or ()
        if (moment := given(_moment, text, "--change-at"))
    ]
    changes += [
        Change("dirty_lens", moment, lens_of)
        for text in dirty_lens_at or ()
        if (moment := given(_moment, text, "--dirty-lens-at"))
    ]
    with common.progress("simulating", simulated.count_frames(cameras, hours, fps)) as advance:
        report = simulated.simulate(
            out,
            cameras=cameras,
            hours=hours,
            fps=fps,
            seed=seed,
            start=given(Hour.from_key, start, "--start"),
            model=model,
            truth_records=truth_records,
            truth=truth,
            changes=changes,
            progress=advance,
        )
    if as_json:
        common.emit_json(dataclasses.asdict(report))
        return
    seen = f"{report.detections} detections by {report.model_version}" if report.model_version else "no model"
    console = common.out()
    console.print(
        f"simulated {report.frames} frames in {report.sealed} camera-hours, {report.first_hour} to {report.last_hour}, "
        f"{len(report.cameras)} cameras, {seen}, {report.bytes / 1e6:.1f} MB in {report.seconds:.1f} s"
    )
    if report.skipped:
        console.print(f"{report.skipped} camera-hours were there already, or archived")
    console.print(f"spool {report.spool}" + (f", truth {report.truth}" if report.truth else ""))


def _moment(text: str) -> datetime:
    from yolo_assets.contracts.times import Hour, parse_time

    try:
        return Hour.from_key(text).start
    except BadInputError:
        return parse_time(text)
