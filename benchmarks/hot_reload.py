"""A hundred model changes under load: what happens to the frames, against the manager that everybody writes first.

A whole agent (its own sources excepted) gets open-loop frames of four cameras, numbered and due at fixed moments, at a
share of its measured capacity, while releases arrive in its store; some are broken. The peers are the same agent with
one lock around inference and swap, no warm-up, and the old model freed after five seconds (``reload_parts.naive``):
same runtime, model, threads, frames and disk. Each has a process of its own; they take turns in rounds. A swap's window
runs from notice to release. Models differ inside the ONNX file, so each result proves which one made it.

Run: python benchmarks/hot_reload.py [--swaps 100] [--load 0.5] [--engine openvino] [--json figures.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from reload_parts import models
from reload_parts.feed import CAMERAS
from reload_parts.figures import machine
from reload_parts.killed import Killed, kill_while_staging
from reload_parts.releases import FAULTS, VERSIONS, Publisher, Release
from reload_parts.session import Contender, Setting, agent_round, contender, measure_capacity, naive_round
from reload_parts.table import Row, rows, show

ROUND = 10
"""Swaps in one turn of a contender."""
HEAVY = 0.8
PEER_SHARE = 4
"""The peers do one swap for so many of the agent's: they need fewer for a stable p99."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100, help="of the agent, without the broken ones (default 100)")
    parser.add_argument("--load", type=float, default=0.5, help="share of the measured capacity (default 0.5)")
    parser.add_argument("--engine", choices=("openvino", "onnxruntime"), default="openvino")
    parser.add_argument("--threads", type=int, default=1, help="of one inference (default 1)")
    parser.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0))), help="default: the cores")
    parser.add_argument("--size", type=int, default=640, help="of the network's input, in pixels (default 640)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    setting = Setting(options.engine, options.threads, options.workers)
    print(machine())
    with tempfile.TemporaryDirectory() as root:
        found, peers, killed = measure(Path(root), setting, options.swaps, options.load, options.size)
    print(machine())
    show(found)
    if options.json:
        figures = {
            "machine": machine(),
            "setting": dataclasses.asdict(setting),
            "capacity_fps": {peer.kind: peer.capacity for peer in peers},
            "rows": [dataclasses.asdict(row) for row in found],
            "changes": {peer.kind: [dataclasses.asdict(change) for change in peer.changes] for peer in peers},
            "killed": [dataclasses.asdict(kill) for kill in killed],
        }
        options.json.write_text(json.dumps(figures, indent=1))
    missed = [row.what for row in found if row.met is False]
    if missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def measure(
    root: Path, setting: Setting, swaps: int, load: float, size: int
) -> tuple[list[Row], list[Contender], list[Killed]]:
    """Everything, in turns."""
    shown = [models.pictures(camera, 6) for camera in range(CAMERAS)]
    publisher = Publisher(root, models.network(size, root), shown)
    first = publisher.good("v0")
    killed, torn = kill_while_staging(
        root, publisher, setting, first, [publisher.good(version(n)) for n in (1, 2, 3, 4)]
    )
    rounds = -(-swaps // ROUND)
    heavy = max(1, swaps // 5)
    plan = [make_round(publisher, at, min(ROUND, swaps - at)) for at in range(0, swaps, ROUND)]
    heavy_plan = [make_round(publisher, at, min(ROUND, heavy - at), start=swaps) for at in range(0, heavy, ROUND)]
    with ExitStack() as stack:
        agent, *naive = peers = [
            stack.enter_context(contender(kind, root, publisher, setting, first, shown))
            for kind in ("agent", "naive", "naive_kinder")
        ]
        measure_capacity(peers, 3.0)
        agent.memory[0] = agent.call("memory")
        print(", ".join(f"{peer.kind} {peer.capacity:.1f} frames/s" for peer in peers), flush=True)
        for number, releases in enumerate(plan):
            agent_round(agent, publisher, load, releases)
            done = number * (swaps // PEER_SHARE) // rounds, (number + 1) * (swaps // PEER_SHARE) // rounds
            for peer in naive:
                if done[1] > done[0]:
                    naive_round(peer, load, [version(at) for at in range(done[0] + 1, done[1] + 1)])
        for number, releases in enumerate(heavy_plan):
            agent_round(agent, publisher, HEAVY, releases)
            if number == 0:
                for peer in naive:
                    start = len(peer.changes)
                    naive_round(peer, HEAVY, [version(at) for at in range(start + 1, start + 4)])
        for peer in peers:
            peer.report = peer.call("finish")
    return rows(peers, swaps, load, HEAVY, killed, torn), peers, killed


def make_round(publisher: Publisher, at: int, count: int, start: int = 0) -> list[Release]:
    """Releases for ``count`` swaps after the first ``at``, with two broken ones among them; the last one is good."""
    made: list[Release] = []
    for number in range(start + at + 1, start + at + count + 1):
        if (number - 1) % (ROUND // 2) == 2:
            fault = FAULTS[(number - 1) // (ROUND // 2) % len(FAULTS)]
            made.append(publisher.faulty(fault, version(number + 1)))
        made.append(publisher.good(version(number)))
    return made


def version(number: int) -> str:
    """The good version of swap ``number``."""
    return f"v{number % VERSIONS}"


if __name__ == "__main__":
    main()
