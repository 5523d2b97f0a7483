"""What the demo measured, as one table and one JSON file. Every field is None until it was measured."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from yolo_assets.contracts.model import Interval
from yolo_assets.spool.files import write_atomic

FILE = "demo-figures.json"


class Figures(BaseModel):
    """Counts are frames, sizes bytes, times seconds."""

    model_config = ConfigDict(protected_namespaces=(), validate_assignment=True)

    captured: int | None = None
    processed: int | None = None
    dropped: dict[str, int] | None = None
    kept: int | None = None
    archived: int | None = None
    restored: int | None = None
    restored_identical: int | None = None
    archives: int | None = None
    bytes_in: int | None = None
    archive_bytes: int | None = None
    archive_mb_per_s: float | None = None
    reclaimed_bytes: int | None = None
    starter_map50: Interval | None = None
    old_on_changed: Interval | None = None
    new_on_changed: Interval | None = None
    gain_on_changed: Interval | None = None
    changed_frames: int | None = None
    promotion_to_first_result: float | None = None
    lost_in_switch: int | None = None
    kept_after_watch: bool | None = None
    longest_gap: float | None = None
    longest_gap_before: float | None = None
    loop_seconds: float | None = None

    def save(self, home: Path) -> None:
        """Write ``<home>/demo-figures.json``."""
        write_atomic(home / FILE, self.model_dump_json(indent=1).encode())

    def broken(self) -> list[str]:
        """What the demo promises and this run did not show, in words; empty when all held."""
        promises = {
            "every image comes back byte for byte": self.archived is not None
            and self.archived == self.restored == self.restored_identical,
            "captured is processed plus dropped": self.dropped is not None
            and self.captured == (self.processed or 0) + sum(self.dropped.values()),
            "no frame is lost in the switch": self.lost_in_switch == 0,
            "the agent keeps the new model": self.kept_after_watch is True,
            "the starter reaches mAP50 0.7 on its own line": self.starter_map50 is not None
            and self.starter_map50.value >= 0.7,
            "the new model is better on the changed line": self.gain_on_changed is not None
            and self.gain_on_changed.low > 0,
        }
        return [promise for promise, held in promises.items() if not held]

    def table(self) -> Table:
        """The closing table."""
        table = Table(title="What this run measured", show_header=False, title_justify="left")
        table.add_column("what")
        table.add_column("figure", justify="right")
        for what, figure in self.rows():
            table.add_row(what, figure)
        return table

    def rows(self) -> list[tuple[str, str]]:
        """Label and figure of each row; a dash where nothing was measured."""
        dropped = self.dropped
        reasons = "" if not dropped else " (" + ", ".join(f"{n} {why}" for why, n in sorted(dropped.items())) + ")"
        return [
            ("frames captured by the agent", _count(self.captured)),
            ("frames processed", _count(self.processed)),
            ("frames dropped", _count(None if dropped is None else sum(dropped.values())) + reasons),
            ("images archived", f"{_count(self.archived)} in {_count(self.archives)} archives"),
            ("images restored byte-identical", f"{_count(self.restored_identical)} of {_count(self.restored)}"),
            ("archive size", _share(self.archive_bytes, self.bytes_in)),
            ("pack + hash + upload + verify", _unit(self.archive_mb_per_s, "MB/s", 1)),
            ("disk reclaimed after verification", _unit(_mega(self.reclaimed_bytes), "MB", 1)),
            ("mAP50 of the starter on its own line", _interval(self.starter_map50)),
            ("mAP50 on the changed line, old model", _interval(self.old_on_changed)),
            ("mAP50 on the changed line, new model", _interval(self.new_on_changed)),
            ("gain on the changed line", _interval(self.gain_on_changed, signed=True)),
            ("unseen frames of the changed line", _count(self.changed_frames)),
            ("promotion to the new model's first result", _unit(self.promotion_to_first_result, "s", 2)),
            ("frames lost in the switch", _count(self.lost_in_switch)),
            ("new model after its watch window", _kept(self.kept_after_watch)),
            ("longest gap between results, switch", _unit(_milli(self.longest_gap), "ms", 0)),
            ("longest gap between results, before", _unit(_milli(self.longest_gap_before), "ms", 0)),
            ("the loop took", _unit(self.loop_seconds, "s", 0)),
        ]


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _kept(value: bool | None) -> str:
    return "-" if value is None else "kept" if value else "reverted"


def _unit(value: float | None, unit: str, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f} {unit}"


def _mega(value: int | None) -> float | None:
    return None if value is None else value / 1e6


def _milli(value: float | None) -> float | None:
    return None if value is None else value * 1e3


def _share(size: int | None, of: int | None) -> str:
    return "-" if size is None or not of else f"{size / 1e6:,.1f} MB ({size / of:.1%} of what went in)"


def _interval(value: Interval | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    sign = "+" if signed else ""
    return f"{value.value:{sign}.3f}  [{value.low:{sign}.3f}, {value.high:{sign}.3f}]"
