"""The model's state in words; and how busy the device is."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from yolo_assets.edge.telemetry.machine import Machine, read_gpus
from yolo_assets.edge.telemetry.model_report import model_states

QUIET: dict[str, Any] = {
    "name": "line",
    "version": "line/2",
    "forced": False,
    "unjudged": False,
    "preparing": None,
    "pinned": None,
    "trial": None,
    "canary": None,
    "light": None,
    "waiting": None,
    "frozen_until": None,
    "quarantine": [],
    "hung": [],
}
BAD = {"version": "3", "release": 7, "reason": "it gives NaN"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ["serving"]),
        ({"version": None}, ["no model"]),
        ({"forced": True}, ["serving", "forced"]),
        ({"unjudged": True}, ["serving", "not judged"]),
        ({"preparing": "line/3"}, ["serving", "staging"]),
        ({"preparing": "line/2"}, ["serving"]),
        ({"trial": {"seconds_left": 12.4}}, ["serving on trial"]),
        ({"canary": {"version": "line/3", "cameras": ["cam1"]}}, ["serving", "canary"]),
        ({"canary": {"version": None, "cameras": ["cam1"]}}, ["serving"]),
        ({"light": {"version": "line/s", "cameras": ["cam1"], "demand": 0.8}}, ["serving", "relieved"]),
        ({"light": {"version": "line/s", "cameras": [], "demand": 0.4}}, ["serving"]),
        ({"waiting": "line/3", "frozen_until": "2026-01-02T22:00:00.000Z"}, ["serving", "waiting"]),
        ({"frozen_until": "2026-01-02T22:00:00.000Z"}, ["serving", "frozen"]),
        ({"pinned": {"version": "2", "hold": True, "left_release": 4, "by": "x"}}, ["serving", "pinned"]),
        ({"quarantine": [BAD] * 5}, ["serving", "quarantined", "quarantined", "quarantined"]),
        ({"hung": [{"version": "line/2", "seconds": 31.0}]}, ["serving", "hangs"]),
    ],
)
def test_each_state_has_its_label(more: dict[str, Any], words: list[str]) -> None:
    states = model_states(QUIET | more)
    assert [state["word"] for state in states] == words
    assert all(state["kind"] in ("good", "warn", "bad", "plain") for state in states)


def test_what_the_labels_describe() -> None:
    pin = {"version": "2", "hold": False, "left_release": 4, "by": "token holder at 127.0.0.1"}
    (_, pinned) = model_states(QUIET | {"pinned": pin})
    assert pinned["detail"] == "to line/2 until a release after 4, by token holder at 127.0.0.1"
    (_, bad) = model_states(QUIET | {"quarantine": [BAD]})
    assert bad["detail"] == "line/3 (release 7): it gives NaN"
    (trial,) = model_states(QUIET | {"trial": {"seconds_left": 12.4}})
    assert trial["detail"].startswith("12 s left")


def test_the_load_of_the_device_includes_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_assets.edge.telemetry.machine._EVERY", 0.0)
    machine = Machine()
    first = machine.load()
    assert first.agent is None and first.box is None and first.memory > 10e6 and 0 < first.memory_used < 1
    begin, spent = time.monotonic(), time.process_time()
    while time.process_time() - spent < 0.3:
        pass
    expected = 0.3 / (time.monotonic() - begin) / first.cpus
    second = machine.load()
    assert second.agent is not None and second.agent == pytest.approx(expected, rel=0.35)
    assert second.box is not None and second.box >= second.agent * 0.6


class CardError(Exception):
    """What the driver says of a figure that a card does not have."""


class Driver:
    """Two cards as NVIDIA's library gives them; the second does not tell how busy it is."""

    NVMLError = CardError
    names = (b"NVIDIA H200", "NVIDIA T400, 4GB")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, card: int) -> str | bytes:
        return self.names[card]

    def nvmlDeviceGetUtilizationRates(self, card: int) -> Any:
        if card:
            raise CardError
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetMemoryInfo(self, card: int) -> Any:
        return SimpleNamespace(used=(1024 << 20, 12 << 20)[card], total=(143771 << 20, 2048 << 20)[card])


def test_graphics_cards_as_their_driver_reports_them() -> None:
    one, two = read_gpus(Driver())
    assert (one.name, one.used, one.memory, one.memory_total) == ("NVIDIA H200", 0.37, 1 << 30, 143771 << 20)
    assert (two.name, two.used, two.memory) == ("NVIDIA T400, 4GB", None, 12 << 20)
    without = Driver()
    without.nvmlDeviceGetCount = lambda: 0  # type: ignore[method-assign]
    assert read_gpus(without) == ()
