from pathlib import Path

import pytest

from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.settings import Settings


def test_everything_defaults_to_folders_in_the_home(tmp_path: Path) -> None:
    found = Settings.from_env({"YOLO_ASSETS_HOME": str(tmp_path)})
    assert found.spool == tmp_path / "spool"
    assert found.archive_url == (tmp_path / "archive").as_uri() and found.store_url == (tmp_path / "store").as_uri()
    assert found.grace_seconds == 300 and found.class_names == () and found.training_recipe is None


def test_each_variable_overrides_its_own(tmp_path: Path) -> None:
    found = Settings.from_env(
        {
            "YOLO_ASSETS_HOME": "somewhere",
            "YOLO_ASSETS_ARCHIVE": "s3://cold/plant",
            "YOLO_ASSETS_CLASSES": "crack, spatter,",
            "YOLO_ASSETS_HOT_HOURS": "24",
            "YOLO_ASSETS_GATE": str(tmp_path / "gate.yaml"),
        }
    )
    assert found.home.is_absolute() and found.archive_url == "s3://cold/plant"
    assert found.class_names == ("crack", "spatter") and found.hot_hours == 24
    assert found.gate_policy == tmp_path / "gate.yaml"


def test_a_number_that_is_none_is_one_line() -> None:
    with pytest.raises(UsageError, match="YOLO_ASSETS_HOT_HOURS='soon' is not a number"):
        Settings.from_env({"YOLO_ASSETS_HOT_HOURS": "soon"})
