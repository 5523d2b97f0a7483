"""Which cameras have the light model: the decision on generated loads, and what it is computed from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.edge.balancing.balance import FrameCosts, FrameRates, InferenceLoad, LightBalance, demand
from yolo_assets.edge.config.rollout import Light
from yolo_assets.spool.frame_journal import FrameCounts

CAMERAS = ("cam1", "cam2", "cam3", "cam4")
rates = st.fixed_dictionaries({camera: st.floats(0, 30) for camera in CAMERAS})
seconds = st.floats(0.001, 0.5)


def steady(balance: LightBalance, load: InferenceLoad, rules: Light, begin: float = 0.0) -> list[int]:
    """What is decided while the load stays as it is, for long."""
    return [balance.update(load, begin + second) for second in range(int(12 * (rules.hold_s + rules.calm_s + 2)))]


@given(rates, seconds, st.floats(0.05, 1), st.integers(1, 4), st.lists(st.sampled_from(CAMERAS), unique=True))
def test_enough_cameras_move_and_then_the_balance_is_stable(
    offered: dict[str, float], heavy: float, part: float, workers: int, order: list[str]
) -> None:
    rules = Light(hold_s=3, calm_s=10)
    balance = LightBalance(rules, order)
    load = InferenceLoad(offered, heavy, heavy * part, workers)
    counts = steady(balance, load, rules)
    assert counts == sorted(counts), "a load that stays is never answered to and fro"
    assert len(set(counts)) <= 2 and balance.light_cameras == tuple(order[: balance.count])
    relieved = demand(load, balance.light_cameras) <= rules.above
    assert relieved or balance.count == len(order)
    if balance.count:
        assert demand(load, balance.light_cameras[:-1]) > rules.above, "no camera is given over that need not be"
    quiet = InferenceLoad(dict.fromkeys(CAMERAS, 0.0), heavy, heavy * part, workers)
    assert steady(balance, quiet, rules, 1e6)[-1] == 0
    assert steady(balance, load, rules, 2e6)[-1] == counts[-1]


@given(rates, rates, seconds, seconds, st.integers(1, 4))
def test_a_camera_goes_back_only_when_the_device_can_sustain_it(
    much: dict[str, float], less: dict[str, float], heavy: float, light: float, workers: int
) -> None:
    rules = Light(hold_s=0, calm_s=5)
    balance = LightBalance(rules, CAMERAS)
    steady(balance, InferenceLoad(much, heavy, light, workers), rules)
    load = InferenceLoad(less, heavy, light, workers)
    before = balance.count
    for second in range(200):
        after = balance.update(load, 1e6 + second)
        if after < before:
            assert demand(load, CAMERAS[:after]) < rules.below
        before = after


def test_short_peaks_and_lulls_change_nothing() -> None:
    rules = Light(hold_s=5, calm_s=30)
    balance = LightBalance(rules, CAMERAS)
    busy = InferenceLoad(dict.fromkeys(CAMERAS, 10.0), 0.1, 0.01, 2)
    idle = InferenceLoad(dict.fromkeys(CAMERAS, 0.1), 0.1, 0.01, 2)
    for second in range(300):
        assert balance.update(idle if second % 5 == 4 else busy, second) == 0
    assert steady(balance, busy, rules, 1e3)[-1] == 3  # three cameras on the light one: 0.65 of the time
    for second in range(3000):
        assert balance.update(busy if second % 30 == 29 else idle, 1e4 + second) == 3
    balance.reset()
    assert balance.count == 0


def test_before_the_light_models_first_frame_cameras_go_one_by_one() -> None:
    rules = Light(hold_s=2, calm_s=30)
    balance = LightBalance(rules, CAMERAS)
    load = InferenceLoad(dict.fromkeys(CAMERAS, 10.0), 0.1, None, 1)
    assert [balance.update(load, second) for second in range(7)] == [0, 0, 1, 1, 1, 2, 2]


def test_what_a_frame_costs_and_how_many_come() -> None:
    costs, offered = FrameCosts(), FrameRates()
    assert costs.seconds("line/1") is None
    costs.add("line/1", 0.4, 4)
    costs.add("line/1", 0.3, 1)
    assert costs.seconds("line/1") == pytest.approx(0.14)
    for _ in range(200):
        costs.add("line/1", 0.02, 1)
    assert costs.seconds("line/1") == pytest.approx(0.02)
    costs.forget_all_but(["line/2"])
    assert costs.seconds("line/1") is None

    def counts(captured: int, **dropped: int) -> dict[str, FrameCounts]:
        return {"cam1": FrameCounts(captured, 0, dropped, 0)}

    assert offered.update(counts(0), 0.0) == {"cam1": 0.0}
    assert offered.update(counts(10, stale=4), 1.0) == {"cam1": 10.0}, "what was dropped for want of time counts"
    assert offered.update(counts(30, stale=4, unreadable=10), 2.0) == {"cam1": 10.0}
    later = [offered.update(counts(30, stale=4, unreadable=10), second) for second in range(3, 20)]
    assert later[-1] == {"cam1": 0.0}
