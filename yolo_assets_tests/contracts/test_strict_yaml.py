"""Files that people write: what no parser foresaw is one line, too. Found by ``yolo_assets_tests/fuzz``."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.options import read_options
from yolo_assets.contracts.strict_yaml import parse_yaml, parse_yaml_as_written
from yolo_assets.edge.config.agent import load_config

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
TEXTS = {
    "it refers to itself": "cameras: &a [*a]",
    "a key of it does": "&a ? *a : 1\ncameras: []",
    "a billion values by aliases": LAUGHS,
    "a date that is none": "start: 2024-13-45",
    "a time that is none": "start: 2024-10-15 99:00:00",
    "a number that is none": "fps: 0x",
    "a number of 5,000 digits": "fps: " + "9" * 5000,
    "nested too deeply": "[" * 400,
    "a value sign alone": "=: 1\n<<: 2",
    "an unknown tag": "!!python/object:os.system x",
}


@pytest.mark.parametrize("what", TEXTS)
def test_yaml_that_cannot_be_read_is_one_line(what: str, tmp_path: Path) -> None:
    for name in ("edge.yaml", "gate.yaml"):
        (tmp_path / name).write_text(TEXTS[what])
    for read in (
        lambda: parse_yaml(TEXTS[what], "x.yaml"),
        lambda: load_config(tmp_path / "edge.yaml"),
        lambda: read_options(tmp_path / "gate.yaml", "gate policy"),
    ):
        try:
            read()
        except BadInputError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
        else:
            assert what in ("a number that is none", "a value sign alone")


@pytest.mark.parametrize("text", ["x = " + "[" * 3000, "x = " + "9" * 5000, "x = 2024-13-45", "x ="])
def test_toml_that_cannot_be_read_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_options(tmp_path / "gate.toml", "gate policy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["yaml", "toml", "json"])
def test_option_files_are_read_by_their_byte_order_mark(ending: str, tmp_path: Path) -> None:
    text = {"yaml": "starter: {epochs: 3}", "toml": "starter = {epochs = 3}", "json": '{"starter": {"epochs": 3}}'}
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / f"recipe.{ending}").write_text(text[ending], encoding)
        assert read_options(tmp_path / f"recipe.{ending}", "recipe") == {"starter": {"epochs": 3}}


def test_an_option_given_twice_is_refused_in_every_yaml(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("slack: 1\nslack: 2\n")
    with pytest.raises(BadInputError, match="slack is given twice"):
        read_options(tmp_path / "gate.yaml", "gate policy")


def test_yaml_is_1_2_and_nothing_of_it_is_printed(recwarn: pytest.WarningsRecorder) -> None:
    text = "a: on\nb: 22:00\nc: 012\nd: &x 1\ne: &x 2\nf: 2024-10-15T14:00:02Z\n"
    assert list(parse_yaml(text, "x"))[:3] == ["a", "b", "c"]
    assert list(parse_yaml(text, "x").values())[:3] == ["on", "22:00", 12]
    assert list(parse_yaml_as_written(text, "x").values())[:3] == ["on", "22:00", "012"]
    assert not recwarn.list


def test_an_option_that_is_given_twice_is_named_and_its_value_is_not() -> None:
    with pytest.raises(BadInputError, match="line 2: password is given twice") as caught:
        parse_yaml("password: geheim\npassword: hidden\n", "x")
    assert "geheim" not in str(caught.value) and "hidden" not in str(caught.value)
