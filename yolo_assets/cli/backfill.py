"""``yolo-assets backfill``: hours of the past through Dagster's daemon."""

from __future__ import annotations

import warnings
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import given
from yolo_assets.cli.common import JsonOption, emit_json, need, note, out, progress, reading_archive, settings
from yolo_assets.contracts.errors import InterruptedByUser, UserError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import hours_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_assets.contracts.times import Hour
    from yolo_assets.defs.backfill.backfills import Backfills, BackfillState, FailedHours
    from yolo_assets.defs.backfill.plan import BackfillPlan

POLL_SECONDS = 1.0
_HOURS_SHOWN = 6


def backfill(
    assets: Annotated[list[str], typer.Argument(help="Assets with hours, like detections.", metavar="ASSET")],
    start: Annotated[str, typer.Option("--from", help="First hour.", metavar="T")],
    end: Annotated[str, typer.Option("--to", help="Last hour, included; a day means to its last hour.", metavar="T")],
    camera: Annotated[
        list[str] | None, typer.Option("--camera", help="Only this camera; may be repeated.", metavar="C")
    ] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing/--force", help="Only hours that are missing or failed; or also those that are there."),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Request nothing; show what would be requested.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it ended; Ctrl-C leaves it running.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build hours of the past again, or those that are missing, through Dagster's daemon, as a backfill of the UI.

    T is an hour (20260301_09), a partition (2026-03-01-09:00), a day (2026-03-01) or a time (2026-03-01T09:00Z, the
    hour it falls in), all UTC. Hours that hold nothing, and those that another run has at work, are not requested.

    Exit 1 with --wait when an hour failed, or when no daemon runs.

    Example: yolo-assets backfill detections --from 2026-03-01 --to 2026-03-31 --force --dry-run
    """
    first, last = given(hours_named, start, "--from"), given(hours_named, end, "--to")
    assert first is not None and last is not None
    cameras = sorted({name for text in camera or () if (name := given(check_id, text, "--camera"))}) or None
    need("dagster")
    warnings.filterwarnings("ignore", module="dagster")  # about features in preview
    from yolo_assets.definitions import defs
    from yolo_assets.defs.backfill.backfills import Backfills
    from yolo_assets.defs.backfill.plan import WantedHours
    from yolo_assets.local.dagster_home import find_dagster_home

    where = settings()
    dagster_home = find_dagster_home(where.home)
    with Backfills.of(dagster_home, defs()) as backfills:
        wanted = WantedHours(assets, first[0], last[1], cameras, force=not missing)
        plan = backfills.plan(wanted, spool=where.spool, archive=reading_archive(where, None))
        answer = _json(plan)
        if not as_json:
            _print(plan)
        if dry_run or not plan.asset_hours:
            if as_json:
                emit_json(answer)
            elif not plan.asset_hours:
                note("nothing is requested" + ("; --force builds again what is there" if missing else ""))
            return
        answer |= {"backfill": backfills.request(plan), "status": "requested"}
        running = backfills.daemon_is_running()
        if wait and running:
            state = _watch(backfills, answer["backfill"])
            failed = [] if state.succeeded else backfills.failed_hours(answer["backfill"])
            _tell(answer, state, failed, as_json)
            return
        if as_json:
            emit_json(answer)
        told = f"backfill {answer['backfill']} is requested"
        if not running:
            told += f", and begins when a Dagster daemon runs; none does for {dagster_home}: start yolo-assets up"
        if wait:
            raise UserError(told)
        if not as_json or not running:
            note(told if not running else f"{told}; it is in the UI under Runs, Backfills")


def _print(plan: BackfillPlan) -> None:
    from yolo_assets.defs.partitions import HOURS_A_RUN

    for asset in plan.assets:
        line = f"{asset.name}  {len(asset.requested)} hours to build"
        line += f"  {asset.there} there" if asset.there else ""
        line += f"  {asset.under_way} at work" if asset.under_way else ""
        line += f"  {asset.without_input} without {' and '.join(asset.inputs)}" if asset.without_input else ""
        out().print(line, markup=False)
    hours = sorted({hour for asset in plan.assets for hour in asset.requested})
    if hours:
        out().print(f"{plan.runs} runs of up to {HOURS_A_RUN} hours  {hours[0]} to {hours[-1]}", markup=False)
    if plan.empty:
        what = "no frames" if plan.cameras is None else f"no frames of {', '.join(plan.cameras)}"
        note(f"{plan.empty} hours of the range hold {what}")
    if plan.added:
        note(f"{', '.join(plan.added)}: made in the same step")
    if plan.outside:
        note(plan.outside)


def _json(plan: BackfillPlan) -> dict[str, Any]:
    """What is requested; a backfill and how it ended are filled in where there is one."""
    return {
        "backfill": None,
        "status": None,
        "from": plan.first.key,
        "to": plan.last.key,
        "cameras": list(plan.cameras) if plan.cameras is not None else None,
        "runs": plan.runs,
        "empty": plan.empty,
        "assets": {
            asset.name: {
                "requested": [hour.key for hour in asset.requested],
                "there": asset.there,
                "at_work": asset.under_way,
                "without_input": asset.without_input,
            }
            for asset in plan.assets
        },
        "made": 0,
        "failed": [],
    }


def _watch(backfills: Backfills, backfill_id: str) -> BackfillState:
    """Until it ended; what happens is shown on a terminal."""
    state = backfills.state(backfill_id)
    shown = 0
    try:
        with progress(f"backfill {backfill_id}", total=state.total) as advance:
            while not state.ended:
                sleep(POLL_SECONDS)
                state = backfills.state(backfill_id)
                advance(state.made + state.failed - shown)
                shown = state.made + state.failed
    except KeyboardInterrupt:
        raise InterruptedByUser(
            f"backfill {backfill_id} goes on without this command; cancel it in the UI under Runs, Backfills"
        ) from None
    return state


def _tell(answer: dict[str, Any], state: BackfillState, failed: Sequence[FailedHours], as_json: bool) -> None:
    """How it ended.

    Raises:
        UserError: not everything was built.
    """
    if as_json:
        rows = [{"asset": f.asset, "hours": [hour.key for hour in f.hours], "cause": f.cause} for f in failed]
        emit_json(answer | {"status": state.status, "made": state.made, "failed": rows})
    elif state.succeeded:
        out().print(f"{state.made} hours of assets built", markup=False)
    if state.succeeded:
        return
    for hours in failed[1:]:
        note(_line(hours))
    more = f"; {len(failed) - 1} more, above" if len(failed) > 1 else ""
    why = _line(failed[0]) if failed else state.error or state.status
    raise UserError(f"{state.total - state.made} of {state.total} hours of assets were not built: {why}{more}")


def _line(failed: FailedHours) -> str:
    return f"{failed.asset} {_short(failed.hours)}: {failed.cause}"


def _short(hours: Sequence[Hour]) -> str:
    if len(hours) <= _HOURS_SHOWN:
        return ", ".join(hour.key for hour in hours)
    return f"{hours[0]} to {hours[-1]} ({len(hours)} hours)"
