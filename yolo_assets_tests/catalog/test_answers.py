"""Answers for machines: numbers stay numbers, nothing is turned into something else, a refusal names the column."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal

import duckdb
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.catalog.answers import Answer, cell, exact_answer, json_value, tab_separated
from yolo_assets.contracts.errors import BadInputError


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def shown(answer: Answer) -> list[dict[str, object]]:
    """The answer as another program reads its JSON: numbers exactly as they stand there."""
    text = orjson.dumps(list(answer.documents()))
    return json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(SELECT sum(x) FROM (VALUES (4::BIGINT), (5)) t(x))", 9),
        ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1),
        ("(-170141183460469231731687303715884105727)::HUGEINT", -(2**127) + 1),
        ("340282366920938463463374607431768211455::UHUGEINT", 2**128 - 1),
        ("9223372036854775807::BIGINT", 2**63 - 1),
        ("18446744073709551615::UBIGINT", 2**64 - 1),
        ("1.50::DECIMAL(10, 2)", Decimal("1.50")),
        ("0.00000001::DECIMAL(18, 8)", Decimal("0.00000001")),
        ("99999999999999999999999999999999999.999::DECIMAL(38, 3)", Decimal("99999999999999999999999999999999999.999")),
        ("0.25::DOUBLE", Decimal("0.25")),
        ("[1::HUGEINT, NULL]", [1, None]),
        ("{'a': 2.5::DECIMAL(3, 1)}", {"a": Decimal("2.5")}),
        ("MAP {7: 'x'}", {"7": "x"}),
        ("true", True),
        ("NULL", None),
        ("'nan'::DOUBLE", None),
        ("'\\x00ab'::BLOB", base64.b64encode(b"\x00ab").decode()),
        ("TIMESTAMPTZ '2026-01-02 03:04:05.678+00'", "2026-01-02T03:04:05.678Z"),
        ("TIMESTAMP '2026-01-02 03:04:05.678901'", "2026-01-02T03:04:05.678901"),
        ("DATE '2026-01-02'", "2026-01-02"),
        ("TIMESTAMP '20000-01-01'", "20000-01-01 00:00:00"),
    ],
)
def test_a_value_is_in_json_what_it_is(connection: duckdb.DuckDBPyConnection, expression: str, value: object) -> None:
    answer = exact_answer(connection, f"SELECT {expression} AS v")
    assert shown(answer) == [{"v": value}]
    assert type(shown(answer)[0]["v"]) is type(value)


def test_bytes_are_told_by_their_column(connection: duckdb.DuckDBPyConnection) -> None:
    assert exact_answer(connection, "SELECT 1 AS a, 'x'::BLOB AS b").in_base64 == ("b",)


@pytest.mark.parametrize(
    "expression",
    [
        "INTERVAL 1 MONTH",
        "[INTERVAL 1 DAY]",
        "{'a': INTERVAL 1 DAY}",
        "'infinity'::TIMESTAMP",
        "'-infinity'::TIMESTAMPTZ",
        "'infinity'::DATE",
        "['infinity'::TIMESTAMPTZ]",
        "{'a': '-infinity'::TIMESTAMP_MS}",
    ],
)
def test_what_has_no_value_names_its_column(
    connection: duckdb.DuckDBPyConnection, expression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInputError, match=r"the column held_for holds .* cast that column to VARCHAR"):
        exact_answer(connection, f"SELECT 1 AS good, {expression} AS held_for")
    assert capfd.readouterr() == ("", "")
    cast = exact_answer(connection, f"SELECT CAST({expression} AS VARCHAR) AS held_for")
    assert isinstance(cast.rows[0][0], str)


def test_columns_of_one_name_are_both_there(connection: duckdb.DuckDBPyConnection) -> None:
    answer = exact_answer(connection, "SELECT 1 AS a, 2 AS a, 3 AS a_2")
    assert shown(answer) == [{"a": 1, "a_2": 2, "a_2_2": 3}]


@pytest.mark.parametrize(
    ("sql", "suggests"),
    [
        ("SELECT * FROM archvies", 'Did you mean "archives"'),
        ("SELECT camer_id FROM archives", 'Candidate bindings: "camera_id"'),
        ("SELECT date_dif('day', 1)", 'Did you mean "date_diff"'),
    ],
)
def test_duckdbs_suggestion_is_kept(connection: duckdb.DuckDBPyConnection, sql: str, suggests: str) -> None:
    connection.execute("CREATE TABLE archives (camera_id VARCHAR)")
    with pytest.raises(BadInputError) as caught:
        exact_answer(connection, sql)
    assert suggests in str(caught.value)
    assert "LINE 1" not in str(caught.value) and "\n" not in str(caught.value)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_line_of_tab_separated_cells_can_be_taken_apart(cells: list[str]) -> None:
    line = tab_separated(cells)
    assert line.splitlines() in ([line], [])
    names = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}

    def read(text: str) -> str:
        out, rest = "", iter(text)
        for char in rest:
            if char != "\\":
                out += char
                continue
            kind = next(rest)
            digits = {"x": 2, "u": 4}.get(kind)
            out += names[kind] if digits is None else chr(int("".join(next(rest) for _ in range(digits)), 16))
        return out

    assert [read(text) for text in line.split("\t")] == cells


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
def test_a_number_has_the_same_digits_in_json_and_in_a_cell(value: int | Decimal) -> None:
    assert json.loads(orjson.dumps(json_value(value)), parse_float=Decimal) == value
    assert Decimal(cell(value)) == value
