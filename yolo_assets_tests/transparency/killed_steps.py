"""Runs as a program: checkpoints and a witness, each in a process that is killed before one of its writing calls.

After every kill: the log is whole, no receipt is in it twice, and what the witness co-signed is of this log alone,
though it is also shown a forged one by the same key. In the end one clean step: every receipt is in the log, once.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from yolo_assets.contracts.checkpoint import Note
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.transparency.checkpointing import make_checkpoint
from yolo_assets.transparency.log import read_receipts, whole_log
from yolo_assets.transparency.verification import Others, verify_history
from yolo_assets.transparency.witness import Witness
from yolo_assets_tests.catalog.receipt_factory import FIRST
from yolo_assets_tests.transparency.logged_plant import LoggedPlant

CALLS = ("os.rename", "os.link", "os.remove", "os.truncate", "os.mkdir")
MOST_CALLS = 17
"""A little more than a step has: some end alive."""


def step(plant: LoggedPlant, witness: Witness, now: datetime) -> None:
    make_checkpoint(plant.opened, plant.signer, list(read_receipts(plant.opened)), now)
    witness.look(plant.opened, now)


def killed(root: Path, kill_at: int, plant: LoggedPlant, witness: Witness, now: datetime, *, forged: bool) -> bool:
    """One step in a child that kills itself before its ``kill_at``-th call; whether it came to that."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CALLS) and str(root) in str(arguments[0]):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if forged:
        with suppress(IntegrityError):
            witness.look(plant.opened, now)
            os._exit(3)
    else:
        step(plant, witness, now)
    os._exit(0)


def check(plant: LoggedPlant, folder: Path) -> int:
    """The invariant; returns the receipts in the log."""
    stored, lists, tree = whole_log(plant.opened)
    keys = [key for one in lists for key in one.keys]
    assert len(set(keys)) == len(keys) == tree.size
    texts = {one.signed.note.text for one in stored}
    for path in (folder / "cosigned").iterdir():
        if path.suffix == ".checkpoint":
            assert Note.parse(path.read_bytes(), path.name).text in texts, f"{path.name} is of another history"
    return tree.size


def main(root: Path, kills: int, seed: int) -> None:
    chance, folder = random.Random(seed), root / "witness"
    plant, forgery = LoggedPlant(root / "plant"), LoggedPlant(root / "forged")
    forgery.signer, forgery.trusted = plant.signer, plant.trusted
    folder.mkdir()
    witness, now = Witness.open(folder, None), FIRST.start + timedelta(days=1)
    plant.add()
    step(plant, witness, now)
    count = tries = 0
    while count < kills:
        tries += 1
        now += timedelta(minutes=1)
        plant.add("cam02", tries)
        forgery.add("cam03", tries)
        make_checkpoint(forgery.opened, forgery.signer, list(read_receipts(forgery.opened)), now)
        forged = chance.random() < 0.3
        count += killed(root, chance.randint(1, MOST_CALLS), forgery if forged else plant, witness, now, forged=forged)
        check(plant, folder)
    step(plant, witness, now + timedelta(minutes=1))
    assert check(plant, folder) == tries + 1, "every receipt is in the log, once"
    kept = [(path.name, path.read_bytes()) for path in (folder / "cosigned").glob("*.checkpoint")]
    history = verify_history(
        plant.opened, read_receipts(plant.opened), Others(kept, [witness.key]), now + timedelta(hours=1)
    )
    assert history.findings == []
    print(f"{count} kills in {tries} steps, {len(history.checkpoints)} checkpoints, {tries + 1} receipts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
