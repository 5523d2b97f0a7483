"""``models export --oms`` is accepted by the verifiers of OpenSSF, in-toto and CycloneDX, and refused once changed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import model_signing
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # pyright: ignore[reportPrivateImportUsage]

from yolo_assets.cli.main import main
from yolo_assets.contracts.model import ModelImport
from yolo_assets.contracts.names import model_key, training_key
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import utc_now
from yolo_assets.provenance.export_key import ExportKey
from yolo_assets.training.environment import code_identity
from yolo_assets.training.jobs import StoredJob, TrainingRan, TrainingResult, TrainResult
from yolo_assets.training.spec import TrainSpec
from yolo_assets_tests.models.release_support import byte_bundle
from yolo_assets_tests.validation.test_validation_pack import AT, Line

START = "a" * 64
CODE = {"version": "0.1.0", "sources": "c" * 64, "git_commit": "d" * 40}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Two versions that a gate judged and people approved; of the second the training is on record."""
    plant = Line(tmp_path_factory.mktemp("plant"))
    spec = TrainSpec(name="line", epochs=3)
    libraries = {"torch": "2.15.0", "ultralytics": "8.4.190"}
    job = StoredJob(
        spec=spec,
        dataset_sha256=plant.dataset,
        parent_weights_sha256=START,
        libraries=libraries,
        version="2",
        started_at=AT,
    )
    ran = TrainingRan(
        architecture="yolo11n.yaml",
        parameters=10,
        taken_over=1,
        imgsz=64,
        batch=4,
        device="cpu",
        hardware="a processor",
        libraries={**libraries, "python": "3.11.2"},
        code=CODE,
    )
    trained = TrainResult(
        weights_sha256="b" * 64, epochs=3, seconds=1, cpu_seconds=1, peak_rss_bytes=1, device="cpu", ran=ran
    )
    result = TrainingResult(
        name="line", version="2", fingerprint="2" * 64, dataset_sha256=plant.dataset, parent=None, training=trained
    )
    store = plant.registry.store
    store.put(training_key("2" * 64, "job.json"), job.to_json())
    store.put(training_key("2" * 64, "result.json"), result.to_json())
    return plant


Models = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(line: Line, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Models:
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setenv("YOLO_ASSETS_HOME", str(line.home))
        monkeypatch.setattr(sys, "argv", ["yolo-assets", "models", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def export(models: Models, tmp_path: Path) -> Path:
    code, _, told = models("export", "line/2", "--out", tmp_path / "line-2", "--oms")
    assert code == 0, told
    return tmp_path / "line-2"


@pytest.fixture
def public(line: Line) -> Path:
    return line.home / "keys" / "export.pem"


def message(module: ModuleType, name: str) -> Any:
    """A message of in-toto's; its classes are made at run time."""
    return getattr(module, name)()


def check(folder: Path, public: Path) -> None:
    """As the command line of model signing does."""
    files = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig"])
    config = model_signing.verifying.Config().set_hashing_config(files)
    config.use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")


def changed(path: Path, at: int | None = None) -> bytes:
    """Changes one byte of a file; gives what it held."""
    before = path.read_bytes()
    place = len(before) // 2 if at is None else at
    path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
    return before


def test_model_signing_accepts_it_and_refuses_one_changed_byte(export: Path, public: Path) -> None:
    check(export, public)
    files = sorted(path for path in export.rglob("*") if path.is_file() and path.name != "model.sig")
    assert {"model.onnx", "manifest.json", "weights.pt", "gate.json", "proposal.json", "000.jpg"} <= {
        path.name for path in files
    }
    for path in files:
        before = changed(path)
        with pytest.raises(ValueError, match="mismatch"):
            check(export, public)
        path.write_bytes(before)
    added = export / "golden" / "added.jpg"
    added.write_bytes(b"added")
    with pytest.raises(ValueError, match="mismatch"):
        check(export, public)
    added.unlink()
    signature = (export / "model.sig").read_text()
    bundle = json.loads(signature)
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert str(export) not in base64.b64decode(bundle["dsseEnvelope"]["payload"]).decode()
    for value in (bundle["dsseEnvelope"]["payload"], bundle["dsseEnvelope"]["signatures"][0]["sig"]):
        changed(export / "model.sig", signature.index(value) + len(value) // 2)
        with pytest.raises(Exception):  # noqa: B017 - theirs: whatever stops their command line
            check(export, public)
        (export / "model.sig").write_text(signature)
    check(export, public)


def test_in_toto_accepts_the_statements_and_refuses_a_change(line: Line, export: Path, public: Path) -> None:
    lines = (export / "model.intoto.jsonl").read_bytes().splitlines()
    fingerprint = hashlib.sha256(public.read_bytes()).hexdigest()
    key = SSlibKey.from_crypto(load_pem_public_key(public.read_bytes()), keyid=fingerprint)
    predicates: dict[str, dict[str, Any]] = {}
    for data in lines:
        envelope = Envelope.from_dict(json.loads(data))
        assert envelope.verify([key], 1) and envelope.payload_type == "application/vnd.in-toto+json"
        told = json.loads(envelope.payload)
        statement = Statement([], told["predicateType"], told["predicate"])
        ParseDict(told, statement.pb)
        statement.validate()
        assert told["subject"][0]["name"] == "model.onnx"
        for subject in told["subject"]:
            digest = hashlib.sha256((export / subject["name"]).read_bytes()).hexdigest()
            assert subject["digest"] == {"sha256": digest}
        predicates[told["predicateType"]] = told["predicate"]
        text = json.loads(data)
        payload, signature = (base64.b64decode(one) for one in (text["payload"], text["signatures"][0]["sig"]))
        text["payload"] = base64.b64encode(payload[:-20] + bytes([payload[-20] ^ 1]) + payload[-19:]).decode()
        with pytest.raises(VerificationError):
            Envelope.from_dict(json.loads(json.dumps(text))).verify([key], 1)
        text["payload"] = base64.b64encode(payload).decode()
        broken = signature[:-5] + bytes([signature[-5] ^ 1]) + signature[-4:]
        text["signatures"][0]["sig"] = base64.b64encode(broken).decode()
        with pytest.raises(VerificationError):
            Envelope.from_dict(text).verify([key], 1)
    provenance = predicates["https://slsa.dev/provenance/v1"]
    read = ParseDict(provenance, message(provenance_pb2, "Provenance"))
    made = read.build_definition
    assert made.build_type == "urn:yolo-assets:training:v1"
    assert made.external_parameters["recipe"]["epochs"] == 3
    inputs = {one.name: dict(one.digest) for one in made.resolved_dependencies}
    assert inputs["dataset"] == {"sha256": line.dataset}
    assert inputs["start weights"] == {"sha256": START}
    assert inputs["yolo_assets"] == {"gitCommit": CODE["git_commit"]}
    assert {"sha256": "f" * 64} in inputs.values(), "the label file"
    beside = {one.name: one for one in read.run_details.byproducts}
    assert beside["gate.json"].digest["sha256"] == hashlib.sha256((export / "gate.json").read_bytes()).hexdigest()
    proposal = beside["proposal.json"].annotations
    assert list(proposal["approved_by"]) == ["anna", "ben"]
    assert [one["meaning"] for one in proposal["signatures"]] == ["approved", "approved"]
    assert beside["release 2 of stable"].annotations["by"] == "anna"
    judged = predicates["https://in-toto.io/attestation/test-result/v0.1"]
    verdict = ParseDict(judged, message(test_result_pb2, "TestResult"))
    assert verdict.result == "PASSED" and "recall/crack" in verdict.passed_tests
    policy = json.loads(verdict.configuration[0].content)
    assert policy["min_recall"] == 0.5


def test_cyclonedx_accepts_the_bill_of_materials(line: Line, export: Path) -> None:
    text = (export / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    model = bill["metadata"]["component"]
    sha256 = hashlib.sha256((export / "model.onnx").read_bytes()).hexdigest()
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256}]
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "yolo11n.yaml"
    figures = {
        (one["type"], one.get("slice")) for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert {("mAP50", None), ("recall", "crack")} <= figures
    parts = {(one["type"], one["name"]) for one in bill["components"]}
    assert {("file", "weights.pt"), ("data", "dataset"), ("library", "ultralytics"), ("platform", "python")} <= parts
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace("modelCard", "modelcard")) is not None


def test_its_own_instructions_work_and_find_a_change(export: Path, public: Path) -> None:
    howto = (export / "VERIFY.txt").read_text()
    commands = "set -e\n" + "\n".join(re.findall(r"^    (.*)$", howto, re.MULTILINE))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def follow() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KEY": str(public), "PATH": path}
        return subprocess.run(["bash", "-c", commands], cwd=export, env=environment, capture_output=True, text=True)

    done = follow()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Verified OK") == 2 and "Verification succeeded" in done.stdout
    assert hashlib.sha256(public.read_bytes()).hexdigest() in howto
    changed(export / "weights.pt")
    assert follow().returncode != 0


def test_what_is_not_on_record_is_said(models: Models, line: Line, tmp_path: Path, public: Path) -> None:
    brought = ModelImport(source_sha256="e" * 64, file="best.pt", by="anna", at=utc_now(), note="from the pilot")
    line.registry.write_bundle(*byte_bundle("3", imported=brought))
    code, out, told = models("export", "line/3", "--out", tmp_path / "third", "--oms", "--json")
    assert code == 0, told
    assert "The gate never judged this version." in json.loads(out)["gaps"]
    assert json.loads(out)["statements"] == 1
    check(tmp_path / "third", public)
    (only,) = (tmp_path / "third" / "model.intoto.jsonl").read_bytes().splitlines()
    provenance = json.loads(base64.b64decode(json.loads(only)["payload"]))["predicate"]
    assert provenance["buildDefinition"]["buildType"] == "urn:yolo-assets:import:v1"
    assert {"name": "best.pt", "digest": {"sha256": "e" * 64}} in provenance["buildDefinition"]["resolvedDependencies"]
    assert "never promoted" in (tmp_path / "third" / "VERIFY.txt").read_text()
    text = (tmp_path / "third" / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_nothing_untrusted_is_signed(models: Models, line: Line, tmp_path: Path) -> None:
    store = line.registry.store
    saved = {file: store.get(model_key("line", "1", file)) for file in ("manifest.json", "manifest.json.dsse")}
    stranger = Signer.load_or_create(tmp_path / "stranger")
    for file in ("manifest.json.dsse", "manifest.json.sig"):
        saved[file] = store.get(model_key("line", "1", file))
    envelope = stranger.seal(saved["manifest.json"], "model-manifest").to_json()
    store.put(model_key("line", "1", "manifest.json.dsse"), envelope + b"\n")
    store.put(model_key("line", "1", "manifest.json.sig"), b"{}")
    code, _, told = models("export", "line/1", "--out", tmp_path / "first", "--oms")
    assert (code, "not trusted here" in told, told.count("\n")) == (1, True, 1)
    assert not (tmp_path / "first").exists()
    for file, data in saved.items():
        store.put(model_key("line", "1", file), data)
    gate = store.get(training_key("1" * 64, "gate.json"))
    store.put(training_key("1" * 64, "gate.json"), gate.replace(b'"sig":"', b'"sig":"A', 1))
    assert models("export", "line/1", "--out", tmp_path / "first", "--oms")[0] == 1
    store.put(training_key("1" * 64, "gate.json"), gate)
    assert models("export", "line/1", "--out", tmp_path / "first", "--oms")[0] == 0
    code, _, told = models("export", "line/1", "--out", tmp_path / "first", "--oms")
    assert (code, "exists already" in told) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "stranger", "stranger.pub"]


def test_without_the_library_one_line_says_what_to_install(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, told = models("export", "line/2", "--out", tmp_path / "out", "--oms")
    assert code == 1 and told.startswith("error: model_signing is not installed; it belongs to the extra 'oms'")
    assert told.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_export_key_is_kept_and_another_kind_refused(tmp_path: Path) -> None:
    first = ExportKey.load_or_create(tmp_path / "keys" / "export")
    again = ExportKey.load_or_create(tmp_path / "keys" / "export")
    assert (first.created, again.created, first.fingerprint) == (True, False, again.fingerprint)
    assert (tmp_path / "keys" / "export").stat().st_mode & 0o777 == 0o600
    Signer.load_or_create(tmp_path / "other")
    with pytest.raises(Exception, match="no P-256 key"):
        ExportKey.load_or_create(tmp_path / "other")
    shutil.copy(first.path, tmp_path / "cut")
    (tmp_path / "cut").write_bytes(first.path.read_bytes()[:40])
    with pytest.raises(Exception, match="not a readable private key"):
        ExportKey.load_or_create(tmp_path / "cut")


def test_the_code_that_trains_is_named() -> None:
    code = code_identity()
    assert len(code["sources"]) == 64 and code["version"]
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert code["git_commit"].removesuffix("-dirty") == head.stdout.strip()
