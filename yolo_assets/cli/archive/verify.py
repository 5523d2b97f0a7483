"""``yolo-assets archive verify``: the archive against its receipts."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from yolo_assets.cli.archive.options import KeyOption, trusted_keys, verify_how
from yolo_assets.cli.common import ArchiveOption, JsonOption, emit_json, note, open_archive, out, progress, settings
from yolo_assets.contracts.errors import UserError


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or keys of archives; none: every archive.", metavar="KEY...")
    ] = None,
    archive: ArchiveOption = None,
    how: Annotated[str, typer.Option("--verify", help="head: size and ETag; full: read every byte.")] = "head",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check receipt, index and archive against each other; exit 1 on any difference."""
    from yolo_assets.archive.read import list_archives
    from yolo_assets.archive.verify import verify_archive
    from yolo_assets.contracts.names import ArchiveName

    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    store = open_archive(found)
    checked = verify_how(how)
    wanted = [ArchiveName.parse(name) for name in names] if names else list(list_archives(store))
    reports = []
    with progress("verifying", total=len(wanted)) as advance:
        for name in wanted:
            report = verify_archive(store, name, trusted, checked)
            reports.append(report)
            advance()
            if not as_json:
                out().print(f"{report.name}  {'ok' if report.ok else 'DIFFERS'}  {report.members} files", markup=False)
                for problem in report.problems:
                    out().print(f"  {problem}", markup=False)
    if as_json:
        emit_json([{**dataclasses.asdict(report), "ok": report.ok} for report in reports])
    if not reports:
        note("there is no archive to verify")
    different = [report for report in reports if not report.ok]
    if different:
        raise UserError(
            f"{len(different)} of {len(reports)} archives are not what was archived, the first: {different[0].name}: "
            f"{different[0].problems[0]}; keep what is there, and what is still in the spool, and look at the store"
        )
