"""What the labels sensor reports: a red check that names each row, until it is mended or withdrawn."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.defs.learning.sensors import labels_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.learning.labels import withdraw_file
from yolo_assets.storage import ObjectStore

FOREIGN = Path(__file__).parents[1] / "foreign" / "labels"
BATCH = "annotation/batch-1/manifest.json"


class Plant:
    """Ticks of the sensor, each with the cursor of the one before."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.classes("crack", "dent")
        self.store.put(BATCH, (FOREIGN / BATCH).read_bytes())

    @property
    def store(self) -> ObjectStore:
        return Locations.from_env().store()

    def classes(self, *names: str) -> None:
        self._monkeypatch.setenv("YOLO_ASSETS_CLASSES", ",".join(names))

    def bring(self, name: str) -> None:
        self.store.put(f"{LABELS_INBOX}{Path(name).name}", (FOREIGN / name).read_bytes())

    def tick(self) -> tuple[dg.AssetMaterialization | None, dg.AssetCheckEvaluation | None]:
        """What was reported."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = labels_sensor(context, locations=Locations.from_env())
        if not isinstance(result, dg.SensorResult):
            return None, None
        self.cursor = result.cursor or self.cursor
        found = list(result.asset_events)
        for event in found:
            self.instance.report_runless_asset_event(event)
        (labels,) = [e for e in found if isinstance(e, dg.AssetMaterialization)] or [None]
        (check,) = [e for e in found if isinstance(e, dg.AssetCheckEvaluation)] or [None]
        return labels, check


@pytest.fixture
def plant(home: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    return Plant(home, monkeypatch)


def problems(check: dg.AssetCheckEvaluation | None) -> list[str]:
    assert check is not None
    return list(check.metadata["problems"].value)  # type: ignore[arg-type]


def test_good_labels_are_reported_with_a_green_check(plant: Plant) -> None:
    plant.bring("coco_round1_good.json")
    labels, check = plant.tick()
    assert labels is not None and labels.metadata["images"].value == 8
    assert check is not None and check.passed
    assert plant.tick() == (None, None)


def test_a_rejected_row_is_named_until_it_is_mended(plant: Plant) -> None:
    plant.bring("coco_iscrowd.json")
    _, check = plant.tick()
    assert check is not None and not check.passed
    (problem,) = problems(check)
    assert problem.startswith("coco_iscrowd.json: cam01_20241015_140000_000_8a01f865b36b.jpg: ")
    assert plant.tick() == (None, None)
    plant.bring("coco_round1_good.json")
    labels, check = plant.tick()
    assert labels is not None
    assert check is not None and check.passed


def test_a_bad_file_turns_the_check_red_until_it_is_taken_away(plant: Plant) -> None:
    plant.bring("inbox_with_a_damaged_zip/a_damaged.zip")
    plant.bring("inbox_with_a_damaged_zip/b_good.json")
    labels, check = plant.tick()
    assert labels is not None and labels.metadata["images"].value == 3
    assert [problem.split(": ")[0] for problem in problems(check)] == ["a_damaged.zip"]
    plant.store.delete(f"{LABELS_INBOX}a_damaged.zip")
    labels, check = plant.tick()
    assert labels is None
    assert check is not None and check.passed


def test_a_class_or_a_batch_that_came_is_noticed_by_itself(plant: Plant) -> None:
    plant.bring("coco_class_added_later.json")
    _, check = plant.tick()
    assert len(problems(check)) == 2
    plant.classes("crack", "dent", "scratch")
    labels, check = plant.tick()
    assert labels is not None and labels.metadata["images"].value == 2
    assert check is not None and check.passed


def test_labels_that_came_before_their_batch_are_taken_when_it_comes(plant: Plant) -> None:
    plant.store.delete(BATCH)
    plant.bring("coco_round1_good.json")
    _, check = plant.tick()
    assert len(problems(check)) == 8
    assert plant.tick() == (None, None)
    plant.store.put(BATCH, (FOREIGN / BATCH).read_bytes())
    labels, check = plant.tick()
    assert labels is not None and labels.metadata["images"].value == 8
    assert check is not None and check.passed


def test_an_event_stays_small_however_much_is_wrong(plant: Plant) -> None:
    rows = ",".join(f'{{"data":{{"image":"{"x" * 500}{n}.jpg"}},"annotations":7}}' for n in range(3000))
    plant.store.put(f"{LABELS_INBOX}many.json", f"[{rows}]".encode())
    assert plant.tick()[0] is None, "no label came, so nothing is reported to the dataset"
    good = (FOREIGN / "coco_round1_good.json").read_bytes()
    for number in range(200):
        plant.store.put(f"{LABELS_INBOX}good-{number}.json", good + b" " * number)
    plant.store.delete(f"{LABELS_INBOX}many.json")
    plant.store.put(f"{LABELS_INBOX}more.json", f"[{rows}, 7]".encode())
    labels, check = plant.tick()
    assert labels is not None and check is not None
    assert check.metadata["count"].value == 6001
    assert len(dg.serialize_value(check)) + len(dg.serialize_value(labels)) < 100_000


def test_an_archive_that_is_away_keeps_no_labels_waiting(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Locations) -> None:
        from yolo_assets.storage import StoreUnavailableError

        raise StoreUnavailableError("the disk is not mounted")

    monkeypatch.setattr(Locations, "archive", away)
    plant.bring("coco_round1_good.json")
    labels, _ = plant.tick()
    assert labels is not None and labels.metadata["images"].value == 8


def test_the_check_can_be_run_by_hand(plant: Plant) -> None:
    from yolo_assets.defs.learning.checks import every_label_accepted

    plant.bring("coco_iscrowd.json")
    result = every_label_accepted(locations=Locations.from_env())
    assert isinstance(result, dg.AssetCheckResult) and not result.passed


def test_a_withdrawn_file_is_noticed_by_itself(plant: Plant) -> None:
    plant.bring("coco_round1_good.json")
    plant.bring("coco_iscrowd.json")
    first, check = plant.tick()
    assert first is not None and check is not None and not check.passed
    withdraw_file(plant.store, "coco_iscrowd.json", by="Ada")
    labels, check = plant.tick()
    assert labels is not None and labels.tags != first.tags, "the dataset follows"
    assert check is not None and check.passed
    assert plant.tick() == (None, None)
