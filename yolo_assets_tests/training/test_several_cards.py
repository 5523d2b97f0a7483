"""Several cards: Ultralytics pickles our callbacks for a process a card. Those run here, without a card.

What this cannot show is a training on two cards: there is no machine with two.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from yolo_assets.training.jobs import BEST, CHECKPOINT, PROGRESS, RAN, TrainingEvent, TrainingRan, TrainJob
from yolo_assets.training.spec import TrainSpec
from yolo_assets.training.trainer import _TrainingAttempt

WORKER = """
import pickle, sys
from pathlib import Path
from types import SimpleNamespace

sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(get_device_name=lambda number: f"card {number}"))
network = SimpleNamespace(yaml={"yaml_file": "yolo11n.yaml"}, parameters=lambda: [SimpleNamespace(numel=lambda: 10)])
callbacks = pickle.load(open(sys.argv[1], "rb"))
folder = Path(sys.argv[2])
for epoch in range(3):
    (folder / "best.pt").write_bytes(b"best %d" % epoch)
    (folder / "last.pt").write_bytes(b"last %d" % epoch)
    trainer = SimpleNamespace(
        epoch=epoch, best=folder / "best.pt", last=folder / "last.pt", args=SimpleNamespace(val=True), stop=False,
        epochs=3, tloss={"box": 0.5}, metrics={"map50(B)": 0.25}, _get_memory=lambda: 1.0,
        model=SimpleNamespace(module=network), batch_size=8,
        optimizer=SimpleNamespace(param_groups=[{"lr": 0.01}]),
    )
    for name in ("on_train_epoch_start", "on_train_epoch_end", "on_model_save"):
        callbacks[name](trainer)
"""


def test_the_processes_of_several_cards_report_and_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_assets.training.trainer._device", lambda requested: requested)  # there is no card
    work, run = tmp_path / "work", tmp_path / "run"
    work.mkdir()
    run.mkdir()
    reading, writing = os.pipe()
    job = TrainJob(
        spec=TrainSpec(name="line", device="0,1", epochs=3), data=str(tmp_path), work=str(work), weights=None
    )
    attempt = _TrainingAttempt(job, work, writing)
    attempt.report("started", epoch=0)
    callbacks = {
        "on_train_epoch_start": attempt._on_epoch_start,
        "on_train_epoch_end": attempt._on_epoch_end,
        "on_model_save": attempt._on_model_save,
    }
    (tmp_path / "callbacks").write_bytes(cloudpickle.dumps(callbacks))
    with attempt.passing_on():
        subprocess.run([sys.executable, "-c", WORKER, str(tmp_path / "callbacks"), str(run)], check=True, timeout=120)
    attempt.report("finished", epoch=attempt.epoch)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        events = [TrainingEvent.from_json(line, "pipe") for line in pipe]
    assert [(event.event, event.epoch) for event in events] == [
        ("started", 0),
        *(("epoch", number) for number in (1, 2, 3)),
        ("finished", 3),
    ]
    assert events[3].losses == {"box": 0.5} and events[3].metrics == {"map50": 0.25}
    assert len((work / PROGRESS).read_text().splitlines()) == 5
    ran = TrainingRan.from_json((work / RAN).read_bytes())
    assert (ran.architecture, ran.batch, ran.device) == ("yolo11n.yaml", 8, "0,1")
    assert ran.hardware == "card 0, card 1"
    assert (work / BEST).read_bytes() == b"best 2" and (work / CHECKPOINT).read_bytes() == b"last 2"
