"""``yolo-assets storage``: what the stores really enforce, a bucket set up for the archive, policies as files."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from yolo_assets.cli.common import (
    ActorOption,
    ArchiveOption,
    JsonOption,
    StoreOption,
    emit_json,
    note,
    on_the_trail,
    out,
    settings,
    show_table,
)
from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.storage.admin.findings import Examined, StoreFinding

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
            _show(root, [finding.advice for finding in examination.unsafe])
    _raise_unsafe(examination.unsafe)


def _show(root: Examined, told: list[str]) -> None:
    """One root: what was tried as a table, and below it what to do; each sentence once, and none of the end's."""
    out().print(f"{root.role} root {root.url}: {root.profile}", markup=False, soft_wrap=True)
    rows = [(Text(each.verdict, COLOURS[each.verdict]), each.question, each.answer) for each in root.findings]
    show_table(("verdict", "question", ""), rows, titles=2, for_people=True)
    for advice in dict.fromkeys(finding.advice for finding in root.findings if finding.advice):
        about = [finding.question for finding in root.findings if finding.advice == advice]
        if advice not in told:  # a command must not be broken into lines
            out().print(f"{', '.join(about)}: {advice}", markup=False, soft_wrap=True)
    for key in root.left:
        note(f"not removed, without the right to delete: {key}")
    out().print()


def _raise_unsafe(findings: Sequence[StoreFinding]) -> None:
    """Every unsafe finding in a line of its own, the last of them as the error."""
    lines = [f"{found.question}, but {found.answer}" for found in findings]
    lines = [f"{line}; {found.advice}" if found.advice else line for line, found in zip(lines, findings, strict=True)]
    for line in lines[:-1]:
        note(f"unsafe: {line}")
    if lines:
        raise UserError(lines[-1])


@app.command(
    epilog="Example: yolo-assets storage init --archive s3://plant-archive/root --retention-days 183 --create --dry-run"
)
def init(
    archive: ArchiveOption = None,
    store: StoreOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, and read every setting back.")] = False,
    retention_days: Annotated[
        int | None, typer.Option(min=0, help="Days that archives are write-once; default: YOLO_ASSETS_RETENTION_DAYS.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the bucket when it is missing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Make a bucket for archives without object lock and do not ask.")
    ] = False,
    archiver: Annotated[
        str | None,
        typer.Option(help="User or role that archives: the bucket's policy lets it delete nothing.", metavar="ARN"),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Storage class of a tier, where the store has its own.", metavar="TIER=NAME"),
    ] = None,
    by: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set up the bucket of a root. Loosens nothing; where a step fails, nothing is changed.

    With --archive, or neither: the archive root: versions, lock, encryption, lifecycle, policy. With --store: the store
    root: a plain bucket in which compare-and-swap works and nothing expires.
    """
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.storage.admin.bucket_setup import BucketSetup, SetupRequest
    from yolo_assets.storage.admin.policy import BucketPlace
    from yolo_assets.storage.open import folder_of, open_store, parse_s3_url
    from yolo_assets.storage.s3_client import make_client

    if dry_run == apply:
        raise UsageError("give either --dry-run, to see what would be done, or --apply")
    if store is not None and (archive is not None or retention_days or archiver or classes):
        raise UsageError(
            "--store sets up the store root alone: without --archive, --retention-days, --archiver, --class"
        )
    found = settings(archive=archive, store=store)
    role, url = ("archive", found.archive_url) if store is None else ("store", found.store_url)
    days = (found.retention_days if retention_days is None else retention_days) if role == "archive" else 0
    if folder_of(url) is not None:
        if days:
            raise UserError(
                f"{url} is a folder, which locks nothing: for a retention of {days} days use a bucket "
                "with object lock, or give --retention-days 0"
            )
        if apply:
            open_store(url)
        note("a folder has no versions, lock, lifecycle or policy: protect it by its owner's rights and a backup")
        if as_json:
            emit_json({"profile": "folder", "steps": [], "notes": []})
        return
    bucket, prefix = parse_s3_url(url)
    request = SetupRequest(days, archiver, _classes(classes or []), create, role)
    setup = BucketSetup(make_client(), BucketPlace(bucket, prefix), request, url)
    plan = setup.plan()
    if as_json:
        emit_json(dataclasses.asdict(plan))
    else:
        for step in plan.steps:
            out().print(f"{step.change} {step.what}: {step.detail}", markup=False)
        for sentence in plan.notes:
            note(sentence)
    if plan.impossible:
        raise UserError(f"{plan.impossible[0].what}: {plan.impossible[0].detail}")
    if role == "archive" and plan.never_locked:
        _agree(bucket, asked=apply and not yes)
    if apply and role == "archive":
        target = TrailTarget(names=(url, f"retention {days} days"))
        with on_the_trail(found, "storage init", target, by=by):
            setup.apply()
    elif apply:
        setup.apply()


def _agree(bucket: str, *, asked: bool) -> None:
    """A bucket that can hold nothing against deletion is made only when that is wanted."""
    never = (
        f"bucket {bucket} would be made without object lock, which a bucket gets only when it is made: no archive in "
        "it can ever be held against deletion or overwriting"
    )
    if not asked:
        note(never)
    elif not sys.stdin.isatty():
        raise UsageError(f"{never}; give --retention-days 183 for one with object lock, or --yes for one without")
    elif not typer.confirm(f"{never}. Make it all the same?", err=True):
        raise UserError(f"bucket {bucket} was not made; for one with object lock give --retention-days 183")


def _classes(given: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in given]
    for tier, equals, name in pairs:
        if tier not in ("infrequent", "cold") or not equals or not name:
            raise UsageError(f"--class {tier}{equals}{name}: write it like infrequent=STANDARD_IA or cold=GLACIER_IR")
    return {tier: name for tier, _, name in pairs}


@app.command(epilog="Example: yolo-assets storage policy --out policies")
def policy(
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR", parser=location_folder)],
) -> None:
    """Write policies and lifecycle rules as files, for those who set up stores by other means."""
    from yolo_assets.storage.admin.policy_files import write_policies

    for path in write_policies(folder):
        out().print(str(path), markup=False)
