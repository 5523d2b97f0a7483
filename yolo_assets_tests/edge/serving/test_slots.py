"""Leases and switches: a model is never used after it was freed, and always freed when it is unused."""

from __future__ import annotations

import random
import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import NoModelError, SecondaryRole, SlotManager


class FakeModel:
    """Knows whether it was closed, and complains when it is used after."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.closed = 0

    def use(self) -> int:
        assert not self.closed, f"model {self.number} was used after it was freed"
        return self.number

    def close(self) -> None:
        self.closed += 1


def slot(number: int = 0) -> Slot[FakeModel]:
    return Slot(FakeModel(number), f"line/{number}")


def test_without_a_model_there_is_no_lease() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    with pytest.raises(NoModelError), manager.acquire():
        pass


def test_current_and_previous_stay_loaded_and_the_one_before_is_freed() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    first, second, third = slot(1), slot(2), slot(3)
    for new in (first, second, third):
        manager.switch(new)
    assert [s.model.closed for s in (first, second, third)] == [1, 0, 0]
    assert (manager.current, manager.previous) == (third, second)


def test_a_rollback_exchanges_the_two_and_frees_nothing() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    first, second = slot(1), slot(2)
    manager.switch(first)
    manager.switch(second)
    manager.switch(first)
    assert (manager.current, manager.previous) == (first, second)
    assert not first.model.closed and not second.model.closed


def test_an_old_lease_keeps_its_model_until_it_returns() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    first = slot(1)
    manager.switch(first)
    with manager.acquire() as held:
        manager.switch(slot(2))
        manager.switch(slot(3))
        assert first.retiring and not first.freed
        assert [role for role, _ in manager.loaded()] == ["current", "previous", "retiring"]
        held.model.use()
    assert first.model.closed == 1
    assert [role for role, _ in manager.loaded()] == ["current", "previous"]


def test_a_lease_returns_also_when_the_inference_raises() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    manager.switch(slot(1))
    with pytest.raises(ValueError), manager.acquire():
        raise ValueError
    assert manager.current is not None and manager.current.leases == 0


def test_a_slot_that_retires_gives_no_lease_and_cannot_come_back() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    old = slot(1)
    old.retire()
    assert old.enter() is None and old.model.closed == 1
    with pytest.raises(ValueError, match="retiring"):
        manager.switch(old)


def test_a_worker_that_read_the_old_slot_retries_on_the_new_one() -> None:
    """The race in slow motion: the reference is read, then two switches retire that slot, then the lease is taken."""
    manager: SlotManager[FakeModel] = SlotManager()
    first, second = slot(1), slot(2)
    manager.switch(first)
    enter = first.enter

    def switch_first() -> int | None:
        manager.switch(second)
        manager.switch(slot(3))
        return enter()

    first.enter = switch_first  # type: ignore[method-assign]
    with manager.acquire() as held:
        assert held.model.use() == 3
    assert first.model.closed == 1


def test_a_hung_lease_is_reported_and_its_memory_kept() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    first = slot(1)
    manager.switch(first)
    release = threading.Event()

    def hang() -> None:
        with manager.acquire():
            release.wait(10)

    thread = threading.Thread(target=hang, name="worker-7")
    thread.start()
    while not first.leases:
        time.sleep(0.001)
    manager.switch(slot(2))
    manager.switch(slot(3))
    time.sleep(0.02)
    (hung,) = manager.hung(0.01)
    assert (hung.label, hung.holder) == ("line/1", "worker-7") and hung.seconds > 0.01
    assert manager.hung(5) == []
    assert not manager.close(timeout=0.05) and not first.model.closed
    release.set()
    thread.join()
    assert first.model.closed == 1


def test_storm_of_switches_under_load_uses_no_freed_model_and_leaks_none() -> None:
    manager: SlotManager[FakeModel] = SlotManager()
    slots = [slot(0)]
    manager.switch(slots[0])
    stop = threading.Event()
    used: list[list[int]] = [[] for _ in range(6)]
    failures: list[BaseException] = []

    def work(mine: list[int]) -> None:
        dice = random.Random(len(mine))
        try:
            while not stop.is_set():
                with manager.acquire() as held:
                    number = held.model.use()
                    if dice.random() < 0.3:
                        time.sleep(0.0002)
                    assert held.model.use() == number
                    mine.append(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in used]
    for thread in threads:
        thread.start()
    dice = random.Random(1)
    for number in range(1, 400):
        if dice.random() < 0.25 and manager.previous is not None:
            manager.switch(manager.previous)
        else:
            slots.append(slot(number))
            manager.switch(slots[-1])
        if dice.random() < 0.5:
            time.sleep(0.0005)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not failures, failures[0]
    assert sum(map(len, used)) > 400
    alive = [s for s in slots if not s.model.closed]
    assert set(alive) == {manager.current, manager.previous}
    assert manager.close(timeout=1)
    assert [s.model.closed for s in slots] == [1] * len(slots)


def test_a_canary_has_its_cameras_and_leaves_nothing_behind() -> None:
    a, b, c, d = (slot(number) for number in range(4))
    manager: SlotManager[FakeModel] = SlotManager()
    manager.switch(a)
    manager.switch(b)
    manager.start_secondary("canary", c, ["cam2"])
    with manager.acquire("cam1") as one, manager.acquire("cam2") as two, manager.acquire() as any_camera:
        assert (one, two, any_camera) == (b, c, b)
        manager.start_secondary("canary", d, ["cam1"])  # another canary: the one before goes when its lease is back
        assert manager.slot_for("cam1") is d and manager.slot_for("cam2") is b
        assert c.retiring and not c.freed
    assert c.freed
    manager.switch(d)  # the whole box gets the canary's model: one slot, one role
    assert [(role, slot) for role, slot in manager.loaded()] == [("current", d), ("previous", b)] and a.freed
    manager.start_secondary("canary", b, ["cam1"])  # the warm previous model as canary is not freed when it ends
    manager.end_secondary("canary")
    assert manager.slot_for("cam1") is d and not b.retiring


def test_what_was_not_committed_is_not_kept() -> None:
    a, b, c = (slot(number) for number in range(3))
    manager: SlotManager[FakeModel] = SlotManager()
    manager.switch(a)
    manager.switch(b)
    manager.switch(c, keep_old=False)
    assert manager.previous is a and b.freed
    manager.switch(a, keep_old=False)  # back again: the bad one goes, nothing lies behind
    assert manager.current is a and manager.previous is None and c.freed
    with a.held() as held:
        assert held
    with c.held() as held:
        assert not held


roles: st.SearchStrategy[SecondaryRole] = st.sampled_from(["canary", "light"])


class SlotMachine(RuleBasedStateMachine):
    """Any order of leases, returns, switches, rollbacks, canaries and light models."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.manager: SlotManager[FakeModel] = SlotManager()
        self.slots: list[Slot[FakeModel]] = []
        self.open: list[tuple[Slot[FakeModel], int]] = []

    @rule(keep_old=st.booleans())
    def switch(self, keep_old: bool) -> None:
        self.slots.append(slot(len(self.slots)))
        self.manager.switch(self.slots[-1], keep_old=keep_old)

    @rule(role=roles)
    def start_beside(self, role: SecondaryRole) -> None:
        self.slots.append(slot(len(self.slots)))
        self.manager.start_secondary(role, self.slots[-1], ["cam2"])

    @rule(role=roles)
    def end_beside(self, role: SecondaryRole) -> None:
        self.manager.end_secondary(role)

    @rule(role=roles)
    def promote(self, role: SecondaryRole) -> None:
        if (beside := self.manager.secondary(role)) is not None:
            self.manager.switch(beside)
            assert self.manager.secondary(role) is None and self.manager.current is beside

    @rule(role=roles)
    def try_the_previous(self, role: SecondaryRole) -> None:
        if self.manager.previous is not None:
            self.manager.start_secondary(role, self.manager.previous, ["cam2"])

    @rule()
    def the_canary_is_the_light_one_too(self) -> None:
        if self.manager.canary is not None:
            self.manager.start_secondary("light", self.manager.canary, ["cam1"])

    @rule(cameras=st.sets(st.sampled_from(["cam1", "cam2"])))
    def ease(self, cameras: set[str]) -> None:
        if self.manager.light is not None:
            self.manager.assign_light(self.manager.light, cameras)
            assert self.manager.light_cameras == cameras
        if self.manager.current is not None:
            self.manager.assign_light(slot(-1), ["cam1", "cam2"])  # of one that was the light one once: nothing happens

    @rule()
    def roll_back(self) -> None:
        if self.manager.previous is not None:
            self.manager.switch(self.manager.previous)

    @rule(target=held, camera=st.sampled_from(["cam1", "cam2"]))
    def lease(self, camera: str) -> tuple[Slot[FakeModel], int] | None:
        current = self.manager.slot_for(camera)
        if current is None:
            return None
        number = current.enter()
        assert number is not None
        self.open.append((current, number))
        return current, number

    @rule(lease=consumes(held), _=st.none())
    def give_back(self, lease: tuple[Slot[FakeModel], int] | None, _: None) -> None:
        if lease is not None:
            lease[0].leave(lease[1])
            self.open.remove(lease)

    @invariant()
    def leased_current_and_previous_are_loaded_all_others_freed_once(self) -> None:
        manager = self.manager
        needed = {s for s, _ in self.open} | {manager.current, manager.previous, manager.canary, manager.light}
        assert {s for role, s in manager.loaded() if role != "retiring"} <= needed
        for s in self.slots:
            assert s.model.closed == (0 if s in needed else 1), s.label


TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
