"""The validation pack of a release: its pages read by other people's readers, its figures by scipy and by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pdf_oxide
import pikepdf
import pytest
from pypdf import PdfReader

from yolo_assets.cli.main import main
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.contracts.model import ONNX, Interval
from yolo_assets.contracts.names import dataset_key, training_key
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys, create_key_pairs
from yolo_assets.learning.records import DatasetItem, DatasetManifest, LabelBox
from yolo_assets.models.approvals import Approvals, ApprovalsMissingError
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gated_release import release_candidate
from yolo_assets.models.promotion import Promoter, ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets.validation.content import counted, independence
from yolo_assets_tests.models.figures import evaluation
from yolo_assets_tests.models.release_support import byte_bundle

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
USE = "Finds cracks and pores on welds of line A under the ring light. Not for painted parts."


def item(number: int, split: str, **changes: Any) -> DatasetItem:
    box = LabelBox.model_validate({"bbox": (1, 2, 30, 40), "class": "crack"})
    fields: dict[str, Any] = {
        "image_path": f"cam01/20260301_10/{number}.jpg",
        "sha256": f"{number:064x}",
        "split": split,
        "group": f"g{number}",
        "width": 64,
        "height": 64,
        "boxes": (box,),
        "camera_id": "cam01",
        "captured_at": AT + timedelta(seconds=10 * number),
        "dhash": "0" * 64,
        "object_ids": (f"cam01/20260301_10/{number}",),
    }
    return DatasetItem(**(fields | changes))


class Line:
    """Two versions that the same limits judged, the second approved by two people and released."""

    def __init__(self, home: Path) -> None:
        self.home = home
        store = open_store((home / "store").as_uri())
        create_key_pairs([home / "keys" / "promotion", *(home / "people" / name for name in ("anna", "ben"))])
        keys = ", ".join(f"{name}: people/{name}.pub" for name in ("anna", "ben"))
        (home / "plant.yaml").write_text(f"people:\n  needed: 2\n  keys: {{{keys}}}\n")
        signer = Signer.load(home / "keys" / "promotion")
        self.registry = Registry(store, TrustedKeys.of(signer))
        splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
        items = tuple(item(number, split) for number, split in enumerate(splits))
        data = DatasetManifest(class_names=("crack", "pore"), items=items, labels=("f" * 64,)).to_json()
        self.dataset = hashlib.sha256(data).hexdigest()
        store.put(dataset_key(self.dataset, "manifest.json"), data)
        free = Promoter(self.registry, signer, check=lambda bundle, run: None)
        for version in ("1", "2"):
            bundle = byte_bundle(version, training_fingerprint=version * 64, dataset_sha256=self.dataset)
            self.registry.write_bundle(*bundle)
        self.judge(free, "1", AT)
        people = load_plant(Settings(home=home)).people
        assert people is not None
        approvals = Approvals(store, people, self.registry.trusted)
        strict = Promoter(self.registry, signer, check=lambda bundle, run: None, approvals=approvals)
        with pytest.raises(ApprovalsMissingError):
            self.judge(strict, "2", AT + timedelta(days=1))
        for name in ("anna", "ben"):
            approvals.approve("line", "stable", "2", Signer.load(home / "people" / name))
        strict.promote(ReleaseRequest("line", "2", "stable", "anna", "better on pores"))

    def judge(self, promoter: Promoter, version: str, at: datetime) -> None:
        manifest = self.registry.read_manifest("line", version, signed=False).manifest
        sha = manifest.files[ONNX].sha256
        candidate = evaluation(version, onnx_sha256=sha, evaluated_at=at)
        champion = None
        if version == "2":
            first = self.registry.read_manifest("line", "1").manifest
            champion = evaluation("1", onnx_sha256=first.files[ONNX].sha256, evaluated_at=at)
        gain = Interval(value=0.02, low=0.01, high=0.03) if champion else None
        figures = PairedEvaluation(candidate=candidate, champion=champion, map50_gain=gain)
        self.registry.store.put(training_key(version * 64, "evaluation/a/comparison.json"), figures.to_json())
        release_candidate(promoter, figures, GatePolicy(), channel="stable", by="gate")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(tmp_path_factory.mktemp("line"))


def command(line: Line, monkeypatch: pytest.MonkeyPatch, *words: object) -> int | str | None:
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(line.home))
    monkeypatch.setattr(sys, "argv", ["yolo-assets", "models", "validation", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.fixture
def pack(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pack"
    assert command(line, monkeypatch, "line/2", "--out", folder, "--use", USE, "--by", "C. Auditor") == 0
    return folder


def test_the_pages_say_what_an_assessor_asks(line: Line, pack: Path) -> None:
    text = " ".join(" ".join(page.extract_text().split()) for page in PdfReader(pack / "validation.pdf").pages)
    for wanted in (
        *("Validation of line/2", USE, "2. Data and its independence", line.dataset[:20]),
        *("3. Limits, set before the test", "The same limits judged line/1", "min_map50"),
        *("4. Results", "mAP50", "exact 95 % interval", "5. Approvals", "Approved by anna, ben; 2 must approve"),
        *("better on pores", "C. Auditor"),
    ):
        assert wanted in text, wanted
    paper = str(pack / "validation.pdf")
    checked = pdf_oxide.PdfDocument(paper).validate_pdf_a("3u")
    assert not checked["errors"], checked
    with pikepdf.open(paper) as pdf:
        attached = {name: bytes(pdf.attachments[name].get_file().read_bytes()) for name in pdf.attachments}
    assert attached == {name: (pack / name).read_bytes() for name in ("validation.json", "validation.json.dsse")}


def test_the_record_has_the_figures_and_names(line: Line, pack: Path) -> None:
    record = json.loads((pack / "validation.json").read_bytes())
    assert record["data"]["splits"]["train"]["images"] == 6 and record["data"]["splits"]["test"]["objects"] == 4
    apart = record["data"]["independence"]
    assert (apart["same_pictures"], apart["shared_groups"], apart["shared_objects"]) == (0, 0, 0)
    assert apart["closest_seconds"] == 10
    assert record["limits"]["set_before"] is True and record["limits"]["first_used_for"] == "line/1"
    assert record["approvals"]["approved_by"] == ["anna", "ben"]
    assert [one["meaning"] for one in record["approvals"]["signatures"]] == ["approved", "approved"]
    assert all(one["at"].endswith("Z") for one in record["approvals"]["signatures"])
    assert [one["by"] for one in record["approvals"]["releases"]] == ["anna"]
    assert record["results"]["passed"] is True and record["results"]["compared_with"] == "line/1"
    assert record["gaps"] == []
    assert sorted(path.name for path in pack.iterdir()) == [
        *("gate.json", "manifest.json", "manifest.json.dsse", "manifest.json.sig", "proposal.json"),
        *("validation.json", "validation.json.dsse", "validation.pdf"),
    ]


def test_one_changed_byte_is_found_and_openssl_agrees(
    line: Line, pack: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = line.home / "keys" / "promotion.pub"
    assert command(line, monkeypatch, "--check", pack, "--trusted-key", key) == 0
    envelope = orjson.loads((pack / "validation.json.dsse").read_bytes())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", tmp_path / "signed"]
    subprocess.run([*verify, "-sigfile", tmp_path / "sig"], check=True, capture_output=True)
    data = (pack / "validation.json").read_bytes()
    (pack / "validation.json").write_bytes(data.replace(b'"same_pictures":0', b'"same_pictures":1'))
    assert command(line, monkeypatch, "--check", pack, "--trusted-key", key) == 1
    assert "is not what was signed" in capfd.readouterr().err
    assert command(line, monkeypatch, "--check", pack) == 2, "a key is needed"


def test_what_is_not_on_record_is_named(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line.registry.write_bundle(*byte_bundle("3"))
    assert command(line, monkeypatch, "line/3", "--out", tmp_path / "third", "--use", USE) == 0
    told = capfd.readouterr().err
    for gap in ("never judged", "data that trained this version are not on record", "0 of 2 people", "never served"):
        assert gap in told
    text = " ".join(page.extract_text() for page in PdfReader(tmp_path / "third" / "validation.pdf").pages)
    assert "What is not shown" in text
    assert command(line, monkeypatch, "line/1", "--out", tmp_path / "first", "--use", USE) == 0
    assert "No earlier use of these limits is on record" in capfd.readouterr().err


def test_leaks_between_splits_are_counted() -> None:
    items = [item(0, "train"), item(1, "test", group="g0"), item(2, "test", object_ids=("cam01/20260301_10/0",))]
    items.append(item(3, "val", sha256=f"{1:064x}", captured_at=items[1].captured_at))
    found = independence(items)
    assert (found.same_pictures, found.shared_groups, found.shared_objects) == (1, 1, 1)
    assert found.closest_seconds == 0
    unknown = independence([item(0, "train", object_ids=()), item(1, "test")])
    assert unknown.shared_objects is None


def test_exact_intervals() -> None:
    """Bounds of Clopper and Pearson for 9 of 10, as printed in tables."""
    interval = counted(9, 10).interval
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.5550, 0.9975)
