"""``yolo-assets archive run``: every closed hour of a spool into the archive, once or for ever."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.archive.options import CameraOption, KeyOption, given, verify_how
from yolo_assets.cli.common import ArchiveOption, JsonOption, SpoolOption, emit_json, note, settings
from yolo_assets.contracts.errors import BadInputError, UsageError, UserError

if TYPE_CHECKING:
    from yolo_assets.archive.service.run import HourResult
    from yolo_assets.archive.service.traffic import Traffic
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.spool.hours import SpoolProblem
    from yolo_assets.storage.base import ObjectStore

_LONGEST = 86_400.0


def run(
    spool: SpoolOption = None,
    archive: ArchiveOption = None,
    camera: CameraOption = None,
    hour: Annotated[str | None, typer.Option(help="Only this hour.", metavar="YYYYMMDD_HH")] = None,
    verify: Annotated[str, typer.Option(help="head: size and ETag after upload; full: read every byte back.")] = "head",
    bwlimit: Annotated[
        str | None,
        typer.Option(help="Limit of all uploads of this host: 20MB/s, or '22:00-06:00 unlimited, else 20MB/s'."),
    ] = None,
    keep_local: Annotated[bool, typer.Option("--keep-local", help="Delete nothing in the spool.")] = False,
    grace: Annotated[
        float | None, typer.Option(help="Quiet seconds that close an hour without a seal; 0 closes every past hour.")
    ] = None,
    every: Annotated[
        float | None, typer.Option(help="Go on for ever, a round every so many seconds.", metavar="SECONDS")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="With --every: serve /metrics for Prometheus, and /healthz; 0: a free port.", min=0, max=65535
        ),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address of the metrics; anybody who reaches it.")] = "127.0.0.1",
    metrics_file: Annotated[
        Path | None, typer.Option(help="Write metrics for node_exporter's textfile collector.", metavar="FILE.prom")
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Archive every closed hour of the spool; delete locally what is verified in the store.

    With --every an hour that failed is tried again after growing pauses; SIGTERM and Ctrl-C end it within seconds.
    """
    from yolo_assets.archive.archiving.options import ArchiveOptions
    from yolo_assets.archive.service.rounds import Rounds
    from yolo_assets.archive.service.run import Archiver
    from yolo_assets.archive.service.stop import Stop, Stopped
    from yolo_assets.archive.service.traffic import Traffic
    from yolo_assets.cli.archive.results import Bar, Teller
    from yolo_assets.cli.archive.stopping import HungError, run_stoppable
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.contracts.times import Hour

    found = _limited(settings(archive=archive, spool=spool), bwlimit)
    how = verify_how(verify)
    only = given(Hour.from_key, hour, "--hour")
    quiet = found.grace_seconds if grace is None else grace
    if not quiet >= 0:  # neither negative nor "nan"
        raise UsageError(f"--grace {quiet:g} is no number of seconds; 0 closes every past hour")
    if every is not None and not 0 < every <= _LONGEST:
        raise UsageError(f"--every {every:g} is no pause between rounds; give seconds, up to {_LONGEST:g}")
    if metrics_port is not None and every is None:
        raise UsageError("--metrics-port needs --every; for a run that ends give --metrics-file FILE.prom")
    if not found.spool.is_dir():
        raise UsageError(f"there is no spool at {found.spool}; give the folder that holds one folder per camera")
    options = ArchiveOptions.of(found, verify=how)
    forever = every is not None
    stop = Stop()
    with ExitStack() as stack:
        bar = Bar(stack)
        traffic = Traffic(found, note, stop=stop, on_sent=bar.sent)
        if metrics_port is not None or metrics_file is not None:
            _show(traffic, metrics_host, metrics_port, metrics_file)
        stack.enter_context(traffic)
        teller = Teller(traffic, as_json=as_json, forever=forever)

        def report(result: HourResult, again: float | None) -> None:
            bar.ended(traffic.backlog.total)
            teller.result(result, again)

        def begin(problems: list[SpoolProblem]) -> None:
            teller.problems(problems)
            if not forever:
                bar.begin(traffic.backlog.total)

        def work() -> list[HourResult]:
            store = _open(found, traffic, forever=forever)
            signer = Signer.load_or_create(found.archiver_key)
            trusted = TrustedKeys.of(signer)
            if key:
                trusted = TrustedKeys({**trusted.keys, **TrustedKeys.load(key).keys})
            archiver = Archiver(store, signer, trusted, options, None if keep_local else found.hot_hours)
            return Rounds(archiver, found.spool, traffic, report, begin, note, every, camera, only, quiet).run()

        try:
            results = run_stoppable(work, stop)
        except Stopped:
            if not forever:
                if as_json:
                    emit_json(teller.rows)  # of these hours local files may be gone: they must be told
                raise KeyboardInterrupt from None
            note("stopped; what was under way is gone on with by the next run")
            return
        except HungError:
            note("stopped; a request that hangs was left behind, the next run goes on there")
            stack.close()
            if as_json and not forever:
                emit_json(teller.rows)
            sys.stdout.flush()
            os._exit(0 if forever else 130)  # the threads of the request would be waited for
    if as_json:
        emit_json(teller.rows)
    elif not results:
        note("no closed hour to archive")
    failed = [result for result in results if result.status == "failed"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(results)} hours failed and stay in the spool, the first: {failed[0].reason}; "
            "run again when that is put right"
        )


def _limited(found: Settings, bwlimit: str | None) -> Settings:
    """With the limit of the command line, checked before anything begins."""
    from yolo_assets.archive.bandwidth.rates import Timetable

    if bwlimit is not None:
        found = found.model_copy(update={"bandwidth": bwlimit})
    try:
        Timetable.parse(found.bandwidth)
    except BadInputError as error:
        raise UsageError(f"{'YOLO_ASSETS_BWLIMIT' if bwlimit is None else '--bwlimit'}: {error}") from None
    return found


def _open(found: Settings, traffic: Traffic, *, forever: bool) -> ObjectStore:
    """The archive root. A service waits for the NAS that is mounted after it was started."""
    from yolo_assets.archive.service.rounds import FIRST_PAUSE, LONGEST_AWAY, pause
    from yolo_assets.storage.base import StoreUnavailableError
    from yolo_assets.storage.open import open_store

    tries = 0
    while True:
        try:
            return open_store(found.archive_url, memory=found.known_stores, pace=traffic.pace)
        except StoreUnavailableError as error:
            if not forever:
                raise
            tries += 1
            seconds = pause(tries, FIRST_PAUSE, LONGEST_AWAY)
            note(f"{error}; tried again in {seconds:.0f} s")
            traffic.stop.wait(seconds)


def _show(traffic: Traffic, host: str, port: int | None, file: Path | None) -> None:
    """Show the figures over HTTP, in a file, or both."""
    from yolo_assets.archive.service.exposition import Exposition

    page = Exposition(traffic.figures, stopping=lambda: traffic.stop.asked)
    if file is not None:
        if file.suffix != ".prom" or not file.absolute().parent.is_dir():
            raise UsageError(f"--metrics-file {file}: give a name that ends in .prom, in a folder that exists")
        traffic.on_kept = lambda: page.write(file)
    if port is not None:
        note(f"metrics: {page.serve(host, port)}")
