"""``labels import`` and ``datasets build``, on files as other tools write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import refused
from yolo_assets_tests.cli.conftest import Call

FOREIGN = Path(__file__).parents[1] / "foreign" / "labels"
CLASSES = {"YOLO_ASSETS_CLASSES": "crack,dent"}


class Centre:
    """A home whose store handed out the foreign batch, and the commands run in it."""

    def __init__(self, folder: Path, call: Call) -> None:
        self.folder, self._call = folder, call
        shutil.copytree(FOREIGN / "annotation", folder / "store" / "annotation")

    def run(self, *argv: str | Path, env: dict[str, str] | None = None) -> Any:
        return self._call(*argv, home=self.folder, cwd=self.folder, env=env or CLASSES)

    def imported(self, *argv: str | Path, code: int = 0, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
        done = self.run("labels", "import", *argv, "--json", env=env)
        assert done.returncode == code, done
        return json.loads(done.stdout)

    def dataset(self) -> dict[str, Any]:
        done = self.run("datasets", "build", "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def archive(self) -> None:
        shutil.copytree(FOREIGN / "spool", self.folder / "spool")
        done = self.run("archive", "run", "--spool", self.folder / "spool", "--grace", "0")
        assert done.returncode == 0, done


@pytest.fixture
def centre(tmp_path: Path, call: Call) -> Centre:
    return Centre(tmp_path, call)


def test_a_good_file_is_imported(centre):
    (report,) = centre.imported(FOREIGN / "coco_round1_good.json")
    assert report == {
        "file": str(FOREIGN / "coco_round1_good.json"),
        **{"images": 8, "boxes": 8, "backgrounds": 0, "unreviewed": 0},
        "problems": [],
        "notes": [],
    }
    store = open_store((centre.folder / "store").as_uri())
    assert [info.key for info in store.list(LABELS_INBOX)] == [f"{LABELS_INBOX}coco_round1_good.json"]


def test_each_file_is_reported_and_a_bad_one_stops_no_other(centre):
    bad = FOREIGN / "inbox_with_a_damaged_zip" / "a_damaged.zip"
    reports = centre.imported(bad, centre.folder / "absent.json", FOREIGN / "coco_round1_good.json", code=1)
    assert [(r["images"], len(r["problems"])) for r in reports] == [(0, 1), (0, 1), (8, 0)]
    assert "export it again" in reports[0]["problems"][0]["what"]
    assert "No such file" in reports[1]["problems"][0]["what"]
    store = open_store((centre.folder / "store").as_uri())
    assert f"{LABELS_INBOX}a_damaged.zip" not in {info.key for info in store.list(LABELS_INBOX)}


def test_rejected_images_are_named_and_exit_1(centre):
    done = centre.run("labels", "import", FOREIGN / "coco_iscrowd.json")
    refused(done, "files 1 of 1, problems 1")
    assert "cam01_20241015_140000_000_8a01f865b36b.jpg: annotation 1" in done.stdout


def test_questions_are_answered_for_all_or_by_a_list(centre):
    (report,) = centre.imported(FOREIGN / "coco_half_reviewed.json", code=1)
    assert (report["images"], report["boxes"], report["backgrounds"], report["unreviewed"]) == (4, 4, 0, 4)
    (listed, *_) = asked = [problem["where"] for problem in report["problems"]]
    names = centre.folder / "seen.txt"
    names.write_text(f"{listed}\n")
    (report,) = centre.imported(FOREIGN / "coco_half_reviewed.json", "--reviewed", names, code=1)
    assert (report["images"], report["backgrounds"], report["unreviewed"]) == (5, 1, 3)
    (report,) = centre.imported(FOREIGN / "coco_half_reviewed.json", "--all-reviewed")
    assert (report["images"], report["backgrounds"], report["unreviewed"]) == (8, 4, 0)
    assert len(asked) == 4


@pytest.mark.parametrize("text", ["scratch: dent\n", '{"scratch": "dent"}', "scratch,dent\n", "scratch = dent\n"])
def test_a_class_map_turns_their_names_into_ours(centre, text):
    names = centre.folder / "names"
    names.write_text(text)
    (report,) = centre.imported(FOREIGN / "coco_class_added_later.json", "--class-map", names, "--by", "Ada")
    assert (report["images"], report["boxes"]) == (2, 2)
    store = open_store((centre.folder / "store").as_uri())
    (key,) = [info.key for info in store.list("labels/accepted/")]
    images = json.loads(store.get(key))["images"]
    assert {box["class"] for image in images for box in image["boxes"]} == {"dent"}
    assert {image["annotator"] for image in images} == {"Ada"}


def test_the_same_file_is_judged_anew_when_its_class_has_come(centre):
    (report,) = centre.imported(FOREIGN / "coco_class_added_later.json", code=1)
    assert (report["images"], len(report["problems"])) == (0, 2)
    more = {"YOLO_ASSETS_CLASSES": "crack,dent,scratch"}
    (report,) = centre.imported(FOREIGN / "coco_class_added_later.json", env=more)
    assert (report["images"], report["boxes"], report["problems"]) == (2, 2, [])


def test_a_file_imported_again_says_so_and_changes_nothing(centre):
    centre.imported(FOREIGN / "coco_round1_good.json")
    (again,) = centre.imported(FOREIGN / "coco_round1_good.json")
    assert (again["images"], again["problems"]) == (8, [])
    assert "imported before" in again["notes"][0]


def test_another_file_of_the_same_name_is_kept_beside_it(centre, tmp_path):
    other = tmp_path / "other" / "coco_round1_good.json"
    other.parent.mkdir()
    other.write_bytes((FOREIGN / "coco_round1_good.json").read_bytes() + b"\n")
    centre.imported(FOREIGN / "coco_round1_good.json")
    centre.imported(other)
    store = open_store((centre.folder / "store").as_uri())
    assert len(list(store.list(LABELS_INBOX))) == 2


def test_a_dataset_is_built_from_what_was_imported(centre):
    centre.archive()
    centre.imported(FOREIGN / "coco_round1_good.json")
    first = centre.dataset()
    assert sum(first["counts"].get(split, 0) for split in ("train", "val", "test")) == 8
    assert sum(count for name, count in first["counts"].items() if name.endswith(".crack")) == 8
    assert not any(name.endswith(".backgrounds") for name in first["counts"])
    centre.imported(FOREIGN / "coco_string_image_ids.json")
    assert centre.dataset()["counts"] == first["counts"]


def test_labels_of_archived_frames_need_no_batch(centre):
    centre.archive()
    (batch,) = (centre.folder / "store" / "annotation").iterdir()
    shutil.rmtree(batch)
    document = json.loads((FOREIGN / "coco_round1_good.json").read_text())
    for number, image in enumerate(document["images"]):
        image["file_name"] = f"frames/cam01/20241015_14/20241015_14000{number}_000.jpg"
    path = centre.folder / "by_path.json"
    path.write_text(json.dumps(document))
    (report,) = centre.imported(path)
    assert (report["images"], report["boxes"], report["problems"]) == (8, 8, [])


def correction(centre: Centre, name: str, *boxes: int) -> Path:
    """The first round again, with so many boxes for each image."""
    document = json.loads((FOREIGN / "coco_round1_good.json").read_text())
    rows = [dict(document["annotations"][n], id=n * 9 + m) for n, count in enumerate(boxes) for m in range(count)]
    for row in rows:
        row["bbox"] = [row["bbox"][0] + 20 * (row["id"] % 9), *row["bbox"][1:]]
    path = centre.folder / name
    path.write_text(json.dumps(document | {"annotations": rows, "images": document["images"][: len(boxes)]}))
    return path


def test_a_file_that_is_withdrawn_leaves_the_next_dataset(centre):
    centre.archive()
    centre.imported(FOREIGN / "coco_round1_good.json")
    first = centre.dataset()
    names = centre.folder / "named.txt"  # those of them that are test images
    names.write_text("\n".join(f"20241015_14000{n}_000.jpg" for n in range(8)))
    centre.imported(correction(centre, "second.json", *[2] * 8), "--by", "Ben", "--change-test-labels", names)
    second = centre.dataset()
    assert sum(count for name, count in second["counts"].items() if name.endswith(".crack")) == 16
    withdrawal = ("labels", "withdraw", "second.json", "--by", "Ada", "--change-test-labels", names)
    done = centre.run(*withdrawal)
    assert done.returncode == 0 and "8 of its 8 images have labels now" in done.stdout
    assert centre.dataset()["counts"] == first["counts"]
    done = centre.run(*withdrawal, "--undo", "--json")
    assert json.loads(done.stdout)["counting"] == 8
    assert centre.dataset()["counts"] == second["counts"]


def test_files_history_and_conflicts_are_listed(centre):
    centre.imported(FOREIGN / "coco_round1_good.json", "--by", "Ada")
    centre.imported(correction(centre, "second.json", 2, 1, 1), "--by", "Ben")
    centre.imported(correction(centre, "third.json", 1), "--by", "Cem", code=1)
    files = json.loads(centre.run("labels", "ls", "--json").stdout)
    assert [(f["file"], f["by"], f["images"], f["counting"], f["waiting"]) for f in files] == [
        ("coco_round1_good.json", ["Ada"], 8, 5, 0),
        ("second.json", ["Ben"], 3, 3, 0),
        ("third.json", [], 0, 0, 1),
    ]
    image = "20241015_140000_000.jpg"
    found = json.loads(centre.run("labels", "history", image, "--json").stdout)
    assert found["image"] == f"cam01/20241015_14/{image}"
    rounds = [(one["round"], one["state"], one["by"], one["told_by"], one["batch"]) for one in found["labels"]]
    assert rounds == [(1, "replaced", "Ada", "import", "batch-1"), (2, "counts", "Ben", "import", "batch-1")]
    assert [one["file"] for one in found["waiting"]] == ["third.json"]
    conflicts = json.loads(centre.run("labels", "conflicts", "--json").stdout)
    assert [(one["file"], one["counts"]["by"], one["other"] is None) for one in conflicts] == [
        ("coco_round1_good.json", "Ben", False),
        ("third.json", "Ben", True),
    ]
    for command in (("ls",), ("history", image), ("conflicts",)):
        done = centre.run("labels", *command)
        assert done.returncode == 0 and "second.json" in done.stdout
    refused(centre.run("labels", "history", "nobody.jpg"), "labels ls")
    refused(centre.run("labels", "withdraw", "nobody.json"), "labels ls")


def test_wrong_calls_are_told(centre):
    refused(centre.run("labels", "import"), code=2)
    both = centre.run("labels", "import", FOREIGN / "coco_bom.json", "--all-reviewed", "--reviewed", "x")
    refused(both, "--reviewed", code=2)
    refused(centre.run("datasets", "build"), "no accepted labels")
