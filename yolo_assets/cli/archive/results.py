"""How ``archive run`` tells what became of each hour: a line for people, JSON for machines, a bar while it works."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from yolo_assets.cli.common import emit_json, note, out, progress

if TYPE_CHECKING:
    from yolo_assets.archive.service.run import HourResult
    from yolo_assets.archive.service.traffic import Traffic
    from yolo_assets.spool.hours import SpoolProblem


class Bar:
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


class Teller:
    """Tells each result as it comes.

    Attributes:
        rows: for machines, so far.
    """

    def __init__(self, traffic: Traffic, *, as_json: bool, forever: bool) -> None:
        """With ``forever`` a row is printed as it comes, and what did not change is not told again."""
        self.rows: list[dict[str, Any]] = []
        self._traffic = traffic
        self._as_json = as_json
        self._forever = forever
        self._told: dict[tuple[str, str], tuple[str, str | None]] = {}
        self._problems: set[SpoolProblem] = set()

    def problems(self, found: list[SpoolProblem]) -> None:
        """What lies in the spool and is no hour; once each."""
        for problem in found:
            if problem not in self._problems:
                self._problems.add(problem)
                note(f"left alone: {problem.path}: {problem.reason}")

    def result(self, result: HourResult, again: float | None) -> None:
        """One hour; ``again``: seconds until it is tried again."""
        if self._forever and result.status in ("nothing", "busy"):
            state = (result.status, result.reason)
            if self._told.get((result.camera_id, result.hour)) == state:
                return
            self._told[result.camera_id, result.hour] = state
        else:
            self._told.pop((result.camera_id, result.hour), None)
        if not self._as_json:
            self._print(result, again)
            return
        row = result_row(result) | {"bandwidth": self._traffic.standing()}
        if self._forever:
            emit_json(row | {"retry_in_seconds": None if again is None else round(again, 1)})
        else:
            self.rows.append(row)

    def _print(self, result: HourResult, again: float | None) -> None:
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
            line += f"  {outcome.resumed_parts} upload parts resumed" if outcome.resumed_parts else ""
        if result.reclaimed is not None and result.reclaimed.files:
            line += f"  {result.reclaimed.files} local files deleted"
        out().print(line, markup=False)
        left = (result.outcome.left if result.outcome else (), result.reclaimed.problems if result.reclaimed else ())
        for problem in (*left[0], *left[1]):
            note(f"left alone: {problem.path}: {problem.reason}")


def result_row(result: HourResult) -> dict[str, Any]:
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
