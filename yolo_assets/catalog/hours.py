"""Questions about camera-hours: which hold a class, which are missing.

Belongs here: questions whose answer is a list of hours. Does not belong here: opening a catalog, and questions about
archives (``read``).
"""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches

import duckdb
import polars as pl

from yolo_assets.catalog.read import ask
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import Hour

_SOME = 8


def check_camera(connection: duckdb.DuckDBPyConnection, camera_id: str) -> None:
    """Refuse a camera that the catalog does not know: no hours and no gaps of it would be a false answer.

    Raises:
        BadInputError: not a camera id, or not a camera that has hours; the line names some that have.
    """
    known = ask(connection, "SELECT DISTINCT camera_id FROM hours ORDER BY camera_id")["camera_id"].to_list()
    if check_id(camera_id) not in known:
        near = get_close_matches(camera_id, known, _SOME) or known
        some = ", ".join(near[:_SOME]) + (" and more" if len(near) > _SOME else "")
        raise BadInputError(f"the catalog knows no camera {camera_id}; it knows {some or 'none yet'}")


def find_hours(
    connection: duckdb.DuckDBPyConnection,
    class_name: str,
    min_confidence: float,
    start: datetime,
    end: datetime,
    camera_id: str | None = None,
) -> pl.DataFrame:
    """Camera-hours that touch ``[start, end)`` and hold a detection of a class with at least that confidence.

    Returns:
        ``camera_id, hour, count, max_confidence, archives`` by hour and camera; ``count`` is of all detections of the
        class in the hour, ``archives`` how many archives (parts) hold them.
    """
    camera, given = ("AND camera_id = ?", [check_id(camera_id)]) if camera_id is not None else ("", [])
    sql = f"""
        SELECT camera_id, hour, sum(count)::BIGINT AS count, max(max_confidence) AS max_confidence,
            count(*) AS archives
        FROM archive_classes WHERE class = ? AND hour >= ? AND hour < ? {camera}
        GROUP BY camera_id, hour HAVING max(max_confidence) >= ? ORDER BY hour, camera_id
    """
    return ask(connection, sql, [class_name, Hour.of(start).start, end, *given, min_confidence])


def gap_ranges(connection: duckdb.DuckDBPyConnection, camera_id: str | None = None) -> pl.DataFrame:
    """What is missing, hours in a row as one range.

    Returns:
        ``camera_id, kind, start, end, hours``. ``kind`` is ``not archived`` (there are detections and no archive) or
        ``no data`` (neither, between the first and the last hour of the camera).
    """
    camera, given = ("WHERE camera_id = ?", [check_id(camera_id)]) if camera_id is not None else ("", [])
    sql = f"""
        WITH missing AS (
            SELECT camera_id, hour, row_number() OVER (PARTITION BY camera_id ORDER BY hour) AS n FROM gaps {camera}
        ), steps AS (
            SELECT camera_id, hour, lead(hour) OVER (PARTITION BY camera_id ORDER BY hour) AS next FROM hours {camera}
        )
        SELECT camera_id, 'not archived' AS kind, min(hour) AS start, max(hour) + INTERVAL 1 HOUR AS end,
            count(*) AS hours
        FROM missing GROUP BY camera_id, hour - n * INTERVAL 1 HOUR
        UNION ALL
        SELECT camera_id, 'no data', hour + INTERVAL 1 HOUR, next, date_diff('hour', hour, next) - 1
        FROM steps WHERE next > hour + INTERVAL 1 HOUR
        ORDER BY start, camera_id
    """
    return ask(connection, sql, given * 2)
