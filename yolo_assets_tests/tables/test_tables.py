"""Every record ends in exactly one place, and what is in the tables keeps the rules."""

from __future__ import annotations

import json
from datetime import timedelta

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.spool.records import BadRecord
from yolo_assets.tables.rows import build_tables
from yolo_assets.tables.schema import DetectionsTable, FramesTable, QuarantineTable, failures, polars_schema
from yolo_assets_tests.tables.detection_records import CAMERA, NOON, any_records, detection_json, found, record


def build(*records):
    return build_tables(CAMERA, NOON, found(*records))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(any_records)
def test_every_record_ends_in_exactly_one_place(records):
    tables = build(*records)
    by_kind = dict(tables.quarantine.group_by("kind").len().iter_rows())
    assert len(records) == tables.frames.height + by_kind.get("record", 0) + tables.repeated

    # And every detection of a record that stayed: its positions are all there, as a row or in quarantine.
    lengths: dict[str, set[int]] = {}
    for r in records:
        if isinstance(r, DetectionRecord) and (r.camera_id or CAMERA) == CAMERA:
            path = r.image_path if "/" in r.image_path else f"{CAMERA}/{NOON.key}/{r.image_path}"
            lengths.setdefault(path, set()).add(len(r.detections))
    alone = tables.quarantine.filter(pl.col("kind") == "detection")
    for path in tables.frames["image_path"]:
        places = [t.filter(pl.col("image_path") == path)["index"].to_list() for t in (tables.detections, alone)]
        assert sorted(places[0] + places[1]) == list(range(len(places[0] + places[1])))
        assert len(places[0] + places[1]) in lengths[path]
    assert tables.frames["n_detections"].sum() == tables.detections.height


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(any_records)
def test_tables_keep_their_rules_and_quarantine_has_reasons(records):
    tables = build(*records)
    for model, table in (
        (FramesTable, tables.frames),
        (DetectionsTable, tables.detections),
        (QuarantineTable, tables.quarantine),
    ):
        model.validate(table)
        assert table.schema == polars_schema(model)
    frames = tables.frames
    assert frames["image_path"].is_unique().all()
    near = timedelta(hours=1)  # a folder may be turned a little early or late
    assert ((frames["captured_at"] >= NOON.start - near) & (frames["captured_at"] < NOON.end + near)).all()
    assert set(tables.detections["image_path"]) <= set(frames["image_path"])
    sized = tables.detections.filter(pl.col("width").is_not_null())
    assert (sized["x2"] <= sized["width"] + 1).all()


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(any_records, st.randoms())
def test_order_of_different_images_does_not_matter(records, random):
    by_name = {r.source if isinstance(r, BadRecord) else r.image_path.rsplit("/")[-1]: r for r in records}
    one_per_image = list(by_name.values())
    tables = build(*one_per_image)
    shuffled = list(one_per_image)
    random.shuffle(shuffled)
    again = build(*shuffled)
    assert tables.frames.equals(again.frames)
    assert tables.detections.equals(again.detections)
    assert tables.quarantine.equals(again.quarantine)


def test_a_good_record_gives_its_figures():
    tables = build(record(2.5, detections=[detection_json(2.5), detection_json(2.5, confidence=0.3)]))
    assert tables.quarantine.is_empty()
    frame = tables.frames.row(0, named=True)
    assert frame["camera_id"] == CAMERA
    assert frame["captured_at"].isoformat() == "2026-01-02T12:00:02.500000+00:00"
    assert (frame["sequence"], frame["width"], frame["height"], frame["batch_id"]) == (25, 640, 480, "B7")
    assert (frame["blur"], frame["brightness"], frame["n_detections"]) == (100.0, 120.0, 2)
    detections = tables.detections.to_dicts()
    assert [d["index"] for d in detections] == [0, 1]
    assert [d["confidence"] for d in detections] == [0.8, 0.3]
    assert (detections[0]["x1"], detections[0]["y1"], detections[0]["x2"], detections[0]["y2"]) == (10, 20, 110, 120)


def test_the_bare_contract_of_a_foreign_producer_is_enough():
    bare = DetectionRecord.model_validate(
        {
            "image_path": f"{CAMERA}/{NOON.key}/foreign.jpg",
            "detections": [detection_json(9)],
            "model_version": "yolov8n",
            "device_id": "cam",
        }
    )
    frame = build(bare).frames.row(0, named=True)
    assert frame["camera_id"] == CAMERA
    assert frame["captured_at"].second == 9  # the detection's
    assert frame["width"] is None and frame["image_saved"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"camera_id": "other"}, "names camera 'other' but lies in the folder of 'lineA_cam01'"),
        ({"image_path": f"other/{NOON.key}/a.jpg"}, "not in the folder of its camera and hour"),
        ({"image_path": f"{CAMERA}/20260102_11/a.jpg"}, "not in the folder of its camera and hour"),
        ({"captured_at": "2026-01-02T14:00:00Z"}, "outside the hour"),
        ({"captured_at": "2026-01-02T10:59:59.999Z"}, "outside the hour"),
        ({"sequence": 2**63}, "does not fit 64 bits"),
        (
            {"image_path": f"{CAMERA}/{NOON.key}/a.jpg", "captured_at": None, "detections": []},
            "no capture time",
        ),
    ],
)
def test_bad_record_is_quarantined_whole(changes, reason):
    tables = build(record(1, **changes), record(2))
    assert tables.frames.height == 1
    bad = tables.quarantine.row(0, named=True)
    assert bad["kind"] == "record"
    assert reason in bad["reason"]
    raw = json.loads(bad["raw"])
    assert raw["device_id"] == "edge-1" and len(raw["detections"]) == len(record(1, **changes).detections)


@pytest.mark.parametrize(
    ("box", "good"),
    [
        ([-1, -1, 641, 481], True),
        ([-1.01, 0, 10, 10], False),
        ([0, 0, 641.01, 10], False),
        ([0, 0, 10, 481.01], False),
        ([640, 480, 640, 480], True),
    ],
)
def test_bad_box_is_quarantined_alone(box, good):
    tables = build(record(1, detections=[detection_json(), detection_json(bbox=box)]))
    assert tables.frames["n_detections"].to_list() == [2 if good else 1]
    assert tables.detections.height == (2 if good else 1)
    if not good:
        bad = tables.quarantine.row(0, named=True)
        assert (bad["kind"], bad["index"], bad["reason"]) == ("detection", 1, "bbox reaches outside the frame")
        assert json.loads(bad["raw"])["bbox"] == box


def test_far_side_is_not_checked_without_a_size():
    tables = build(record(1, width=None, height=None, detections=[detection_json(bbox=[0, 0, 9000, 9000])]))
    assert tables.detections.height == 1


def test_a_repetition_is_counted_and_a_contradiction_is_quarantined():
    tables = build(record(1), record(1), record(1, model_version="line/v2"))
    assert tables.repeated == 1
    assert tables.frames["model_version"].to_list() == ["line/v1"]
    assert tables.quarantine["reason"].to_list() == ["another record of the same image says something else"]


def test_unreadable_bytes_are_kept():
    bad = BadRecord("Invalid JSON", "lineA_cam01/20260102_12/records.ndjson:3", b'{"image_path": \xff')
    tables = build(bad, bad)
    assert tables.repeated == 1
    assert tables.quarantine["raw"].to_list() == ['{"image_path": \\xff']
    assert tables.quarantine["source"].to_list() == ["lineA_cam01/20260102_12/records.ndjson:3"]


def test_unknown_keys_are_kept():
    tables = build(record(1, operator="Ada", detections=[detection_json(track=7)], quality={"blur": 1.0, "glare": 2}))
    assert json.loads(tables.frames["extra"][0]) == {"operator": "Ada", "quality": {"glare": 2}}
    assert json.loads(tables.detections["extra"][0]) == {"track": 7}


def test_part_mask_and_class_list_have_columns():
    of_agent = {"part_id": "SN-7", "mask_version": "a1b2", "class_list": "plant/3"}
    tables = build(record(1, **of_agent), record(2, part_id=481, mask_version=2), record(3))
    named = ["part_id", "mask_version", "class_list", "extra"]
    assert tables.frames.select(named).rows() == [
        ("SN-7", "a1b2", "plant/3", None),
        ("481", None, None, '{"mask_version":2,"part_id":481}'),  # as another producer wrote them: kept
        (None, None, None, None),
    ]
    assert tables.detections["part_id"].to_list() == ["SN-7", "481", None]
    assert tables.detections["class_list"].to_list() == ["plant/3", None, None]


def test_an_hour_without_records_gives_empty_tables():
    tables = build()
    assert tables.frames.schema == polars_schema(FramesTable)
    assert tables.frames.is_empty() and tables.detections.is_empty() and tables.quarantine.is_empty()


class _Fragile(FramesTable):
    """Its rule cannot be calculated for every row, as a time near the edge of the calendar once was."""

    @pa.dataframe_check(error="width is over ten")
    def over_ten(cls, data: pa.PolarsData) -> pl.LazyFrame:
        def checked(width: int) -> bool:
            if width == 13:
                raise ValueError("year 0 is out of range")
            return width > 10

        return data.lazyframe.select(pl.col("width").map_elements(checked, return_dtype=pl.Boolean))


def test_a_rule_that_fails_itself_refuses_only_the_row_it_fails_on():
    rows = build(*[record(second, width=width) for second, width in enumerate((640, 13, 9, 640))]).frames
    found = failures(_Fragile, rows)
    assert set(found) == {1, 2}
    assert "could not be checked" in found[1] and "year 0 is out of range" in found[1]
    assert found[2] == "width is over ten"


def test_a_time_that_means_no_time_refuses_that_detection_alone():
    zero = detection_json(1, timestamp="0001-01-01T00:00:00Z")
    tables = build(record(1, detections=[detection_json(1), zero, detection_json(1)]))
    assert tables.detections["index"].to_list() == [0, 2]
    assert "outside the years 1970 to 2099" in tables.quarantine["reason"][0]


def test_a_frame_just_outside_the_hour_of_its_folder_stays():
    moments = ["2026-01-02T13:00:00.100Z", "2026-01-02T11:59:59.900Z"]
    tables = build(*[record(second, captured_at=moment) for second, moment in enumerate(moments)])
    assert tables.frames.height == 2 and tables.quarantine.is_empty()


def test_a_table_with_other_columns_is_a_bug_not_a_bad_row():
    with pytest.raises(Exception, match="x1"):
        failures(DetectionsTable, build(record(1)).detections.with_columns(pl.col("x1").cast(pl.String)))
