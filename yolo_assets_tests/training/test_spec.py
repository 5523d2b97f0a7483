from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from yolo_assets.contracts.base import one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.training.architectures import ARCHITECTURES
from yolo_assets.training.spec import Recipe, TrainSpec


def test_a_recipe_holds_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[starter]\nepochs = 7\n[fine_tune]\nepochs = 3\n")
    recipe = Recipe.load(path)
    first, next_one = recipe.spec("line", None), recipe.spec("line", "line/v1")
    assert (first.epochs, first.parent) == (7, None)
    assert (next_one.epochs, next_one.parent) == (3, "line/v1")


def test_a_successor_keeps_the_input_size_by_default() -> None:
    assert Recipe().spec("line", "line/v1", 320).imgsz == 320
    assert Recipe(fine_tune={"imgsz": 640}).spec("line", "line/v1", 320).imgsz == 640


@pytest.mark.parametrize(
    "text",
    [
        '{"starter": {"epochz": 3}}',
        '{"starter": {"name": "x"}}',
        '{"fine_tune": {"parent": "x/1"}}',
        '{"starter": {"imgsz": 100}}',
        '{"start": {}}',
        "[1]",
        "{",
    ],
)
def test_a_wrong_recipe_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        Recipe.load(path).spec("line", None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"archtecture": "yolo11s.yaml"}, "there is no option 'archtecture' here; did you mean architecture?"),
        ({"architecture": "yolo11-s"}, "there is no network 'yolo11-s'; did you mean yolo11s.yaml?"),
        ({"augmentation": {"mosiac": 0.5}}, "there is no option 'mosiac' here; did you mean mosaic?"),
        ({"augmentation": {"copy_paste": 0.3}}, "labels are boxes; take mosaic"),
        ({"imgsz": [384, 650]}, "650 is not a multiple of 32"),
        ({"imgsz": 32}, "32 is not a multiple of 32 from 64"),
        ({"batch": "automatic"}, "'automatic' is no batch size; give a number from 1 to 4096, or auto"),
        ({"batch": "auto", "device": "0,1"}, "batch auto is for one card"),
        ({"rect": True, "augmentation": {"mosaic": 0.5}}, "mosaic needs squares"),
        ({"device": "gpu"}, "device: "),
        ({"freeze": -1}, "layers are counted from 0"),
        ({"class_weights": 2}, "class_weights: "),
        ({"multi_scale": 1.5}, "multi_scale: "),
    ],
)
def test_a_wrong_option_is_told_with_the_nearest_right_one(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainSpec.model_validate({"name": "line", **options})
    assert told in one_line(caught.value)


def test_both_sections_of_a_recipe_are_checked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"starter": {"epochs": 3}, "fine_tune": {"epoch": 3}}')
    with pytest.raises(BadInputError, match="did you mean epochs"):
        Recipe.load(path)


def test_batches_in_the_shape_of_pictures_say_what_they_leave_out() -> None:
    spec = Recipe(fine_tune={"rect": True, "imgsz": [384, 640]}).spec("line", "line/1")
    assert (spec.augmentation.mosaic, spec.sides) == (0.0, (384, 640))
    assert Recipe(fine_tune={"imgsz": [640, 640]}).spec("line", "line/1").imgsz == 640


def test_every_network_is_one_of_the_installed_ultralytics() -> None:
    package = find_spec("ultralytics")
    assert package is not None and package.origin is not None
    files = {path.name for path in (Path(package.origin).parent / "cfg" / "models").rglob("*.yaml")}

    def described(name: str) -> bool:
        family, scale = name.removesuffix(".yaml")[:-1], name.removesuffix(".yaml")[-1]
        return name in files or (scale in "nsmlx" and f"{family}.yaml" in files)

    assert [name for name in ARCHITECTURES if not described(name)] == []
