"""``yolo-assets archive hold``: a legal hold on camera-hours, without an end until it is released."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from yolo_assets.cli.archive.options import KeyOption, trusted_keys
from yolo_assets.cli.common import ArchiveOption, JsonOption, emit_json, open_archive, out, progress, settings


def hold(
    names: Annotated[list[str], typer.Argument(help="Names or keys of archives.", metavar="KEY")],
    release: Annotated[bool, typer.Option("--release", help="End the hold; the retention stays.")] = False,
    archive: ArchiveOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold archives: nothing of that camera and hour can be deleted until released, even after its retention.

    Archive, index and receipt of every part of the hour are held, in the versions that were archived.
    """
    from yolo_assets.archive.write_once.protect import hold as hold_hour
    from yolo_assets.contracts.names import ArchiveName

    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    store = open_archive(found)
    hours = {(name.camera_id, name.hour): name for name in map(ArchiveName.parse, names)}  # parts of one hour: once
    rows: list[dict[str, Any]] = []
    with progress("releasing" if release else "holding", total=len(hours)) as advance:
        for name in hours.values():
            held = hold_hour(store, name, trusted, not release)
            advance()
            rows.extend(dataclasses.asdict(entry) for entry in held)
            if not as_json:
                for entry in held:
                    state = "held" if entry.on else "released"
                    out().print(f"{state}  {entry.key}  version {entry.version_id}", markup=False)
    if as_json:
        emit_json(rows)
