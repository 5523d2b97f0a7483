"""The promised figures as rows: what, the agent's, the peers', the limit, and whether it was kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass
from statistics import median

from reload_parts.figures import Books, Latencies, books, latencies, percentile
from reload_parts.killed import Killed
from reload_parts.releases import FAULTS
from reload_parts.session import Contender


@dataclass(frozen=True)
class Row:
    """One figure. ``ratio``: the naive peer's divided by the agent's. ``met`` None: for information."""

    what: str
    agent: str
    naive: str = ""
    kinder: str = ""
    _: KW_ONLY
    ratio: str = ""
    limit: str = ""
    met: bool | None = None


def rows(peers: list[Contender], swaps: int, load: float, heavy: float, killed: list[Killed], torn: int) -> list[Row]:
    """All rows, of reports that are complete."""
    agent, naive, kinder = peers
    table = [
        Row("capacity, frames/s", *(f"{peer.capacity:.1f}" for peer in peers)),
        *_books_rows(peers),
        _flip_row(agent, naive, kinder),
    ]
    for share in (load, heavy):
        table += _latency_rows(peers, share)
    swap_ms = [
        f"{percentile([c.ended - c.noticed for c in p.changes], 50) * 1e3:.0f} (a swap)" for p in (naive, kinder)
    ]
    for number, what in enumerate(("until the old model answers", "whole call, with its writes to disk")):
        worst = max(seconds[number] for seconds in agent.rollbacks)
        name = f"rollback, worst of {len(agent.rollbacks)}: {what}, ms"
        table.append(Row(name, f"{worst * 1e3:.1f}", *swap_ms, limit="50", met=worst <= 0.05))
    table += [_memory_row(agent, naive, kinder, swaps), *_fault_rows(agent), *_killed_rows(killed, torn)]
    return table


def _books_rows(peers: list[Contender]) -> list[Row]:
    found: list[Books] = [books(peer.report) for peer in peers if peer.report is not None]
    table = [Row("frames accepted", *(str(book.accepted) for book in found))]
    table.append(Row("refused at a full queue", *(str(book.refused) for book in found)))
    for name in ("lost", "duplicated", "misattributed"):
        values = [getattr(book, name) for book in found]
        table.append(Row(name, *map(str, values), limit="0", met=values[0] == 0))
    return table


def _flip_row(agent: Contender, naive: Contender, kinder: Contender) -> Row:
    flips = [
        [change.flip * 1e3 for change in peer.changes if change.flip is not None] for peer in (agent, naive, kinder)
    ]
    p99 = [percentile(values, 99) for values in flips]
    return Row(
        "flip p99, ms",
        f"{p99[0]:.3f}",
        f"{p99[1]:.1f}",
        f"{p99[2]:.1f}",
        ratio=f"{p99[1] / p99[0]:.0f}",
        limit="1",
        met=p99[0] <= 1.0,
    )


def _latency_rows(peers: list[Contender], share: float) -> list[Row]:
    found: list[Latencies] = []
    for peer in peers:
        assert peer.report is not None
        segments = [segment for segment in peer.segments if segment.share == share]
        found.append(latencies(peer.report.answers, peer.changes, segments))
    label = f"at {share:.0%}: "
    counts = [f"{len(f.steady)} / {len(f.window)}" for f in found]
    ratios = [f.ratio for f in found]
    limit = 1.5 if share < 0.8 else 1.6
    return [
        Row(f"{label}frames steady / in windows", *counts),
        *(
            Row(
                f"{label}latency {part} p{at:g}, ms",
                *(f"{percentile(getattr(f, part), at):.0f}" for f in found),
                ratio=f"{percentile(getattr(found[1], part), at) / percentile(getattr(found[0], part), at):.1f}",
            )
            for part in ("steady", "window")
            for at in (50, 99, 100)
        ),
        Row(
            f"{label}p99 in windows / steady",
            *(f"{ratio:.2f}" for ratio in ratios),
            ratio=f"{ratios[1] / ratios[0]:.1f}",
            limit=f"{limit:g}",
            met=ratios[0] <= limit,
        ),
    ]


def _memory_row(agent: Contender, naive: Contender, kinder: Contender, swaps: int) -> Row:
    """After the last swap against after the tenth. A slot is what the first swap added: current and previous."""
    early = min(10, swaps)
    slot = agent.memory[1][1] - agent.memory[0][1]
    grown = agent.memory[swaps][1] - agent.memory[early][1]
    words = []
    for peer in (naive, kinder):
        last = max(peer.memory)
        words.append(f"{(peer.memory[last][1] - peer.memory[1][1]) / 1e6:+.0f} after {last} less after 1")
    rss, pss = agent.memory[swaps]
    return Row(
        f"memory after swap {swaps} less after {early}, MB",
        f"{grown / 1e6:+.0f} ({rss / 1e6:.0f} RSS, {pss / 1e6:.0f} PSS)",
        *words,
        limit=f"{slot / 1e6:.0f}",
        met=grown <= slot,
    )


def _fault_rows(agent: Contender) -> list[Row]:
    table = []
    for fault in FAULTS:
        seen = [(change, kept) for name, change, kept in agent.faults if name == fault]
        if seen:
            kept = sum(kept for _, kept in seen)
            how = ", ".join(sorted(Counter(change.result for change, _ in seen)))
            table.append(
                Row(
                    f"{fault}: old model served on",
                    f"{kept} of {len(seen)} ({how})",
                    limit="all",
                    met=kept == len(seen),
                )
            )
    return table


def _killed_rows(killed: list[Killed], torn: int) -> list[Row]:
    right = sum(kill.answered == (kill.before if kill.staging else kill.answered) for kill in killed)
    done = sum(kill.serves == kill.released for kill in killed)
    seconds = median(kill.first_result for kill in killed)
    return [
        Row(
            f"kill -9, {sum(kill.staging for kill in killed)} of {len(killed)} in staging: the old model answers first",
            f"{right} of {len(killed)}",
            limit="all",
            met=right == len(killed),
        ),
        Row("  the release serves after the restart", f"{done} of {len(killed)}", limit="all", met=done == len(killed)),
        Row("  frames on disk twice", str(torn), limit="0", met=torn == 0),
        Row("  from start to first result, s", f"{seconds:.1f}"),
    ]


def show(table: list[Row]) -> None:
    """Print, aligned."""
    head = Row("", "agent", "naive", "naive, loads first", ratio="naive/agent", limit="limit")
    lines = [head, *table]
    columns = ("what", "agent", "naive", "kinder", "ratio", "limit")
    width = {column: max(len(getattr(line, column)) for line in lines) for column in columns}
    for line in lines:
        words = "  ".join(getattr(line, column).ljust(width[column]) for column in columns)
        verdict = "" if line.met is None else ("kept" if line.met else "MISSED")
        print(f"{words}  {verdict}".rstrip())
