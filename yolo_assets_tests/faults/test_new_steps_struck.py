"""Sealing an hour and signing a checkpoint, killed or refused by the disk at any call: nothing lost, nothing twice.

A forked child does the step. At one of its file system calls, chosen by chance, it is killed, or the call fails with
ENOSPC or EIO. Then the step is done again by the next process, as after a restart. ``make test`` has a few of each, the
soak 200 kills and 200 faults, half of them in each step.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import SEALED, SEALED_LIST, SEALED_SIGNATURE, ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.transparency.checkpointing import make_checkpoint
from yolo_assets.transparency.log import ReceiptLog, read_receipts
from yolo_assets.transparency.verification import Others, verify_history
from yolo_assets_tests.catalog.receipt_factory import FIRST, put_receipt
from yolo_assets_tests.support.records import frame_record

SEED = 20261127
ROUNDS = [pytest.param(5, id="few"), pytest.param(100, id="hundred", marks=pytest.mark.soak)]
HOW = ["kill", "fault"]
CALLS = ("open", "os.rename", "os.link", "os.remove", "os.truncate", "os.mkdir")
WRITES = ("write", "pwrite", "fsync", "fdatasync")
DONE, REFUSED, BROKEN = 0, 7, 9


@dataclass
class Strike:
    """Counts the calls of a step below a folder, and strikes at one of them."""

    folder: Path
    at: int
    code: int | None
    seen: int = 0
    on: bool = False

    def step(self, work: Callable[[], object]) -> None:
        """Do the work with every call counted."""
        sys.addaudithook(self._watch)
        for name in WRITES:
            setattr(os, name, self._counted(getattr(os, name)))
        self.on = True
        try:
            work()
        finally:
            self.on = False

    def _watch(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event in CALLS and str(self.folder) in str(args[0]):
            self._hit()

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if self.on:
                self._hit()
            return real(*args)

        return call

    def _hit(self) -> None:
        self.seen += 1
        if self.seen != self.at:
            return
        if self.code is not None:
            raise OSError(self.code, os.strerror(self.code))
        os.kill(os.getpid(), signal.SIGKILL)


def struck(strike: Strike, work: Callable[[], object], before: Callable[[], object] | None = None) -> tuple[int, int]:
    """Do the work in a child; how it ended, and the calls that it made (0 when it was killed)."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        code = BROKEN
        try:
            if before is not None:
                before()
            strike.step(work)
            code = DONE
        except (UserError, OSError):
            code = REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            os.write(sending, str(strike.seen).encode())
            os._exit(code)
    os.close(sending)
    with os.fdopen(receiving) as told:
        calls = int(told.read() or 0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (DONE, REFUSED, -signal.SIGKILL)
    return ended, calls


def strikes(folder: Path, how: str, rounds: int, calls: int) -> list[Strike]:
    """By chance, the same each time."""
    chance = random.Random(f"{SEED} {how} {rounds}")
    codes = [None] if how == "kill" else [errno.ENOSPC, errno.EIO]
    return [Strike(folder, chance.randint(1, calls), chance.choice(codes)) for _ in range(rounds)]


def check_struck(how: str, endings: list[int]) -> None:
    """Kills all killed. What a fault met was refused or ridden out: nothing else is possible here."""
    if how == "kill":
        assert set(endings) == {-signal.SIGKILL}
    else:
        assert set(endings) <= {DONE, REFUSED}


class SealedHours:
    """Hours of a device, each written and sealed."""

    def __init__(self, root: Path) -> None:
        self.root, self.spool = root, root / "spool"
        self.device = Signer.load_or_create(root / "keys" / "device")
        self.archiver = Signer.load_or_create(root / "keys" / "archiver")
        self.archive = Archive(open_store((root / "archive").as_uri()), TrustedKeys.of(self.archiver))
        self.writer: SpoolWriter | None = None

    def write(self, hour: Hour) -> None:
        """Three frames."""
        self.writer = SpoolWriter(self.spool, "cam1", "box1", signer=self.device)
        record = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})
        for second in range(3):
            self.writer.write(hour.start + timedelta(seconds=second), record, b"picture %d" % second)

    def seal(self, hour: Hour) -> None:
        """As the agent does."""
        assert self.writer is not None
        self.writer.seal(hour)

    def check(self, hour: Hour, strike: Strike, what: str) -> None:
        """After the next process sealed it: every frame sealed once, by the device, and archived as it was sealed.

        On a full disk the hour is sealed without the device's signature, so that the archiver can make room; then
        nothing is left of it, and the receipt claims none.
        """
        with SpoolWriter(self.spool, "cam1", "box1", signer=self.device) as writer:
            seal = writer.seal(hour)
        assert (seal.processed, sum(seal.dropped.values())) == (3, 0), what
        folder = SpoolHour.of(self.spool, "cam1", hour)
        signed = [(folder.path / name).exists() for name in (SEALED_LIST, SEALED_SIGNATURE)]
        assert signed == [True, True] or (strike.code == errno.ENOSPC and signed == [False, False]), what
        outcome = archive_hour(folder, self.archive, self.archiver)
        assert outcome.receipt is not None, what
        archived = {row.name for row in self.archive.part(outcome.receipt).index()}
        assert len([name for name in archived if name.endswith(".jpg")]) == 3, what
        assert [one.part for one in self.archive.receipts("cam1", hour)] == [1], what
        custody = outcome.receipt.custody
        if custody is None:
            assert signed == [False, False], what
            return
        listed = [json.loads(line)["name"] for line in (folder.path / SEALED_LIST).read_bytes().splitlines()]
        assert sorted(listed) == sorted(archived - {SEALED_LIST, SEALED_SIGNATURE}) and SEALED in listed, what
        assert (custody.problem, custody.files, custody.key_id) == (None, len(listed), self.device.key_id), what


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("how", HOW)
def test_a_seal_that_is_struck_is_whole_after_the_next_start(tmp_path: Path, how: str, rounds: int) -> None:
    plant = SealedHours(tmp_path)
    _, calls = struck(Strike(plant.spool, 0, None), lambda: plant.seal(FIRST), lambda: plant.write(FIRST))
    assert calls >= 8
    endings: list[int] = []
    for number, strike in enumerate(strikes(plant.spool, how, rounds, calls), 1):
        hour = FIRST.next(number)
        ended, _ = struck(strike, lambda hour=hour: plant.seal(hour), lambda hour=hour: plant.write(hour))
        endings.append(ended)
        plant.check(hour, strike, f"seed {SEED}, {how} {strike.code} at call {strike.at} of {calls}")
    check_struck(how, endings)


class LoggedReceipts:
    """Receipts, and the log of them."""

    def __init__(self, root: Path) -> None:
        self.store: ObjectStore = open_store((root / "archive").as_uri())
        self.folder = root / "archive"
        self.archiver = Signer.load_or_create(root / "keys" / "archiver")
        self.archive = Archive(self.store, TrustedKeys.of(self.archiver))
        self.added = 0

    def add(self) -> None:
        """Two hours more."""
        for _ in range(2):
            put_receipt(self.store, self.archiver, ArchiveName("cam1", FIRST.next(self.added)))
            self.added += 1

    def checkpoint(self) -> None:
        """As the command does."""
        make_checkpoint(self.archive, self.archiver, read_receipts(self.archive), FIRST.next(self.added).start)

    def notes(self) -> dict[str, bytes]:
        """Every checkpoint that is there."""
        numbers = ReceiptLog(self.archive).numbers()["checkpoint"]
        return {f"{number}": ReceiptLog(self.archive).checkpoint(number).data for number in numbers}

    def check(self, before: dict[str, bytes], what: str) -> None:
        """Whatever was signed is there as it was, and the log holds together; nothing is in it twice."""
        notes = self.notes()
        assert notes.items() >= before.items(), f"{what}: a checkpoint was lost or changed"
        logged = [key for _, added in ReceiptLog(self.archive).steps() for key in added.keys]
        assert len(logged) == len(set(logged)), f"{what}: a receipt is in the log twice"
        now = FIRST.next(self.added).start
        found = verify_history(self.archive, read_receipts(self.archive), Others(), now).findings
        assert found == [], f"{what}: {found}"


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("how", HOW)
def test_a_checkpoint_that_is_struck_is_made_by_the_next_run(tmp_path: Path, how: str, rounds: int) -> None:
    plant = LoggedReceipts(tmp_path)
    plant.add()
    _, calls = struck(Strike(plant.folder, 0, None), plant.checkpoint)
    assert calls >= 12
    endings: list[int] = []
    for strike in strikes(plant.folder, how, rounds, calls):
        what = f"seed {SEED}, {how} {strike.code} at call {strike.at} of {calls}"
        before = plant.notes()
        plant.add()
        endings.append(struck(strike, plant.checkpoint)[0])
        plant.check(before, what)
        if strike.at % 2:  # else the next round finds what this one left, and new receipts
            plant.checkpoint()
            plant.check(before, what)
    plant.checkpoint()
    logged = [key for _, added in ReceiptLog(plant.archive).steps() for key in added.keys]
    assert sorted(logged) == sorted(ArchiveName("cam1", FIRST.next(n)).receipt_key for n in range(plant.added))
    check_struck(how, endings)
