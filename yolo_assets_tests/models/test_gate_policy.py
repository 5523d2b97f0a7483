"""The policy is read from TOML, YAML or JSON, and a mistake in it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.models.gate_policy import GatePolicy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gate.toml", 'min_recall = 0.7\nimprovement = "better"\n[min_recall_by_class]\ncrack = 0.9\n'),
        ("gate.yaml", "min_recall: 0.7\nimprovement: better\nmin_recall_by_class: {crack: 0.9}\n"),
        ("gate.json", '{"min_recall": 0.7, "improvement": "better", "min_recall_by_class": {"crack": 0.9}}'),
    ],
)
def test_a_policy_is_read_from_three_formats(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    wanted = GatePolicy(min_recall=0.7, improvement="better", min_recall_by_class={"crack": 0.9})
    assert GatePolicy.load(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gate.toml", "min_recal = 0.7", "min_recal: Extra inputs"),
        ("gate.toml", "min_recall = 70", "min_recall: Input should be less than or equal to 1"),
        ("gate.toml", "min_recall", "is not TOML"),
        ("gate.toml", "max_latency_ratio = inf", "max_latency_ratio: Input should be a finite"),
        ("gate.json", "{", "is not JSON"),
        ("gate.json", "[]", "is not a gate policy"),
        ("gate.yaml", "a: [", "is not YAML"),
        ("gate.yaml", "min_recall_by_class: {crack: 9}", "min_recall_by_class.crack"),
        ("gate.txt", "", "name it .toml, .yaml or .json"),
    ],
)
def test_a_bad_policy_is_explained(tmp_path: Path, name: str, text: str, words: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError) as caught:
        GatePolicy.load(tmp_path / name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_policy_is_explained(tmp_path: Path):
    with pytest.raises(BadInputError, match="cannot read the gate policy"):
        GatePolicy.load(tmp_path / "gate.toml")
