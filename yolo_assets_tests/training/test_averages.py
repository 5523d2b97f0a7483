"""Checkpoints of two sites averaged: each number is the mean that torch gives, and the result is imported like any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.training.averaging import averaged_checkpoint
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.support.ultralytics_program import run_ultralytics
from yolo_assets_tests.training.exporting import Exports

_PROGRAM = """
import sys, torch
from ultralytics import YOLO
folder, brought = sys.argv[1:3]
saved = torch.load(brought, weights_only=False)
net = (saved.get("ema") or saved["model"]).float()
for part in net.parameters():
    part.data = part.data + 0.01 * torch.randn(part.shape, generator=torch.Generator().manual_seed(1))
torch.save({**saved, "model": net, "ema": None}, folder + "/other.pt")
names = dict(net.names)
net.names = {**names, 0: "another"}
torch.save({**saved, "model": net, "ema": None}, folder + "/classes.pt")
"""
_COMPARE = """
import sys, torch
def state(path):
    saved = torch.load(path, weights_only=False)
    return (saved.get("ema") or saved["model"]).float().state_dict()
one, other, mean = map(state, sys.argv[1:4])
apart = 0.0
for key, value in one.items():
    if value.is_floating_point():
        apart = max(apart, (mean[key] - (3 * value + other[key]) / 4).abs().max().item())
        assert not torch.equal(mean[key], value) or torch.equal(value, other[key])
open(sys.argv[4], "w").write(str(apart))
"""


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_two_sites_become_one_candidate(brought: Exports, tmp_path: Path) -> None:
    one = brought.file("yolo11n", "checkpoint")
    (tmp_path / "make.py").write_text(_PROGRAM)
    run_ultralytics(str(tmp_path / "make.py"), str(tmp_path), str(one), folder=tmp_path, seconds=120)
    other = tmp_path / "other.pt"
    mean = averaged_checkpoint([one, other], [3, 1], tmp_path / "work")
    (tmp_path / "compare.py").write_text(_COMPARE)
    arguments = (str(one), str(other), str(mean), str(tmp_path / "apart"))
    run_ultralytics(str(tmp_path / "compare.py"), *arguments, folder=tmp_path, seconds=120)
    assert float((tmp_path / "apart").read_text()) < 1e-6
    (tmp_path / "home").mkdir()
    place = ("--name", "line", "--version", "avg", "--golden", brought.pictures)
    done = cli("models", "average", one, other, *place, "--json", home=tmp_path / "home", timeout=200)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest["imported"]["note"] == f"average of {one.name} ×1, other.pt ×1"
    with pytest.raises(UserError, match="has other classes"):
        averaged_checkpoint([one, tmp_path / "classes.pt"], (), tmp_path / "work2")


def test_what_cannot_be_averaged_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.pt").write_bytes(b"the same")
    files = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for given, shares, why in (
        (files[:1], (), "at least two sites"),
        (files, (1.0,), "2 checkpoints and 1 shares"),
        (files, (), "are the same file"),
        ([tmp_path / "a.pt", tmp_path / "none.pt"], (), "cannot read"),
    ):
        with pytest.raises(BadInputError, match=why):
            averaged_checkpoint(given, shares, tmp_path / "work")
