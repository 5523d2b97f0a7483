"""How often hours are requested again, simulated with a clock: one bad camera for a day, and an outage that ends."""

from datetime import UTC, datetime, timedelta

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.lanes import pack
from yolo_assets.defs.recovery.unfinished import (
    FinishedRun,
    RecoveryCursor,
    Target,
    after_look,
    after_runs,
    due_targets,
    tries_left,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUN_TAKES = 4 * MINUTE


class Clock:
    """Recovery's decisions each minute; runs over hours take some minutes and complete what ``good`` says."""

    def __init__(self) -> None:
        self.cursor = RecoveryCursor(through=0)
        self.now = START
        self.good = False
        self.running: list[tuple[datetime, list[Hour]]] = []
        self.started: list[datetime] = []
        self.most_at_once = 0

    def fail(self, *hours: Hour) -> None:
        targets = [Target("hourly_archives", hour.partition_key) for hour in hours]
        runs = [FinishedRun(f"run of {t.partition}", self.now, unfinished=frozenset({t})) for t in targets]
        self.cursor = after_runs(self.cursor, runs, 0).cursor

    def minute(self) -> None:
        self.now += MINUTE
        for ends, hours in [item for item in self.running if item[0] <= self.now]:
            self.running.remove((ends, hours))
            targets = frozenset(Target("hourly_archives", hour.partition_key) for hour in hours)
            done, left = (targets, frozenset[Target]()) if self.good else (frozenset[Target](), targets)
            again = FinishedRun("again", ends, 1, done=done, unfinished=left)
            self.cursor = after_runs(self.cursor, [again], 0).cursor
        busy = {hour for _, hours in self.running for hour in hours}
        left = tries_left(self.cursor, self.now, len(self.running))
        if not left:
            return
        due = [Hour.from_partition_key(target.partition) for target, _ in due_targets(self.cursor, self.now)]
        for hours in pack(hour for hour in due if hour not in busy)[:left]:
            self.running.append((self.now + RUN_TAKES, hours.hours))
            self.started.append(self.now)
        self.most_at_once = max(self.most_at_once, len(self.running))


def test_one_bad_camera_for_a_day_is_two_runs_an_hour_at_most() -> None:
    clock = Clock()
    for minute in range(24 * 60):
        if minute % 60 == 0:
            clock.fail(Hour.of(clock.now))
        clock.minute()
    assert len(clock.started) > 24, "it is tried all the same"
    for begin in range(0, 24 * 60, 5):
        moment = START + begin * MINUTE
        assert sum(moment <= started < moment + timedelta(hours=1) for started in clock.started) <= 2, moment


def test_only_tries_during_an_outage_are_forgotten_when_it_ends() -> None:
    held = RecoveryCursor(through=0, in_vain=[START, START])
    assert tries_left(after_look(held, answers=True), START, 0) == 0, "it was never away: a camera is bad"
    away = after_look(after_look(held, answers=False), answers=False)
    assert tries_left(away, START, 0) == 0 and RecoveryCursor.load(away.dump()) == away
    assert after_runs(away, [], 1).cursor.away
    back = after_look(away, answers=True)
    assert tries_left(back, START, 0) == 2 and not back.away
    later = after_look(away, answers=None).model_copy(update={"in_vain": [START, START]})
    assert tries_left(after_look(later, answers=True), START, 0) == 0, "the outage before says nothing of these tries"


def test_an_outage_of_half_a_year_ends_in_a_steady_stream() -> None:
    clock = Clock()
    first = Hour(START).next(-4320)
    clock.fail(*(first.next(number) for number in range(4320)))
    assert len(clock.cursor.dump()) < 100_000 and RecoveryCursor.load(clock.cursor.dump()) == clock.cursor
    clock.good = True
    while clock.cursor.targets:
        clock.minute()
        assert clock.now - START < timedelta(hours=12)
    assert clock.most_at_once <= 2
    assert len(clock.started) == 180, "a day of hours in each run"
