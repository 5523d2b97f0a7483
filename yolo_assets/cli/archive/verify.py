"""``yolo-assets archive verify``: the archive against its receipts, named archives, all, or the part that is due."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import CameraOption, KeyOption, given, trusted_keys, verify_how
from yolo_assets.cli.common import ArchiveOption, JsonOption, emit_json, note, open_archive, out, progress, settings
from yolo_assets.contracts.errors import UsageError, UserError

if TYPE_CHECKING:
    from fractions import Fraction

    from yolo_assets.archive.verifying.records import Coverage
    from yolo_assets.archive.verifying.verify import VerifyReport
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.storage.base import ObjectStore


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
        bool, typer.Option("--coverage", help="Verify nothing: say what audits looked at so far.")
    ] = False,
    days: Annotated[int, typer.Option(help="With --coverage: within so many days.", min=1, max=36_500)] = 30,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check receipt, index and archive against each other; exit 1 on any difference."""
    from yolo_assets.archive.verifying.choice import parse_share

    if sum((bool(names), camera is not None, sample is not None, coverage)) > 1:
        raise UsageError("names, --camera, --sample and --coverage each say what to look at; give one of them")
    checked = verify_how(how)
    share = given(parse_share, sample, "--sample")
    found = settings(archive=archive)
    trusted = trusted_keys(found, key)
    store = open_archive(found)
    if coverage:
        _coverage(store, trusted, days, as_json)
    elif share is not None:
        _audit(found, store, trusted, share, checked, as_json)
    else:
        _verify(store, trusted, names, camera, checked, as_json)


def _verify(
    store: ObjectStore, trusted: TrustedKeys, names: list[str] | None, camera: str | None, how: Any, as_json: bool
) -> None:
    from yolo_assets.archive.restoring.near import no_camera
    from yolo_assets.archive.verifying.census import Census, take_census
    from yolo_assets.archive.verifying.verify import verify_archives
    from yolo_assets.contracts.names import ArchiveName

    if names:
        census, wanted = Census({}, {}, 0), [ArchiveName.parse(name) for name in names]
    else:
        census = take_census(store, camera_id=camera)
        wanted = census.names
    bad: list[VerifyReport] = []
    unprotected: list[str] = []
    reports: list[dict[str, Any]] = []
    with progress("verifying", total=len(wanted)) as advance:
        for report in census.told(verify_archives(store, wanted, trusted, how)):
            advance()
            unprotected += [report.unprotected] if report.unprotected else []
            if not report.ok:
                bad.append(report)
            if as_json:
                reports.append({**dataclasses.asdict(report), "ok": report.ok})
            else:
                _print(report)
    if as_json:
        emit_json(reports)
    if census.unfinished:
        note(_unfinished(census.unfinished))
    if not wanted:  # nothing was verified: that must not look well to a timer
        raise UserError(f"there is no archive to verify: {no_camera(store, camera)}")
    if unprotected:
        note(f"whether {len(unprotected)} archives are write-once was not looked at: {unprotected[0]}")
    if bad:
        problems = {report.name: report.problems for report in bad if report.problems}
        raise _failed(problems, {one.name: one.unchecked for one in bad if one.unchecked}, len(wanted))


def _audit(found: Settings, store: ObjectStore, trusted: TrustedKeys, share: Fraction, how: Any, as_json: bool) -> None:
    from contextlib import ExitStack

    from yolo_assets.archive.verifying.audit import audit
    from yolo_assets.contracts.signing import Signer

    signer = Signer.load(found.archiver_key) if found.archiver_key.exists() else None
    with ExitStack() as bars:
        advance: Any = None

        def begin(total: int) -> None:
            nonlocal advance
            advance = bars.enter_context(progress("auditing", total=total))

        def report(one: VerifyReport) -> None:
            advance()
            if not as_json and not one.ok:
                _print(one)

        done = audit(store, trusted, signer, share, how, begin=begin, report=report)
    if as_json:
        emit_json({**dataclasses.asdict(done), "ok": done.ok})
    else:
        looked = f"{done.full + done.head} of {done.chosen} archives that were due are as they should be"
        cold = f", {done.cold} of them in a cold tier and not read" if done.cold else ""
        out().print(f"{looked}{cold}; {done.bytes_read} bytes read", markup=False)
        _print_coverage(done.coverage)
    if signer is None:
        note(
            f"nobody signed this audit, so it does not count as coverage: there is no key at {found.archiver_key}; "
            "make one with yolo-assets models keygen, or audit where the archiver runs"
        )
    if done.unfinished:
        note(_unfinished(done.unfinished))
    if done.stopped:
        raise UserError(f"the audit stopped early, what it saw is recorded; run again: {done.stopped}")
    if not done.ok:
        raise _failed(done.problems, done.unchecked, done.coverage.archives)


def _coverage(store: ObjectStore, trusted: TrustedKeys, days: float, as_json: bool) -> None:
    from yolo_assets.archive.verifying.audit import coverage

    found = coverage(store, trusted, days)
    if as_json:
        emit_json(dataclasses.asdict(found))
    else:
        _print_coverage(found)


def _print(report: VerifyReport) -> None:
    state = "DIFFERS" if report.problems else "NOT LOOKED AT" if report.unchecked else "ok"
    cold = "  in a cold tier, not read" if report.cold else ""
    out().print(f"{report.name}  {state}  {report.members} files{cold}", markup=False)
    for line in [*report.problems, *([report.unchecked] if report.unchecked else [])]:
        out().print(f"  {line}", markup=False)


def _print_coverage(found: Coverage) -> None:
    for line in found.lines():
        out().print(line, markup=False)


def _unfinished(count: int) -> str:
    return f"{count} archives have no receipt for less than a day: on their way, or left by a run that was killed"


def _failed(problems: Any, unchecked: Any, total: int) -> UserError:
    if not problems:
        name, why = next(iter(unchecked.items()))
        return UserError(f"{len(unchecked)} of {total} archives could not be looked at, the first: {name}: {why}")
    name, lines = next(iter(problems.items()))
    more = f" and {len(unchecked)} could not be looked at" if unchecked else ""
    return UserError(
        f"{len(problems)} of {total} archives are not what was archived{more}, the first: {name}: {lines[0]}; "
        "keep what is there, and what is still in the spool, and look at the store"
    )
