"""``yolo-assets health``: what was found of each camera, and what people say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from yolo_assets.cli import common
from yolo_assets.contracts.errors import UsageError, UserError

if TYPE_CHECKING:
    from yolo_assets.contracts.camera_states import CameraState, FaultKind

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

CameraArgument = Annotated[str, typer.Argument(metavar="CAMERA", help="Camera id.")]
ByOption = Annotated[str, typer.Option("--by", help="Who says so: it is kept with the camera.", metavar="NAME")]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for colleagues.", metavar="TEXT")]


@app.command()
def ls(
    sick: Annotated[bool, typer.Option("--sick", help="Only cameras with a fault or a drift.")] = False,
    store: common.StoreOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """What was last found of each camera: faults, who knows of them, and the drift of its model.

    Example: yolo-assets health ls --sick
    """
    common.need("polars")
    from yolo_assets.monitoring.states import camera_states
    from yolo_assets.storage.open import open_store

    where = common.settings(store=store)
    states = camera_states(open_store(where.store_url, memory=where.known_stores))
    cameras = states.cameras if states is not None else ()
    shown = [camera for camera in cameras if not sick or _told(camera)]
    if as_json:
        hour = states.model_dump(mode="json")["hour"] if states is not None else None
        common.emit_json({"hour": hour, "cameras": [camera.model_dump(mode="json") for camera in shown]})
        return
    out = common.out()
    for camera in shown:
        for line in _told(camera) or [f"{camera.camera_id} is well; drift: {_drift(camera)}"]:
            out.print(line, markup=False)
    if states is None:
        common.note("no hour was judged yet; camera_health does it for each hour")
    elif not shown:
        common.note(f"every camera is well, as of the hour {states.hour:%Y-%m-%d %H:%M} UTC")


def _told(camera: CameraState) -> list[str]:
    lines = [
        f"{fault.sentence}{f' Known to {fault.acknowledged_by}.' if fault.acknowledged_by else ''}"
        for fault in camera.faults
    ]
    if camera.drift is not None and camera.drift.verdict in ("drifted", "empty belt"):
        lines.append(f"{camera.camera_id}: {camera.drift.verdict}, {camera.drift.reason}")
    return lines


def _drift(camera: CameraState) -> str:
    return f"{camera.drift.verdict}, {camera.drift.reason}" if camera.drift is not None else "nothing reported yet"


@app.command()
def ack(
    camera: CameraArgument,
    by: ByOption,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this fault, like blurred; may be repeated.", metavar="FAULT"),
    ] = None,
    note: NoteOption = "",
    store: common.StoreOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Say that a camera's faults are known: nobody is told again until it was well and is sick anew.

    Example: yolo-assets health ack cam03 --by "A. Berg" --note "lens is ordered"
    """
    from yolo_assets.contracts.camera_states import FaultKind

    known = get_args(FaultKind)
    for name in kind or ():
        if name not in known:
            raise UsageError(f"{name} is no fault of a camera; there are: {', '.join(known)}")
    _say(camera, by, "acknowledge", note, store, as_json, cast("tuple[FaultKind, ...]", tuple(kind or ())))


@app.command()
def relearn(
    camera: CameraArgument,
    by: ByOption,
    note: NoteOption = "",
    store: common.StoreOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Say that a camera is as it should be from now on: a new lamp, a new place, a new product. It learns anew.

    Example: yolo-assets health relearn cam03 --by "A. Berg" --note "moved to the other side of the belt"
    """
    _say(camera, by, "relearn", note, store, as_json)


@app.command()
def retire(
    camera: CameraArgument,
    by: ByOption,
    note: NoteOption = "",
    store: common.StoreOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Say that a camera was taken away: it is missed no more. When it sends frames again, it is back.

    Example: yolo-assets health retire cam03 --by "A. Berg"
    """
    _say(camera, by, "retire", note, store, as_json)


def _say(
    camera: str,
    by: str,
    action: Literal["acknowledge", "relearn", "retire"],
    note: str,
    store: str | None,
    as_json: bool,
    kinds: tuple[FaultKind, ...] = (),
) -> None:
    common.need("polars")
    from yolo_assets.contracts.camera_states import HealthNote
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.monitoring.states import add_health_note, camera_states
    from yolo_assets.storage.open import open_store

    common.camera_id(camera)
    if not by.strip():
        raise UsageError("--by is empty; give the name of who says so")
    where = common.settings(store=store)
    opened = open_store(where.store_url, memory=where.known_stores)
    states = camera_states(opened)
    found = next((c for c in states.cameras if c.camera_id == camera), None) if states is not None else None
    if found is None:
        raise UserError(f"nothing is known of {camera} yet; yolo-assets health ls shows the cameras that are known")
    if action == "acknowledge" and not any(not kinds or fault.kind in kinds for fault in found.faults):
        raise UserError(f"{camera} has no such fault; yolo-assets health ls --sick shows what was found")
    said = HealthNote(camera_id=camera, at=utc_now(), by=by.strip(), action=action, kinds=kinds, note=note)
    key = add_health_note(opened, said)
    if as_json:
        common.emit_json({"key": key, **said.model_dump(mode="json")})
        return
    words = {"acknowledge": "is known to", "relearn": "learns anew, says", "retire": "was taken away, says"}
    common.out().print(f"{camera} {words[action]} {said.by}", markup=False)
