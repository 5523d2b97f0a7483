"""The columns of the tables and the rules a row must keep, as pandera models: the one place for both.

The same models quarantine single rows while a table is built and prove the finished table. A rule's ``error`` is the
reason that a person reads in quarantine, so it names what is wrong with the row.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig

from yolo_assets.contracts.times import END_OF_HOURS, FIRST_MOMENT, HOUR, NEAR

TOLERANCE_PX = 1.0
"""How far a box may reach over the frame's edge: rounding of letterboxed coordinates, not an error."""

_HOUR_KEY = "%Y%m%d_%H"

Moment = Annotated[pl.Datetime, "ms", "UTC"]


class FramesTable(pa.DataFrameModel):
    """One row per processed frame, whether its image was kept or not."""

    camera_id: str = pa.Field(str_matches=r"^[A-Za-z0-9_-]{1,64}$")
    hour: Moment
    image_path: str = pa.Field(str_matches=r"^[^/]+/\d{8}_\d{2}/[^/]+$")
    captured_at: Moment
    sequence: pl.Int64 = pa.Field(nullable=True, ge=0)
    model_version: str
    device_id: str
    batch_id: str = pa.Field(nullable=True)
    part_id: str = pa.Field(nullable=True, description="the workpiece in front of the camera")
    width: pl.Int64 = pa.Field(nullable=True, gt=0)
    height: pl.Int64 = pa.Field(nullable=True, gt=0)
    inference_ms: pl.Float64 = pa.Field(nullable=True, ge=0)
    image_saved: bool = pa.Field(nullable=True)
    blur: pl.Float64 = pa.Field(nullable=True)
    brightness: pl.Float64 = pa.Field(nullable=True)
    n_detections: pl.Int64 = pa.Field(ge=0)
    mask_version: str = pa.Field(nullable=True, description="of the privacy mask that was burned in")
    class_list: str = pa.Field(nullable=True, description="version of the class list that gave the classes their names")
    extra: str = pa.Field(nullable=True)

    class Config(BaseConfig):
        """Exactly these columns in this order; a frame has one row."""

        strict = True
        ordered = True
        unique = ["image_path"]  # noqa: RUF012 - pandera wants a plain list

    @pa.dataframe_check(error="captured more than an hour outside the hour of its folder")
    def captured_near_hour(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """In the hour, or in the one before or after it: a producer turns its folder a little early or late."""
        after = pl.col("captured_at") - pl.col("hour")
        return data.lazyframe.select((after >= -NEAR) & (after < HOUR + NEAR))

    @pa.dataframe_check(error="image_path is not in the folder of its camera and hour")
    def path_in_folder(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """``image_path`` starts with ``<camera_id>/<YYYYMMDD_HH>/``."""
        folder = pl.format("{}/{}/", pl.col("camera_id"), pl.col("hour").dt.strftime(_HOUR_KEY))
        return data.lazyframe.select(pl.col("image_path").str.starts_with(folder))


class DetectionsTable(pa.DataFrameModel):
    """One row per detection; ``width`` and ``height`` are the frame's, so that a row proves its own box."""

    camera_id: str = pa.Field(str_matches=r"^[A-Za-z0-9_-]{1,64}$")
    hour: Moment
    image_path: str
    captured_at: Moment
    index: pl.Int64 = pa.Field(ge=0, description="position in the record of the frame")
    class_: str = pa.Field(alias="class", str_length={"min_value": 1})
    confidence: pl.Float64 = pa.Field(in_range={"min_value": 0, "max_value": 1})
    x1: pl.Float64
    y1: pl.Float64
    x2: pl.Float64
    y2: pl.Float64
    width: pl.Int64 = pa.Field(nullable=True, gt=0)
    height: pl.Int64 = pa.Field(nullable=True, gt=0)
    timestamp: Moment
    model_version: str
    device_id: str
    batch_id: str = pa.Field(nullable=True)
    part_id: str = pa.Field(nullable=True, description="the workpiece in front of the camera")
    class_list: str = pa.Field(nullable=True, description="version of the class list that gave the class its name")
    object_id: str = pa.Field(
        nullable=True, description="the object it shows; null in tables written before there were ids"
    )
    extra: str = pa.Field(nullable=True)

    class Config(BaseConfig):
        """Exactly these columns in this order; a detection has one row."""

        strict = True
        ordered = True
        unique = ["image_path", "index"]  # noqa: RUF012 - pandera wants a plain list

    @pa.dataframe_check(error="timestamp lies outside the years 1970 to 2099: it means no time")
    def timestamp_in_calendar(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """A moment that an hour can hold; the zero times of Go and .NET are none."""
        return data.lazyframe.select(pl.col("timestamp").is_between(FIRST_MOMENT, END_OF_HOURS, closed="left"))

    @pa.dataframe_check(error="bbox is not [x1, y1, x2, y2] with x1 <= x2 and y1 <= y2")
    def box_ordered(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """Corners in order."""
        return data.lazyframe.select((pl.col("x1") <= pl.col("x2")) & (pl.col("y1") <= pl.col("y2")))

    @pa.dataframe_check(error="bbox reaches outside the frame")
    def box_in_frame(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """Inside ``[0, width] x [0, height]`` with ``TOLERANCE_PX``; the far side only where the size is known."""
        left_top = pl.min_horizontal("x1", "y1") >= -TOLERANCE_PX
        right = (pl.col("x2") <= pl.col("width") + TOLERANCE_PX).fill_null(True)
        bottom = (pl.col("y2") <= pl.col("height") + TOLERANCE_PX).fill_null(True)
        return data.lazyframe.select(left_top & right & bottom)


class QuarantineTable(pa.DataFrameModel):
    """One row per thing that did not become a row of the tables: a whole record or a single detection."""

    camera_id: str
    hour: Moment
    kind: str = pa.Field(isin=["record", "detection"])
    image_path: str = pa.Field(nullable=True)
    index: pl.Int64 = pa.Field(nullable=True, description="of a detection in its record")
    reason: str = pa.Field(str_length={"min_value": 1})
    source: str
    raw: str = pa.Field(description="the JSON as it came, as far as it is text")

    class Config(BaseConfig):
        """Exactly these columns in this order."""

        strict = True
        ordered = True


TableModel = type[FramesTable] | type[DetectionsTable] | type[QuarantineTable]


def polars_schema(model: TableModel) -> pl.Schema:
    """Names and types of a table, in order."""
    return pl.Schema({name: _dtype(column) for name, column in model.to_schema().columns.items()})


def _dtype(column: Any) -> pl.DataType:
    return column.dtype.type


def failures(model: TableModel, table: pl.DataFrame) -> dict[int, str]:
    """Rows of ``table`` that break a rule of ``model``.

    Args:
        model: the rules.
        table: of the model's columns and types.

    Returns:
        Row number to the reasons, joined with ``; ``. Empty when the table is valid.

    Raises:
        pandera.errors.SchemaErrors: the table as a whole is wrong (columns, types): a bug, not bad input.
    """
    try:
        model.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        if not cases["index"].null_count():
            return _by_row(cases)
        if table.schema != polars_schema(model):
            raise
        wrong = "; ".join(cases.filter(pl.col("index").is_null())["failure_case"].cast(pl.String).unique().sort())
    except (pl.exceptions.PolarsError, ArithmeticError, ValueError) as error:
        wrong = str(error)
    else:
        return {}
    # A rule could not be applied at all, which says nothing of single rows: those that it can be applied to keep it.
    if table.height == 1:
        return {0: f"a rule could not be checked: {' '.join(wrong.split())}"}
    half = table.height // 2
    return {
        **failures(model, table.slice(0, half)),
        **{half + row: reason for row, reason in failures(model, table.slice(half)).items()},
    }


def _by_row(cases: pl.DataFrame) -> dict[int, str]:
    by_row: dict[int, list[str]] = {}
    for case in cases.sort("index", "column", "check").iter_rows(named=True):
        place = "" if case["schema_context"] == "DataFrameSchema" else f"{case['column']}: "
        reasons = by_row.setdefault(int(case["index"]), [])
        if (reason := f"{place}{case['check']}") not in reasons:
            reasons.append(reason)
    return {row: "; ".join(reasons) for row, reasons in by_row.items()}
