"""The demo from first to last word."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.local.demo import steps
from yolo_assets.local.demo.figures import Figures
from yolo_assets.local.demo.home import DemoMark, alone, take_home, write_mark
from yolo_assets.local.demo.loop import DemoPlan, Loop
from yolo_assets.local.demo.screen import Screen


def run(settings: Settings, screen: Screen) -> Figures:
    """Run the whole loop in ``settings.home`` and print what it measured.

    Raises:
        UserError: a step failed; the message says which thing and where to look.
    """
    screen.console.print("[bold]yolo_assets[/]: frames, archive, catalog, training, promotion, hot reload")
    with alone(settings.home):
        screen.say(take_home(settings.home))
        screen.say(
            "the cameras, their line and the annotator are SIMULATED; files, inference, training, figures are real"
        )
        plan = DemoPlan.now()
        loop = Loop.open(settings, plan, screen)
        with loop.graph:
            _tell(loop)
        loop.figures.loop_seconds = screen.seconds
        loop.figures.save(settings.home)
        write_mark(settings.home, _mark(loop, "done", finished=True))
    screen.console.print()
    screen.console.print(loop.figures.table())
    screen.console.print(_next(settings.home), highlight=False)
    broken = loop.figures.broken()
    if broken:
        raise UserError(f"this run did not show what it promises: {'; '.join(broken)}")
    return loop.figures


def _tell(loop: Loop) -> None:
    plan = loop.plan

    def step(title: str) -> None:
        write_mark(loop.settings.home, _mark(loop, title))
        loop.screen.step(title)

    step("a line without a model: one hour is recorded, archived, catalogued, reclaimed")
    steps.record_without_model(loop)
    step("the starter model: sample, label, train, gate, promote")
    starter = steps.make_starter(loop)
    step("the edge agent runs the starter model")
    agent = steps.start_line(loop)
    try:
        steps.wait_for_hour(loop, agent, plan.first.next(), "an hour on the line")
        step("the line changes: new light, new look of the defects")
        steps.wait_for_hour(loop, agent, plan.first.next(2), "an hour on the changed line")
        step("a better model, while the line goes on")
        better = steps.make_better(loop, agent, starter)
        step("the hot reload")
        steps.watch_switch(loop, agent, better)
        steps.evaluate_both(loop, better, starter)
        steps.watch_window(loop, agent, better)
        step("the line stops; the rest is archived")
        steps.stop_line(loop, agent)
    finally:
        agent.process.stop()
    step("everything comes back out of the archive")
    steps.get_everything_back(loop)


def _mark(loop: Loop, step: str, *, finished: bool = False) -> DemoMark:
    plan = loop.plan
    return DemoMark(
        finished=finished,
        step=step,
        cameras=tuple(f"lineA_cam{number:02d}" for number in range(1, plan.cameras + 1)),
        seed=plan.seed,
        start=plan.agent_start,
        change_at=plan.change_at,
        truth=loop.settings.home / "truth",
    )


def _next(home: Path) -> str:
    program = _program()
    shown = [
        (f"{program} up", "Dagster's lineage of this run, and the live page"),
        (f"{program} catalog stats", "what the archive holds"),
        (f"{program} archive ls", "every archive with its receipt"),
        (f"{program} models history line", "who released what, and why"),
        (f"{home}/demo-figures.json", "the figures above"),
    ]
    width = max(len(what) for what, _ in shown)
    return "\n".join(["\nWhere to look next", *(f"  {what:<{width}}  {why}" for what, why in shown)])


def _program() -> str:
    """The command as it was called here: a checkout's is not on the search path."""
    called = Path(sys.argv[0])
    if called.name != "yolo-assets" or shutil.which(called.name) == str(called.absolute()):
        return "yolo-assets"
    return os.path.relpath(called) if called.absolute().is_relative_to(Path.cwd()) else str(called)
