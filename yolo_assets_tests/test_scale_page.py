"""The page on plant sizes shows what its script computes, from the figures that README.md says were measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import plant_sizes

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text()


def test_the_tables_are_those_that_the_script_prints() -> None:
    assert plant_sizes.tables() in PAGE


def test_measured_figures_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"| pack + hash + upload + verify | {plant_sizes.ARCHIVED_MB_A_SECOND} MB/s |" in readme
    seconds, megabytes = re.findall(r"rebuilt in (\d+) s, (\d+) MB", readme)[0]
    assert (float(seconds), float(megabytes)) == (
        plant_sizes.REBUILD_SECONDS_A_MILLION,
        plant_sizes.CATALOG_BYTES_A_RECEIPT,
    )
    assert "200 cameras that keep 500 GB a day" in readme
    assert plant_sizes.brings(200)["GB to the archive"] == 500


@pytest.mark.parametrize(("figure", "said"), [("TABLE_CPU_SECONDS", "0.24"), ("TABLE_KB", "174"), ("EVENT_KB", "2")])
def test_the_text_names_the_figures_that_the_script_uses(figure: str, said: str) -> None:
    assert getattr(plant_sizes, figure) == float(said) and said in PAGE


def test_sums_in_the_text_follow_from_the_tables() -> None:
    large = plant_sizes.costs(2000)
    assert round(large["processor hours to build a month's tables again"]) == 96
    assert round(large["processor hours to build a month's tables again"] / 30, 1) == 3.2
    assert round(large["processor minutes for the tables of one hour of all cameras"]) == 8
    assert round(large["MB of the catalog after a year"], -2) == 3900
    assert round(large["GB of catalog versions written a day, after a year"]) == 93
    assert round(plant_sizes.costs(200)["rows of detections a year"] / 1e9, 2) == 6.31
