"""How much announcing may cost: one thing waits once, rests between two looks, and a flood is dropped and counted."""

from __future__ import annotations

import threading
import time

from yolo_assets.contracts.announcements import Announcement, hour_closed
from yolo_assets.contracts.times import Hour
from yolo_assets.events.intake import Bounds, Intake
from yolo_assets_tests.support.brokers import wait

HOUR = Hour.from_key("20260301_02")


def message(camera: str) -> bytes:
    return hour_closed("/x", camera, HOUR).to_json()


def camera(announcement: Announcement) -> str:
    return announcement.data.subject


def test_a_thing_announced_often_is_looked_at_once_and_then_rests() -> None:
    looked: list[float] = []
    intake = Intake(camera, lambda _: looked.append(time.monotonic()), Bounds(rest_s=0.5, pace_s=0.001))
    intake.start()
    intake.take("b", message("cam1"))
    wait(lambda: looked, 5)
    for _ in range(500):
        intake.take("b", message("cam1"))
    wait(lambda: len(looked) == 2, 5)
    time.sleep(0.1)
    intake.close()
    assert len(looked) == 2 and looked[1] - looked[0] >= 0.5


def test_a_flood_of_things_is_bounded_in_number_and_pace() -> None:
    looked: list[str] = []
    intake = Intake(camera, lambda a: looked.append(a.data.subject), Bounds(waiting=20, pace_s=0.02))
    for number in range(1000):
        intake.take("b", message(f"cam{number}"))
    started = time.monotonic()
    intake.start()
    wait(lambda: len(looked) == 20, 5)
    intake.close()
    assert time.monotonic() - started >= 19 * 0.02
    assert intake.received["b", "hour-closed", "dropped"] == 980
    assert intake.received["b", "hour-closed", "taken"] == 20


def test_what_is_announced_during_its_look_is_looked_at_again() -> None:
    looks, going, go_on = 0, threading.Event(), threading.Event()

    def look(_: Announcement) -> None:
        nonlocal looks
        looks += 1
        going.set()
        go_on.wait(5)

    intake = Intake(camera, look, Bounds(rest_s=0.1))
    intake.start()
    intake.take("b", message("cam1"))
    assert going.wait(5)
    intake.take("b", message("cam1"))
    go_on.set()
    wait(lambda: looks == 2, 5)
    intake.close()
