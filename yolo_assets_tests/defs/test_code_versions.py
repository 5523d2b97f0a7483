"""An asset's code version follows the sources of its stage, and starts nothing by itself."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.definitions import defs as load
from yolo_assets.defs import code_versions
from yolo_assets.defs.code_versions import code_version


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stage" / "inner").mkdir(parents=True)
    (tmp_path / "stage" / "inner" / "deep.py").write_text("a = 1\n")
    (tmp_path / "other.py").write_text("b = 1\n")
    monkeypatch.setattr(code_versions, "_ROOT", tmp_path)
    return tmp_path


def version(*names: str) -> str:
    code_versions._hash.cache_clear()
    return code_version(*names)


def test_it_changes_with_each_of_the_sources_and_no_other(sources: Path) -> None:
    before = version("stage")
    (sources / "other.py").write_text("b = 2\n")
    assert version("stage") == before != version("stage", "other.py")
    (sources / "stage" / "inner" / "deep.py").write_text("a = 2\n")
    assert version("stage") != before


def test_a_source_that_is_not_there_is_refused(sources: Path) -> None:
    with pytest.raises(FileNotFoundError):
        version("stage", "gone")


def conditions(condition: dg.AutomationCondition) -> Iterator[str]:
    yield condition.name
    for child in condition.children:
        yield from conditions(child)


def test_stale_by_code_offers_a_backfill_and_starts_none() -> None:
    specs = load().resolve_all_asset_specs()
    versions = {spec.code_version for spec in specs if spec.key.to_user_string() not in ("raw_frames", "labels")}
    assert all(found is not None and len(found) == 12 for found in versions) and len(versions) > 8
    names = {name for spec in specs if spec.automation_condition for name in conditions(spec.automation_condition)}
    assert "inputs_changed" in names and not {name for name in names if "code_version" in name}
