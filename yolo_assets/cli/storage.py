"""``yolo-assets storage``: what the stores really enforce, a bucket set up for the archive, policies as files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from yolo_assets.cli.common import ArchiveOption, JsonOption, StoreOption, emit_json, note, out, settings
from yolo_assets.contracts.errors import UsageError, UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
COLOURS = {"ok": "green", "note": "cyan", "warn": "yellow", "unsafe": "red"}


@app.command(epilog="Example: yolo-assets storage doctor --archive s3://plant-archive/root --store s3://plant-store")
def doctor(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    alone: Annotated[bool, typer.Option("--archive-only", help="Do not examine the store root.")] = False,
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
                note(f"not removed, without the right to delete: {key}")
        for finding in examination.unsafe:
            note(f"unsafe: {finding.question}, but {finding.answer}; {finding.advice}")
    if examination.unsafe:
        first = examination.unsafe[0]
        raise UserError(f"{first.question}, but {first.answer}; {first.advice}")


@app.command(
    epilog="Example: yolo-assets storage init --archive s3://plant-archive/root --retention-days 183 --create --dry-run"
)
def init(
    archive: ArchiveOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, and read every setting back.")] = False,
    retention_days: Annotated[
        int | None, typer.Option(min=0, help="Days that archives are write-once; default: YOLO_ASSETS_RETENTION_DAYS.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the bucket when it is missing.")] = False,
    archiver: Annotated[
        str | None,
        typer.Option(help="User or role that archives: the bucket's policy lets it delete nothing.", metavar="ARN"),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Storage class of a tier, where the store has its own.", metavar="TIER=NAME"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set up the bucket of the archive root: versions, lock, encryption, lifecycle, policy. Loosens nothing."""
    from yolo_assets.storage.admin.bucket_setup import BucketSetup, SetupRequest
    from yolo_assets.storage.admin.policy import BucketPlace
    from yolo_assets.storage.open import open_store, parse_s3_url
    from yolo_assets.storage.s3_client import make_client

    if dry_run == apply:
        raise UsageError("give either --dry-run, to see what would be done, or --apply")
    found = settings(archive=archive)
    days = found.retention_days if retention_days is None else retention_days
    if found.archive_url.startswith("file://"):
        if days:
            raise UserError(
                f"{found.archive_url} is a folder, which locks nothing: for a retention of {days} days use a bucket "
                "with object lock, or give --retention-days 0"
            )
        if apply:
            open_store(found.archive_url)
        note("a folder has no versions, lock, lifecycle or policy: protect it by its owner's rights and a backup")
        if as_json:
            emit_json({"profile": "folder", "steps": [], "notes": []})
        return
    bucket, prefix = parse_s3_url(found.archive_url)
    request = SetupRequest(days, archiver, _classes(classes or []), create)
    setup = BucketSetup(make_client(), BucketPlace(bucket, prefix), request, found.archive_url)
    plan = setup.apply() if apply else setup.plan()
    if as_json:
        emit_json(dataclasses.asdict(plan))
    else:
        for step in plan.steps:
            out().print(f"{step.change} {step.what}: {step.detail}", markup=False)
        for sentence in plan.notes:
            note(sentence)
    impossible = [step for step in plan.steps if step.change == "!"]
    if impossible:
        raise UserError(f"{impossible[0].what}: {impossible[0].detail}")


def _classes(given: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in given]
    for tier, equals, name in pairs:
        if tier not in ("infrequent", "cold") or not equals or not name:
            raise UsageError(f"--class {tier}{equals}{name}: write it like infrequent=STANDARD_IA or cold=GLACIER_IR")
    return {tier: name for tier, _, name in pairs}


@app.command(epilog="Example: yolo-assets storage policy --out policies")
def policy(
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR")],
) -> None:
    """Write policies and lifecycle rules as files, for those who set up stores by other means."""
    from yolo_assets.storage.admin.policy import write_policies

    for path in write_policies(folder):
        out().print(str(path), markup=False)
