"""``yolo-assets storage doctor``: what the stores really enforce, as a table."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.table import Table

from yolo_assets.cli.common import ArchiveOption, JsonOption, StoreOption, emit_json, note, out, settings
from yolo_assets.contracts.errors import UserError

COLOURS = {"ok": "green", "note": "cyan", "warn": "yellow", "unsafe": "red"}


def doctor(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    alone: Annotated[bool, typer.Option("--archive-only", help="Do not look at the store root.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Try what the stores really enforce; exit 1 when something would be lost.

    Writes a few small objects under .doctor/ and removes them again where it may.
    """
    from yolo_assets.storage.admin.doctor import examine

    found = settings(archive=archive, store=store)
    examination = examine(found.archive_url, None if alone else found.store_url, found.retention_days)
    if as_json:
        emit_json(dataclasses.asdict(examination))
    else:
        for root in examination.roots:
            table = Table(title=f"{root.role} root {root.url}: {root.profile}", title_justify="left", expand=False)
            for heading in ("question", "answer", "verdict", "what to do"):
                table.add_column(heading, overflow="fold")
            for finding in root.findings:
                colour = COLOURS[finding.verdict]
                table.add_row(
                    finding.question, finding.answer, f"[{colour}]{finding.verdict}[/{colour}]", finding.advice
                )
            out().print(table)
            for key in root.left:
                note(f"left behind, without the right to delete: {key}")
        for finding in examination.unsafe:
            note(f"unsafe: {finding.question}, but {finding.answer}; {finding.advice}")
    if examination.unsafe:
        first = examination.unsafe[0]
        raise UserError(f"{first.question}, but {first.answer}; {first.advice}")
