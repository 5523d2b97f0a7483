from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.training.spec import Recipe


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
    "text", ['{"starter": {"epochz": 3}}', '{"starter": {"imgsz": 100}}', '{"start": {}}', "[1]", "{"]
)
def test_a_wrong_recipe_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        Recipe.load(path).spec("line", None)
    assert "\n" not in str(caught.value)
