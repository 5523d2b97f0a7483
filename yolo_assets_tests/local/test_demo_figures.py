from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from yolo_assets.contracts.model import Interval
from yolo_assets.local.demo.figures import FILE, Figures

GOOD = Figures(
    captured=10, processed=8, dropped={"no_model": 2}, archived=7, restored=7, restored_identical=7, archives=2,
    lost_in_switch=0, kept_after_watch=True, starter_map50=Interval(value=0.8, low=0.7, high=0.9),
    gain_on_changed=Interval(value=0.5, low=0.3, high=0.7),
)  # fmt: skip


def shown(figures: Figures) -> str:
    out = StringIO()
    Console(file=out, width=120).print(figures.table())
    return out.getvalue()


def test_what_was_not_measured_is_a_dash_and_never_a_number() -> None:
    text = shown(Figures())
    assert not any(character.isdigit() for character in text.replace("mAP50", ""))
    assert len(Figures().broken()) == 6


def test_what_was_measured_is_shown_and_kept(tmp_path: Path) -> None:
    text = shown(GOOD)
    assert "+0.500  [+0.300, +0.700]" in text and "2 no_model" in text and "7 of 7" in text
    GOOD.save(tmp_path)
    assert Figures.model_validate_json((tmp_path / FILE).read_bytes()) == GOOD
    assert GOOD.broken() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"restored_identical": 6}, "byte for byte"),
        ({"restored": 6, "restored_identical": 6}, "byte for byte"),
        ({"processed": 7}, "captured"),
        ({"lost_in_switch": 1}, "lost"),
        ({"kept_after_watch": False}, "keeps"),
        ({"starter_map50": Interval(value=0.69, low=0.6, high=0.8)}, "starter"),
        ({"gain_on_changed": Interval(value=0.1, low=-0.01, high=0.2)}, "better"),
    ],
)
def test_a_promise_that_did_not_hold_is_named(change: dict, word: str) -> None:
    (broken,) = GOOD.model_copy(update=change).broken()
    assert word in broken
