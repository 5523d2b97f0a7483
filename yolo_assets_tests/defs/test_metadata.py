"""Metadata as the UI shows it: what is in place, and the columns of the tables."""

import duckdb
import pytest

from yolo_assets.catalog.schema import TABLES, VIEWS
from yolo_assets.defs.archive.columns import catalog_lineage, catalog_schema, receipt_columns
from yolo_assets.defs.metadata import column_schema, counted, listed
from yolo_assets.defs.tables.health_and_drift import DRIFT, HEALTH, drift_columns, health_columns
from yolo_assets.tables.schema import DetectionsTable, FramesTable, TableModel, polars_schema

IN_PLACE = 1000
"""Dagster's UI shows Markdown below this length without a click."""


@pytest.mark.parametrize("model", [FramesTable, DetectionsTable])
def test_the_columns_are_those_of_the_table(model: TableModel) -> None:
    shown = {column.name: column for column in column_schema(model).columns}
    assert {name: column.type for name, column in shown.items()} == {
        name: str(kind) for name, kind in polars_schema(model).items()
    }
    assert not shown["camera_id"].constraints.nullable and shown["batch_id"].constraints.nullable


def test_descriptions_and_rules_of_columns_are_shown() -> None:
    detections = {column.name: column for column in column_schema(DetectionsTable).columns}
    assert detections["index"].description == "position in the record of the frame"
    assert len(detections["confidence"].constraints.other) == 1
    assert {c.name for c in column_schema(FramesTable).columns if c.constraints.unique} == {"image_path"}


def test_column_lineage_names_columns_that_are_there() -> None:
    known = {
        "frames": set(polars_schema(FramesTable)),
        "detections": set(polars_schema(DetectionsTable)),
        "camera_health": set(HEALTH),
        "hourly_archives": {column.name for column in receipt_columns().columns},
    }
    catalog = {"dagster/column_schema": catalog_schema(), "dagster/column_lineage": catalog_lineage()}
    for columns in (health_columns(), drift_columns(), catalog):
        shown = {column.name for column in columns["dagster/column_schema"].columns}
        lineage = columns["dagster/column_lineage"].deps_by_column
        assert lineage and set(lineage) <= shown
        for dep in (dep for deps in lineage.values() for dep in deps):
            assert dep.column_name in known[dep.asset_key.to_user_string()], dep
    assert set(health_columns()["dagster/column_lineage"].deps_by_column) == set(HEALTH)
    assert set(drift_columns()["dagster/column_lineage"].deps_by_column) == set(DRIFT)


def test_the_columns_of_the_catalog_are_those_of_its_view() -> None:
    with duckdb.connect() as connection:
        connection.execute(TABLES + VIEWS)
        described = connection.sql("DESCRIBE archives").fetchall()
    assert {column.name: column.type for column in catalog_schema().columns} == {row[0]: row[1] for row in described}


def test_a_list_is_short_enough_to_be_shown_in_place() -> None:
    many = listed([f"camera {number} is blurred; clean its lens" for number in range(200)], "all are well").value
    assert len(many) < IN_PLACE and many.startswith("- camera 0 ")
    shown = many.count("is blurred")
    assert many.endswith(f"- and {200 - shown} more") and shown > 10
    assert listed([], "all are well").value == "all are well"
    assert len(listed(["x" * 5000], "").value) < IN_PLACE


def test_counts_are_written_as_people_read_them() -> None:
    assert [counted(1, "camera"), counted(1200, "frame")] == ["1 camera", "1,200 frames"]
