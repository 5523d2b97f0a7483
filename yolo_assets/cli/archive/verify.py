"""``yolo-assets archive verify``: the archive against its receipts, named archives, all, or the part that is due."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.history import show_history
from yolo_assets.cli.archive.options import (
    CameraOption,
    EnrolledByOption,
    KeyOption,
    devices_of,
    given,
    open_to_read,
    receipt_keys,
    verify_how,
)
from yolo_assets.cli.archive.replicate import verify_both
from yolo_assets.cli.common import ArchiveOption, JsonOption, StoreOption, emit_json, note, out, progress, settings
from yolo_assets.contracts.errors import UsageError, UserError

if TYPE_CHECKING:
    from fractions import Fraction

    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.audit.coverage import Coverage
    from yolo_assets.archive.audit.verification import VerifyReport
    from yolo_assets.archive.options import VerifyHow
    from yolo_assets.contracts.device_keys import EnrolledDevices, SealVerdict
    from yolo_assets.contracts.settings import Settings


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or keys of archives; none: every archive.", metavar="KEY...")
    ] = None,
    archive: ArchiveOption = None,
    how: Annotated[str, typer.Option("--verify", help="head: size and ETag; full: read every byte.")] = "head",
    camera: CameraOption = None,
    sample: Annotated[
        str | None, typer.Option(help="Audit only the part that is due, like 1/30, and record it.", metavar="SHARE")
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Verify nothing; show what audits have verified so far.")
    ] = False,
    both: Annotated[
        bool, typer.Option("--both", help="Compare with the copy (YOLO_ASSETS_ARCHIVE_COPY), by listings.")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="With --both: read every byte of both.")] = False,
    days: Annotated[int, typer.Option(help="With --coverage: within this many days.", min=1, max=36_500)] = 30,
    history: Annotated[
        bool, typer.Option("--history", help="Hold the receipts against the log of checkpoints instead.")
    ] = False,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="With --history: a checkpoint that was kept outside the archive.", metavar="FILE"),
    ] = None,
    witness_key: Annotated[
        list[Path] | None,
        typer.Option(help="With --history: key of a witness who must have co-signed (witness.vkey).", metavar="FILE"),
    ] = None,
    key: KeyOption = None,
    enrolled_by: EnrolledByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check receipt, index and archive against each other; exit 1 on any difference."""
    from yolo_assets.archive.audit.audit import parse_share

    if sum((bool(names), camera is not None, sample is not None, coverage, both)) > 1:
        raise UsageError("give only one of: names of archives, --camera, --sample, --coverage, --both")
    if deep and not both:
        raise UsageError("--deep needs --both; the archives alone are read with --verify full")
    if not history and (checkpoint or witness_key):
        raise UsageError("--checkpoint and --witness-key belong to --history")
    if history and (camera is not None or sample is not None or coverage or both):
        raise UsageError("--history takes names of archives, and none of: --camera, --sample, --coverage, --both")
    checked = verify_how(how)
    share = given(parse_share, sample, "--sample")
    located = settings(archive=archive, store=store)
    if both:
        verify_both(located, receipt_keys(located, key), deep=deep, as_json=as_json)
        return
    opened = open_to_read(located, key, alone=True)
    if history:
        show_history(located, opened, names or [], checkpoint or [], witness_key or [], as_json=as_json)
    elif coverage:
        _coverage(opened, days, as_json)
    elif share is not None:
        _audit(located, opened, share, checked, as_json)
    else:
        _verify(opened, devices_of(located, enrolled_by), names, camera, checked, as_json)


def _verify(
    archive: Archive,
    devices: EnrolledDevices,
    names: list[str] | None,
    camera: str | None,
    how: VerifyHow,
    as_json: bool,
) -> None:
    from yolo_assets.archive.audit.census import Census, take_census
    from yolo_assets.archive.audit.verification import verify_archives
    from yolo_assets.archive.restore.hints import no_camera
    from yolo_assets.contracts.names import ArchiveName

    if names:
        census, chosen = Census({}, {}, 0), [ArchiveName.parse(name) for name in names]
    else:
        census = take_census(archive, camera_id=camera)
        chosen = census.names
    bad: list[VerifyReport] = []
    unprotected: list[str] = []
    reports: list[dict[str, Any]] = []
    with progress("verifying", total=len(chosen)) as advance:
        for report in census.completed(verify_archives(archive, chosen, how)):
            advance()
            unprotected += [report.unprotected] if report.unprotected else []
            if not report.ok:
                bad.append(report)
            seal = devices.verdict_on(report.receipt) if report.receipt is not None else None
            if as_json:
                told = dataclasses.asdict(dataclasses.replace(report, receipt=None))
                del told["receipt"]
                sealed = {"sealed": seal and seal.state, "sealed_why": seal and seal.why}
                reports.append({**told, "ok": report.ok, **sealed})
            else:
                _print(report, seal)
    if as_json:
        emit_json(reports)
    if census.unfinished:
        note(_unfinished(census.unfinished))
    if not chosen:  # nothing was verified: that must not look well to a timer
        raise UserError(f"there is no archive to verify: {no_camera(archive, camera)}")
    if unprotected:
        note(f"whether {len(unprotected)} archives are write-once was not checked: {unprotected[0]}")
    if bad:
        problems = {report.name: report.problems for report in bad if report.problems}
        raise _failed(problems, {report.name: report.unchecked for report in bad if report.unchecked}, len(chosen))


def _audit(settings: Settings, archive: Archive, share: Fraction, how: VerifyHow, as_json: bool) -> None:
    from contextlib import ExitStack

    from yolo_assets.archive.audit.audit import audit
    from yolo_assets.contracts.signing import Signer

    signer = Signer.load(settings.archiver_key) if settings.archiver_key.exists() else None
    with ExitStack() as bars:
        advance: Any = None

        def begin(total: int) -> None:
            nonlocal advance
            advance = bars.enter_context(progress("auditing", total=total))

        def report(result: VerifyReport) -> None:
            advance()
            if not as_json and not result.ok:
                _print(result)

        done = audit(archive, signer, share, how, begin=begin, report=report)
    if as_json:
        emit_json({**dataclasses.asdict(done), "ok": done.ok})
    else:
        looked = f"{done.full + done.head} of {done.chosen} archives that were due are as they should be"
        cold = f", {done.cold} of them in a cold tier and not read" if done.cold else ""
        out().print(f"{looked}{cold}; {done.bytes_read} bytes read", markup=False)
        _print_coverage(done.coverage)
    if signer is None:
        note(
            f"this audit is not signed, so it does not count as coverage: there is no key at {settings.archiver_key}; "
            "make one with yolo-assets models keygen, or audit where the archiver runs"
        )
    if done.unfinished:
        note(_unfinished(done.unfinished))
    if done.stopped:
        raise UserError(f"the audit stopped early, what it verified is recorded; run again: {done.stopped}")
    if not done.ok:
        raise _failed(done.problems, done.unchecked, done.coverage.archives)


def _coverage(archive: Archive, days: float, as_json: bool) -> None:
    from yolo_assets.archive.audit.audit import coverage

    covered = coverage(archive, days)
    if as_json:
        emit_json(dataclasses.asdict(covered))
    else:
        _print_coverage(covered)


def _print(report: VerifyReport, seal: SealVerdict | None = None) -> None:
    state = "DIFFERS" if report.problems else "NOT VERIFIED" if report.unchecked else "ok"
    cold = "  in a cold tier, not read" if report.cold else ""
    sealed = f"  seal: {seal.state}" if seal is not None else ""
    out().print(f"{report.name}  {state}  {report.members} files{sealed}{cold}", markup=False)
    if seal is not None and seal.state not in ("enrolled", "not sealed"):
        out().print(f"  {seal.why}", markup=False)
    for line in [*report.problems, *([report.unchecked] if report.unchecked else [])]:
        out().print(f"  {line}", markup=False)


def _print_coverage(coverage: Coverage) -> None:
    for line in coverage.lines():
        out().print(line, markup=False)


def _unfinished(count: int) -> str:
    return f"{count} archives without a receipt are less than a day old: in progress, or left by a run that was killed"


def _failed(problems: Any, unchecked: Any, total: int) -> UserError:
    if not problems:
        name, why = next(iter(unchecked.items()))
        return UserError(f"{len(unchecked)} of {total} archives could not be verified, the first: {name}: {why}")
    name, lines = next(iter(problems.items()))
    more = f" and {len(unchecked)} could not be verified" if unchecked else ""
    return UserError(
        f"{len(problems)} of {total} archives are not what was archived{more}, the first: {name}: {lines[0]}; "
        "keep what is there, and what is still in the spool, and inspect the store"
    )
