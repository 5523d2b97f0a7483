"""Which labels of an image count, what was said before, what differs, and what test labels need to change."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.classes.stored import change_class_list
from yolo_assets.contracts.class_list import ClassEntry
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import DATASET_POINTER, dataset_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.learning.dataset import DatasetPointer
from yolo_assets.learning.label_history import LabelHistory, accepted, told
from yolo_assets.learning.labels import import_inbox, withdraw_file
from yolo_assets.learning.plant_classes import allowed_class_names
from yolo_assets.learning.records import AcceptedLabels, DatasetItem, DatasetManifest, LabelBox, LabelledImage
from yolo_assets_tests.learning.label_inbox import CLASSES, FILES, Inbox, coco, said
from yolo_assets_tests.learning.test_label_studio_labels import region, task

ONE, TWO, THREE = ({"bbox": [x, 20, 30, 40]} for x in (10, 50, 90))
OLD = {"updated_at": "2024-10-15T15:00:00Z"}


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    return Inbox(tmp_path)


def count(inbox: Inbox, image: str = "0") -> int:
    return len(inbox.boxes()[image])


def freeze_test_split(inbox: Inbox, *numbers: int) -> None:
    """A dataset whose test split has these images of the batch."""
    items: list[DatasetItem] = []
    for number in numbers:
        image = inbox.images()[str(number)]
        fields = image.model_dump(include={"image_path", "sha256", "width", "height", "boxes"})
        items.append(DatasetItem.model_validate(fields | {"split": "test", "group": "g", "dhash": "0" * 64}))
    manifest = DatasetManifest(class_names=CLASSES, items=tuple(items)).to_json()
    sha256 = hashlib.sha256(manifest).hexdigest()
    inbox.store.put(dataset_key(sha256, "manifest.json"), manifest)
    inbox.store.put(DATASET_POINTER, DatasetPointer(sha256=sha256).to_json())


def test_a_correction_survives_an_older_export(inbox):
    inbox.bring([task(0, region(), annotation=OLD)], name="week1.json")
    inbox.bring(coco([ONE, TWO]), name="correction.json")
    again = [task(0, region(), annotation=OLD), task(1, region(), annotation=OLD)]
    report = inbox.bring(again, name="week2.json")
    assert (count(inbox, "0"), count(inbox, "1")) == (2, 1)
    assert report.problems == []
    assert report.notes == ["images whose labels were changed since, elsewhere, and stay as they are: 1"]


def test_a_change_in_the_tool_after_a_correction_counts(inbox):
    inbox.bring(coco([ONE, TWO]), name="correction.json")
    later = {"updated_at": (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()}
    inbox.bring([task(0, region(), annotation=later)], name="later.json")
    assert count(inbox) == 1


def test_a_tool_whose_clock_is_ahead_does_not_win_for_ever(inbox):
    inbox.bring([task(0, region(), annotation={"updated_at": "2099-01-01T00:00:00Z"})], name="ahead.json")
    inbox.bring(coco([ONE, TWO]), name="correction.json")
    assert count(inbox) == 2


def test_a_file_without_times_that_undoes_a_correction_is_asked_about(inbox):
    inbox.bring(coco([ONE, TWO], [ONE]), name="first.json")
    inbox.bring(coco([ONE, TWO, THREE]), name="correction.json")
    document = coco([ONE, TWO], [THREE])
    document["images"][0]["reviewed"] = document["images"][1]["reviewed"] = True
    report = inbox.bring(document, name="old.json")
    assert "has again the labels of first.json that correction.json corrected" in said(report)
    assert (count(inbox, "0"), report.images, report.unreviewed) == (3, 1, 1)
    report = inbox.bring(document, name="old.json", options="reviewed: all")
    assert (count(inbox, "0"), report.problems) == (2, [])


def test_the_last_known_change_counts_in_whatever_order_files_come(inbox):
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    @given(st.permutations(range(4)), st.lists(st.none() | st.integers(1, 9), min_size=4, max_size=4))
    def check(order: list[int], times: list[int | None]) -> None:
        files: list[AcceptedLabels] = []
        for place, number in enumerate(order):
            hours = times[number]
            image = LabelledImage(
                image_path="a.jpg",
                sha256="a" * 64,
                width=9,
                height=9,
                boxes=(LabelBox.model_validate({"bbox": (0, 0, 1 + number, 9), "class": "crack"}),),
                labelled_at=None if hours is None else moment - timedelta(hours=hours),
            )
            files.append(
                AcceptedLabels(
                    source_file=f"{number}",
                    source_sha256=f"{number}" * 64,
                    format="coco",
                    imported_at=moment + timedelta(minutes=place),
                    images=(image,),
                )
            )
        counts = LabelHistory(files).counting()["a" * 64]
        without = [number for number in order if times[number] is None]
        if without:
            assert counts.file.source_file == str(without[-1])
        else:
            assert times[int(counts.file.source_file)] == min(t for t in times if t is not None)

    check()


def test_the_history_names_who_when_tool_and_round(inbox):
    inbox.bring([task(0, region(), annotation=OLD | {"completed_by": {"email": "ada@plant"}})], name="a.json")
    inbox.bring(coco([ONE, TWO]), name="b.json", options="by: Ben\n")
    history = inbox.history()
    (sha256,) = history.find("20241015_14/20241015_140000_000.jpg")
    first, second = history.of(sha256)
    assert (first.image.annotator, first.file.tool, first.image.batch) == ("ada@plant", "Label Studio", "batch-1")
    assert first.changed_at == datetime(2024, 10, 15, 15, tzinfo=UTC)
    assert (second.image.annotator, second.file.tool, told(second.image.boxes)) == ("Ben", None, "2 crack")
    assert [history.state(one) for one in (first, second)] == ["replaced", "counts"]


@pytest.mark.parametrize("name", [FILES[3], f"images/{FILES[3]}", "cam01/20241015_14/20241015_140003_000.jpg"])
def test_an_image_is_found_by_each_of_its_names(inbox, name):
    inbox.bring(coco([ONE], [ONE], [ONE], [ONE]))
    (sha256,) = inbox.history().find(name)
    assert inbox.history().of(sha256)[0].image.image_path.endswith("_140003_000.jpg")
    assert inbox.history().find(sha256[:9].upper()) == [sha256]
    assert inbox.history().find("0003_000.jpg") == []


def test_files_that_differ_are_a_conflict_until_it_is_settled(inbox):
    inbox.bring(coco([ONE], [ONE]), name="a.json")
    inbox.bring(coco([ONE, TWO], [{"bbox": [10.4, 19.6, 30, 40.7]}]), name="b.json")
    (conflict,) = inbox.history().conflicts()
    assert conflict.counts.file.source_file == "b.json" and conflict.file.source_file == "a.json"
    inbox.bring(coco([ONE, TWO], [ONE]), name="c.json", options="reviewed: all")
    assert inbox.history().conflicts() == []


def test_an_answer_beside_an_old_file_settles_its_conflicts(inbox):
    inbox.bring(coco([ONE]), name="a.json")
    document = coco([ONE, TWO])
    inbox.bring(document, name="b.json")
    assert len(inbox.history().conflicts()) == 1
    inbox.bring(document, name="b.json", options=f"reviewed: [{FILES[0]}]")
    assert inbox.history().conflicts() == []
    assert count(inbox) == 2


def test_a_later_change_in_one_tool_is_no_conflict(inbox):
    inbox.bring([task(0, region(), annotation=OLD)], name="a.json")
    inbox.bring([task(0, annotation={"updated_at": "2024-10-15T16:00:00Z"})], name="b.json")
    assert inbox.boxes() == {"0": []}
    assert inbox.history().conflicts() == []


def test_what_waits_about_a_labelled_image_is_a_conflict(inbox):
    inbox.bring(coco([ONE, TWO]), name="a.json")
    inbox.bring(coco([ONE]), name="b.json")
    (conflict,) = inbox.history().conflicts()
    assert conflict.why.startswith("waits: boxes would go") and conflict.file.source_file == "b.json"


def test_test_labels_change_only_when_they_are_named(inbox):
    inbox.bring(coco([ONE], [ONE], [ONE]), name="a.json")
    freeze_test_split(inbox, 0, 1)
    document = coco([ONE, TWO], [ONE, TWO], [ONE, TWO])
    report = inbox.bring(document, name="b.json", options="reviewed: all")
    assert [count(inbox, name) for name in "012"] == [1, 1, 2]
    assert said(report).count("in the test split and its labels would change: 1 crack, then 2 crack") == 2
    report = inbox.bring(document, name="b.json", options=f"reviewed: all\nchange_test_labels: [{FILES[0]}]")
    assert [count(inbox, name) for name in "012"] == [2, 1, 2]
    assert len(report.problems) == 1


def test_even_a_newer_answer_of_the_tool_changes_no_test_label(inbox):
    inbox.bring([task(0, region(), annotation=OLD)], name="a.json")
    freeze_test_split(inbox, 0)
    report = inbox.bring([task(0, annotation={"updated_at": "2024-10-15T16:00:00Z"})], name="b.json")
    assert "1 crack, then background" in said(report)
    assert count(inbox) == 1


def test_rounding_by_a_tool_leaves_test_labels_as_they_are(inbox):
    inbox.bring(coco([ONE]), name="a.json")
    before = inbox.boxes()
    freeze_test_split(inbox, 0)
    report = inbox.bring(coco([{"bbox": [10.6, 19.5, 30, 40]}]), name="b.json")
    assert report.problems == []
    assert inbox.boxes() == before


def test_a_withdrawn_file_no_longer_counts_and_can_come_back(inbox):
    inbox.bring(coco([ONE]), name="a.json")
    inbox.bring(coco([ONE, TWO], [ONE]), name="b.json")
    withdrawn = withdraw_file(inbox.store, "b.json", by="Ada", reason="wrong project")
    assert withdrawn.withdrawn is not None and withdrawn.withdrawn.by == "Ada"
    assert {name: len(found) for name, found in inbox.boxes().items()} == {"0": 1}
    report = inbox.bring(coco([ONE, TWO], [ONE]), name="b.json")
    assert (report.images, report.problems) == (0, [])
    assert any("withdrawn at" in note and "by Ada" in note for note in report.notes)
    withdraw_file(inbox.store, withdrawn.source_sha256[:8], undo=True)
    assert {name: len(found) for name, found in inbox.boxes().items()} == {"0": 2, "1": 1}


def test_a_withdrawal_that_changes_test_labels_names_them(inbox):
    inbox.bring(coco([ONE], [ONE]), name="a.json")
    freeze_test_split(inbox, 1)
    with pytest.raises(BadInputError, match="1 images of the test split would change: cam01"):
        withdraw_file(inbox.store, "a.json")
    assert set(inbox.boxes()) == {"0", "1"}
    withdraw_file(inbox.store, "a.json", change_test_labels=["20241015_140001_000.jpg"])
    assert inbox.boxes() == {}


@pytest.mark.parametrize(("name", "words"), [("x.json", "labels ls"), ("twice.json", "by its SHA-256")])
def test_a_file_that_is_not_certain_is_not_withdrawn(inbox, name, words):
    for boxes in ([ONE], [TWO]):
        inbox.bring(coco(boxes), name="twice.json")
    with pytest.raises(BadInputError, match=words):
        withdraw_file(inbox.store, name)
    with pytest.raises(BadInputError, match="nothing to undo"):
        withdraw_file(inbox.store, accepted(inbox.store)[0].source_sha256[:8], undo=True)


def test_a_withdrawn_file_mends_nothing_and_asks_nothing(inbox):
    bad: dict[str, Any] = coco([ONE], [dict(ONE, iscrowd=1)])
    inbox.bring(bad, name="a.json")
    inbox.bring(coco([TWO], [TWO]), name="b.json")
    assert [report.problems for report in import_inbox(inbox.store, CLASSES).files] == [[], []]
    withdraw_file(inbox.store, "b.json")
    reports = {report.file.rsplit("/", 1)[-1]: report for report in import_inbox(inbox.store, CLASSES).files}
    assert len(reports["a.json"].problems) == 1
    withdraw_file(inbox.store, "a.json")
    assert import_inbox(inbox.store, CLASSES).open_problems == []


def test_names_of_the_list_are_known_and_others_get_the_nearest(inbox):
    settings = Settings(home=Path("unused"))
    categories = [{"id": n, "name": name} for n, name in enumerate(("crack", "Dent"), 1)]
    for first in (ClassEntry(name="crack"), ClassEntry(name="fissure", aliases=("crack",))):
        entries = (first, ClassEntry(name="dent"))
        change_class_list(inbox.store, lambda _, e=entries: e, by="Ada", what="names")
        document = coco([ONE], [dict(ONE, category_id=2)], categories=categories, info={"list": first.name})
        report = inbox.bring(document, name=f"{first.name}.json", classes=allowed_class_names(inbox.store, settings))
        assert "unknown class 'Dent' (did you mean dent?)" in said(report)
        assert report.images == 1
    renamed = coco([ONE], categories=[{"id": 1, "name": "fissure"}])
    inbox.bring(renamed, classes=allowed_class_names(inbox.store, settings))
    assert inbox.history().conflicts() == [], "a class by its old name and by its new one is the same"
