"""``yolo-assets archive run``: archives every closed hour of a spool, once or for ever."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from yolo_assets.cli.archive.options import CameraOption, KeyOption, given, verify_how
from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    SpoolOption,
    emit_json,
    need,
    note,
    out,
    progress,
    settings,
)
from yolo_assets.contracts.errors import BadInputError, UsageError, UserError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from yolo_assets.archive.service.archiver import HourAttempt
    from yolo_assets.archive.service.traffic import Stop, Traffic
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.spool.hours import SpoolProblem
    from yolo_assets.storage.base import ObjectStore

T = TypeVar("T")
_LONGEST = 86_400.0
PATIENCE = 8.0
"""Seconds between the request to stop and abandoning what hangs: a request without an answer waits for a minute."""


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
    keep_local: Annotated[
        bool, typer.Option("--keep-local", help="Delete nothing in the spool, which may then be read-only.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 also when something in the spool was skipped.")
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option(help="Seconds without a new file that close an hour without a seal; 0 closes every past hour."),
    ] = None,
    every: Annotated[
        float | None, typer.Option(help="Run for ever, one round every this many seconds.", metavar="SECONDS")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="With --every: serve /metrics for Prometheus, and /healthz; 0: a free port.", min=0, max=65535
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address on which metrics are served; there is no login.")
    ] = "127.0.0.1",
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            help="Write metrics for node_exporter's textfile collector.", metavar="FILE.prom", parser=location_folder
        ),
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Archive every closed hour of the spool; delete locally what is verified in the store.

    With --every an hour that failed is tried again after growing pauses; SIGTERM and Ctrl-C end it within seconds.
    """
    need("pyarrow")  # it writes the indexes: better missed now than after an hour was sent
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.options import ArchiveOptions
    from yolo_assets.archive.service.archiver import Archiver
    from yolo_assets.archive.service.loop import ArchiverLoop
    from yolo_assets.archive.service.traffic import Stop, Stopped, Traffic
    from yolo_assets.contracts.announcements import hour_archived
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.contracts.times import Hour
    from yolo_assets.events.announcer import announcer_of, source_here
    from yolo_assets.events.metrics import EventMetrics

    located = limited(settings(archive=archive, spool=spool), bwlimit)
    how = verify_how(verify)
    only = given(Hour.from_key, hour, "--hour")
    quiet = located.grace_seconds if grace is None else grace
    if not quiet >= 0:  # neither negative nor "nan"
        raise UsageError(f"--grace {quiet:g} is not a number of seconds; 0 closes every past hour")
    if every is not None and not 0 < every <= _LONGEST:
        raise UsageError(f"--every {every:g} is not a valid pause between rounds; give seconds, up to {_LONGEST:g}")
    if strict and every is not None:
        raise UsageError("--strict is for a run that ends; with --every watch the metric skipped")
    if metrics_port is not None and every is None:
        raise UsageError("--metrics-port needs --every; for a run that ends give --metrics-file FILE.prom")
    if not located.spool.is_dir():
        raise UsageError(f"there is no spool at {located.spool}; give the folder that holds one folder per camera")
    options = ArchiveOptions.of(located, verify=how)
    forever = every is not None
    stop = Stop()
    with ExitStack() as stack:
        bar = UploadBar(stack)
        announcer = stack.enter_context(announcer_of(located, note))
        traffic = Traffic(located, note, stop=stop, on_sent=bar.sent)
        if metrics_port is not None or metrics_file is not None:
            _show(traffic, EventMetrics(announcer, None), metrics_host, metrics_port, metrics_file)
        stack.enter_context(traffic)
        printer = ResultPrinter(traffic, as_json=as_json, forever=forever)

        def report(result: HourAttempt, again: float | None) -> None:
            if result.status == "archived":
                announcer.announce(hour_archived(source_here(), result.camera_id, Hour.from_key(result.hour)))
            bar.ended(traffic.backlog.total)
            printer.result(result, again)

        def begin(problems: list[SpoolProblem]) -> None:
            printer.problems(problems)
            if not forever:
                bar.begin(traffic.backlog.total)

        def work() -> list[HourAttempt]:
            store = _open(located, traffic, forever=forever)
            signer = Signer.load_or_create(located.archiver_key)
            trusted = TrustedKeys.of(signer).also(TrustedKeys.load(key or located.archiver_public_keys()))
            archiver = Archiver(Archive(store, trusted), signer, options, None if keep_local else located.hot_hours)
            return ArchiverLoop(
                archiver,
                located.spool,
                traffic,
                report,
                begin,
                note,
                every,
                camera,
                only,
                quiet,
                located.notes_of(located.spool) if keep_local else None,
            ).run()

        try:
            results = run_stoppable(work, stop)
        except Stopped:
            if not forever:
                if as_json:
                    emit_json(printer.rows)  # of these hours local files may be gone: they must be reported
                raise KeyboardInterrupt from None
            note("stopped; the next run resumes what was under way")
            return
        except HungError:
            note("stopped; a request that hangs was abandoned, the next run resumes there")
            stack.close()
            if as_json and not forever:
                emit_json(printer.rows)
            sys.stdout.flush()
            os._exit(0 if forever else 130)  # the threads of the request would be waited for
    if as_json:
        emit_json(printer.rows)
    elif not results:
        note("no closed hour to archive")
    failed = [result for result in results if result.status == "failed"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(results)} hours failed and stay in the spool, the first: {failed[0].camera_id} "
            f"{failed[0].hour}: {failed[0].reason}; run again when that is corrected"
        )
    if strict and printer.left:
        first = printer.left[0]
        raise UserError(
            f"{len(printer.left)} folders or files were skipped, the first: {first.path}: {first.reason}; put them "
            "right or move them away"
        )


def limited(located: Settings, bwlimit: str | None) -> Settings:
    """With the limit of the command line, checked before anything begins."""
    from yolo_assets.archive.bandwidth.rates import Timetable

    if bwlimit is not None:
        located = located.model_copy(update={"bandwidth": bwlimit})
    try:
        Timetable.parse(located.bandwidth)
    except BadInputError as error:
        raise UsageError(f"{'YOLO_ASSETS_BWLIMIT' if bwlimit is None else '--bwlimit'}: {error}") from None
    return located


def _open(located: Settings, traffic: Traffic, *, forever: bool) -> ObjectStore:
    """The archive root. A service waits for the NAS that is mounted after it was started."""
    from yolo_assets.archive.service.loop import FIRST_PAUSE, LONGEST_AWAY, STORE_RETRIES
    from yolo_assets.runtime.backoff import Backoff
    from yolo_assets.storage.base import StoreUnavailableError
    from yolo_assets.storage.open import open_store

    backoff = Backoff(FIRST_PAUSE, LONGEST_AWAY)
    while True:
        try:
            return open_store(
                located.archive_url, memory=located.known_stores, pace=traffic.pace, retries=STORE_RETRIES
            )
        except StoreUnavailableError as error:
            if not forever:
                raise
            seconds = backoff.failed()
            note(f"{error}; tried again in {seconds:.0f} s")
            traffic.stop.wait(seconds)


def _show(traffic: Traffic, events: Collector, host: str, port: int | None, file: Path | None) -> None:
    """Show the figures over HTTP, in a file, or both."""
    from yolo_assets.archive.service.metrics import FiguresCollector
    from yolo_assets.runtime.metrics_page import MetricsPage

    page = MetricsPage(FiguresCollector(traffic.figures), events, stopping=lambda: traffic.stop.asked)
    if file is not None:
        if file.suffix != ".prom" or not file.absolute().parent.is_dir():
            raise UsageError(f"--metrics-file {file}: give a name that ends in .prom, in a folder that exists")
        traffic.on_kept = lambda: page.write(file)
    if port is not None:
        note(f"metrics: {page.serve(host, port, '--metrics-port')}")


class UploadBar:
    """Bytes of a round on their way, as a bar on a terminal."""

    def __init__(self, stack: ExitStack) -> None:
        """The bar ends with ``stack``."""
        self._stack = stack
        self._lock = threading.Lock()
        self._advance: Any = None
        self._total = self._shown = self._waiting = 0

    def begin(self, total: int) -> None:
        """So many bytes are to be archived."""
        self._total = total
        self._advance = self._stack.enter_context(progress("archiving", total=total, in_bytes=True))

    def sent(self, count: int) -> None:
        """So many bytes went; shown now and then, because this is called for every few kilobytes."""
        with self._lock:
            self._waiting += count
            if self._advance is not None and self._waiting >= 1 << 20:
                self._move(self._waiting)

    def ended(self, left: int) -> None:
        """An hour is over, and so many bytes are left: parts that need not travel count, those sent twice do not."""
        with self._lock:
            if self._advance is not None:
                self._move(self._total - left - self._shown)

    def _move(self, count: int) -> None:
        self._advance(count)
        self._shown += count
        self._waiting = 0


class ResultPrinter:
    """Reports each result as it comes: a line for people, JSON for machines.

    Attributes:
        rows: for machines, so far.
        left: what was left alone, so far.
    """

    def __init__(self, traffic: Traffic, *, as_json: bool, forever: bool) -> None:
        """With ``forever`` a row is printed as it comes, and what did not change is not reported again."""
        self.rows: list[dict[str, Any]] = []
        self.left: list[SpoolProblem] = []
        self._traffic = traffic
        self._as_json = as_json
        self._forever = forever
        self._reported: dict[tuple[str, str], tuple[str, str | None]] = {}
        self._problems: set[SpoolProblem] = set()

    def problems(self, problems: list[SpoolProblem]) -> None:
        """What lies in the spool and is no hour; once each."""
        for problem in problems:
            if problem not in self._problems:
                self._problems.add(problem)
                self.left.append(problem)
                note(f"skipped: {problem.path}: {problem.reason}")
                self._row(problem_row(problem))

    def result(self, result: HourAttempt, again: float | None) -> None:
        """One hour; ``again``: seconds until it is tried again."""
        if not self._forever and result.outcome is not None:
            self.left += result.outcome.left
        if self._forever and result.status in ("nothing", "busy"):
            state = (result.status, result.reason)
            if self._reported.get((result.camera_id, result.hour)) == state:
                return
            self._reported[result.camera_id, result.hour] = state
        else:
            self._reported.pop((result.camera_id, result.hour), None)
        if not self._as_json:
            self._print(result, again)
            return
        row = result_row(result) | {"bandwidth": self._traffic.standing()}
        self._row(row | {"retry_in_seconds": None if again is None else round(again, 1)} if self._forever else row)

    def _row(self, row: dict[str, Any]) -> None:
        if self._as_json and self._forever:
            emit_json(row)
        elif self._as_json:
            self.rows.append(row)

    def _print(self, result: HourAttempt, again: float | None) -> None:
        line = f"{result.camera_id} {result.hour}  {result.status}"
        if result.reason:
            line += f": {result.reason}"
        if again is not None:
            line += f"; tried again in {again:.0f} s"
        if result.outcome is not None and result.outcome.status == "archived" and result.outcome.receipt is not None:
            receipt, outcome = result.outcome.receipt, result.outcome
            line += f"  {receipt.file_count} files  {outcome.bytes} bytes  {outcome.seconds:.1f} s"
            line += f"  part {receipt.part}" if receipt.part > 1 else ""
            line += f"  unreadable records: {receipt.bad_records} (kept as they are)" if receipt.bad_records else ""
            outside = receipt.outside_hour.count if receipt.outside_hour is not None else 0
            line += f"  frames captured outside the hour: {outside} (kept, found by their time)" if outside else ""
            orphans = receipt.records_without_frame
            line += f"  records without a frame: {orphans} (kept as they are)" if orphans else ""
            line += f"  {outcome.resumed_parts} upload parts resumed" if outcome.resumed_parts else ""
        if result.reclaimed is not None and result.reclaimed.files:
            line += f"  {result.reclaimed.files} local files deleted"
        out().print(line, markup=False)
        remaining = result.outcome.left if result.outcome else ()
        for problem in (*remaining, *(result.reclaimed.problems if result.reclaimed else ())):
            note(f"skipped: {problem.path}: {problem.reason}")


def problem_row(problem: SpoolProblem) -> dict[str, Any]:
    """Something in the spool that is no hour, for machines: with the keys of an hour and its path."""
    return {
        "camera_id": None,
        "hour": None,
        "status": "skipped",
        "reason": problem.reason,
        "failure": None,
        "path": str(problem.path),
    }


def result_row(result: HourAttempt) -> dict[str, Any]:
    """One hour for machines."""
    outcome, reclaimed = result.outcome, result.reclaimed
    document: dict[str, Any] = {
        "camera_id": result.camera_id,
        "hour": result.hour,
        "status": result.status,
        "reason": result.reason,
        "failure": result.failure,
    }
    if outcome is not None:
        receipt = outcome.receipt.model_dump(mode="json") if outcome.receipt else None
        left = [{"path": str(p.path), "reason": p.reason} for p in outcome.left]
        document |= {"bytes": outcome.bytes, "seconds": outcome.seconds, "receipt": receipt, "left": left}
        document |= {"sent_parts": outcome.sent_parts, "resumed_parts": outcome.resumed_parts}
        document |= {"retries": outcome.retries}
    if reclaimed is not None:
        document["reclaimed"] = {"files": reclaimed.files, "bytes": reclaimed.bytes, "kept": reclaimed.kept}
    return document


class HungError(Exception):
    """The work did not stop in time; only the end of the process ends it."""


class _WorkResult(Generic[T]):
    value: T
    error: BaseException | None = None


def run_stoppable(work: Callable[[], T], stop: Stop, patience: float = PATIENCE) -> T:
    """Do work that may wait for minutes so that Ctrl-C and SIGTERM end it within seconds.

    It is done in a thread while this one, the main one, waits for signals. A second Ctrl-C does not wait.

    Raises:
        Stopped: the work stopped because it was asked to.
        HungError: it was asked to, and did not.
        BaseException: whatever the work raised.
    """
    result: _WorkResult[T] = _WorkResult()

    def target() -> None:
        try:
            result.value = work()
        except BaseException as error:
            result.error = error

    def ask(*_: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.ask()

    thread = threading.Thread(target=target, name="archiver", daemon=True)
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        thread.start()
        while thread.is_alive() and not stop.asked:
            thread.join(0.2)
        thread.join(patience)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if thread.is_alive():
        raise HungError
    if result.error is not None:
        raise result.error
    return result.value
