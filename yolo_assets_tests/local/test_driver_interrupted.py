"""Ctrl-C while conditions are evaluated: it is heard, and nothing is printed about futures."""

import asyncio
import gc
import logging
import os
import signal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils import aiodataloader
from dagster._utils.interrupts import capture_interrupts

from yolo_assets.local.driver import Graph


def test_ctrl_c_during_an_evaluation_ends_it_quietly(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer, pressed = aiodataloader.dispatch_queue_batch, []

    async def press_first(*arguments: Any) -> None:
        if not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(5):  # whatever a cancellation cancels is cancelled before the answer comes
                await asyncio.sleep(0)
        await answer(*arguments)

    monkeypatch.setattr(aiodataloader, "dispatch_queue_batch", press_first)
    graph.instance.report_runless_asset_event(dg.AssetMaterialization("raw_frames", partition="2026-03-01-02:00"))
    before = signal.getsignal(signal.SIGINT)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        graph.carry()
    gc.collect()  # a task that nobody asked for its error tells it when it goes
    assert pressed and signal.getsignal(signal.SIGINT) is before
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_ctrl_c_that_dagster_swallows_is_handled(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, execute = [], graph._job.execute_in_process

    def press_when_the_steps_are_over(**arguments: Any) -> dg.ExecuteInProcessResult:
        with capture_interrupts():
            ran.append(execute(**arguments))
            os.kill(os.getpid(), signal.SIGINT)
        return ran[0]

    monkeypatch.setattr(graph._job, "execute_in_process", press_when_the_steps_are_over)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        graph.run(["archive_catalog"])
    assert ran[0].success and signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("pressed", [True, False])
def test_ctrl_c_that_comes_out_as_another_error_is_ctrl_c(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, pressed: bool
) -> None:
    """pydantic makes an error of its own of whatever is raised while it serializes."""

    def wrapped() -> int:
        try:
            if pressed:
                os.kill(os.getpid(), signal.SIGINT)
            raise LookupError("no such label")
        except BaseException as error:
            raise ValueError(f"Error calling function `format_time`: {type(error).__name__}") from None

    monkeypatch.setattr(graph, "_look", wrapped)
    with pytest.raises(KeyboardInterrupt if pressed else ValueError):
        graph.look()
