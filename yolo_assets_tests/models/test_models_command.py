"""``yolo-assets models`` as it is called: output, JSON, exit codes, one-line errors."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from yolo_assets.cli.main import main
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import model_key, training_key
from yolo_assets.contracts.signing import Signer
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gated_release import release_candidate
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.models.figures import around, evaluation, found
from yolo_assets_tests.models.release_support import POINTER, write
from yolo_assets_tests.models.test_gated_release import compared, fingerprint, manifest_of, promoter
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, Variant, tiny_bundle_files

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("STORE", "ARCHIVE", "SPOOL", "MODEL"):
        monkeypatch.delenv(f"YOLO_ASSETS_{name}", raising=False)
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(folder))
    return folder


@pytest.fixture
def models(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["yolo-assets", "models", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def home_store(home: Path) -> ObjectStore:
    return open_store((home / "store").as_uri())


def tiny(store: ObjectStore, *versions: str, variant: Variant = "good") -> None:
    """Real small models, as training registers them."""
    for version in versions:
        manifest, files = tiny_bundle_files("line", version, variant=variant)
        trained = manifest.model_copy(update={"training_fingerprint": fingerprint(version)})
        Registry(store).write_bundle(trained, files)


def measured(store: ObjectStore, version: str, recall: float = 0.9, **figures: Any) -> PairedEvaluation:
    """Figures of a tiny model, without a champion."""
    return compared(store, version, None, classes={name: found(recall) for name in CLASS_NAMES}, **figures)


def answer(result: tuple[int, str, str]) -> Any:
    assert result[0] == 0, result[2]
    return orjson.loads(result[1])


def test_keys_are_made_once_and_never_overwritten(models: Run, home: Path):
    code, out, _ = models("keygen")
    assert (code, out.count(" made")) == (0, 3)
    files = {path.name: path.read_bytes() for path in (home / "keys").iterdir()}
    assert set(files) == {"archiver", "archiver.pub", "promotion", "promotion.pub", "export", "export.pem"}
    assert stat.S_IMODE((home / "keys" / "promotion").stat().st_mode) == 0o600
    code, out, _ = models("keygen")
    assert (code, out.count("exists already and is kept"), out.count(" made")) == (0, 3, 0)
    assert [pair["created"] for pair in answer(models("keygen", "--json"))] == [False, False, False]
    assert files == {path.name: path.read_bytes() for path in (home / "keys").iterdir()}
    (home / "keys" / "archiver").unlink()
    code, _, err = models("keygen")
    assert (code, "without its private key" in err) == (1, True)
    (home / "keys" / "archiver.pub").unlink()
    pairs = answer(models("keygen", "--json"))
    assert [pair["created"] for pair in pairs] == [True, False, False]
    assert (home / "keys" / "promotion").read_bytes() == files["promotion"]


def test_a_release_from_list_to_rollback(models: Run, home_store: ObjectStore, tmp_path: Path):
    models("keygen")
    tiny(home_store, "1", "2")
    assert [row["signature"] for row in answer(models("list", "--json"))] == ["none", "none"]
    first = ("promote", "line/1", "--channel", "stable", "--reason", "first", "--by", "anna", "--unjudged")
    code, out, err = models(*first)
    assert (code, out) == (0, "line/stable serves 1, release 1, unjudged\n")
    assert "line/1 never went through the gate" in err
    pointer = answer(models("promote", "line/2", "--reason", "second", "--unjudged", "--json"))
    assert (pointer["release"], pointer["previous_version"]) == (2, "1")
    assert (pointer["forced"], pointer["unjudged"]) == (False, True)
    rows = {row["version"]: row for row in answer(models("list", "line", "--json"))}
    assert (rows["2"]["channels"], rows["1"]["channels"], rows["2"]["signature"]) == (["stable"], [], "good")
    shown = answer(models("show", "line/2", "--json"))
    assert (shown["signature"], shown["gate"]) == ("good", "line/2 never went through the gate.")
    assert (shown["gate_state"], rows["2"]["gate"], rows["2"]["unjudged"]) == ("not judged", "not judged", True)
    assert shown["channels"][0]["unjudged"] is True
    assert shown["manifest"]["files"][ONNX] == tiny_bundle_files("line", "2")[0].files[ONNX].model_dump()
    assert answer(models("verify", "line/2", "--json"))["verified"] is True
    code, out, _ = models("rollback", "line", "--channel", "stable", "--reason", "worse")
    assert (code, out) == (0, "line/stable serves 1, release 3, unjudged\n")
    told = answer(models("history", "line", "--json"))
    assert [(row["release"], row["kind"], row["state"]) for row in told] == [
        (1, "promote", "served"),
        (2, "promote", "served"),
        (3, "rollback", "serving"),
    ]
    code, out, _ = models("history", "line")
    assert len(out.splitlines()) == 4
    assert "first (by hand, no gate report)" in out and out.count("unjudged") == 3
    code, out, _ = models("export", "line/1", "--out", str(tmp_path / "exported"))
    assert (code, (tmp_path / "exported" / ONNX).read_bytes()) == (0, tiny_bundle_files("line", "1")[1][ONNX])


def test_a_version_is_found_with_its_name_or_without(models: Run, home_store: ObjectStore, tmp_path: Path):
    models("keygen")
    tiny(home_store, "1", "2")
    Registry(home_store).write_bundle(*tiny_bundle_files("weld", "9"))
    for spelling, meant in (("1", "line/1"), ("line/1", "line/1"), ("9", "weld/9")):
        shown = answer(models("show", spelling, "--json"))["manifest"]
        assert f"{shown['name']}/{shown['version']}" == meant
    for spelling in ("1", "line/2"):
        assert answer(models("promote", spelling, "--unjudged", "--reason", "x", "--json"))["name"] == "line"
    assert answer(models("verify", "2", "--json"))["model"] == "line/2"
    assert answer(models("export", "1", "--out", str(tmp_path / "out"), "--json"))["model"] == "line/1"
    assert answer(models("rollback", "line", "--to", "1", "--reason", "x", "--json"))["version"] == "1"
    assert answer(models("rollback", "line", "--to", "line/2", "--reason", "x", "--json"))["version"] == "2"
    assert "write it like line/1" in models("rollback", "line", "--to", "weld/1", "--reason", "x")[2]
    assert "no model has a version 8" in models("show", "8")[2]
    Registry(home_store).write_bundle(*tiny_bundle_files("dent", "9"))
    assert "dent, weld each have a version 9; write it like dent/9" in models("show", "9")[2]


def test_verify_names_what_is_wrong(models: Run, home_store: ObjectStore):
    tiny(home_store, "1")
    code, _, err = models("verify", "line/1")
    assert (code, "no public key" in err) == (1, True)
    models("keygen")
    code, _, err = models("verify", "line/1")
    assert (code, "is not signed" in err) == (1, True)
    models("promote", "line/1", "--reason", "r", "--unjudged")
    home_store.put(model_key("line", "1", "golden/0.png"), b"x")
    code, out, err = models("verify", "line/1")
    assert (code, out) == (1, "")
    assert err.startswith("error: models/line/1/golden/0.png has 1 bytes")
    assert err.count("\n") == 1


def test_a_refused_version_needs_force(models: Run, home: Path, home_store: ObjectStore):
    models("keygen")
    tiny(home_store, "1")
    signer = Signer.load(home / "keys" / "promotion")
    weak = measured(home_store, "1", map50=around(0.4))
    release_candidate(promoter(home_store, signer), weak, GatePolicy(), channel="stable", by="pipeline")
    code, _, err = models("promote", "line/1", "--reason", "needed tonight")
    assert code == 1
    assert "line/1 is refused" in err
    assert "--force" in err
    assert home_store.head(POINTER) is None
    assert answer(models("show", "line/1", "--json"))["gate_report"]["passed"] is False
    code, _, err = models("promote", "line/1", "--reason", "needed tonight", "--unjudged")
    assert (code, "--force" in err, "--unjudged" in err) == (1, True, False), "it was judged: it is refused"
    assert [row["gate"] for row in answer(models("list", "--json"))] == ["refused"]
    both = ("--force", "--unjudged")
    pointer = answer(models("promote", "line/1", "--reason", "needed tonight", *both, "--json"))
    assert pointer["reason"] == "needed tonight (by hand, gate overridden)"
    assert (pointer["forced"], pointer["unjudged"]) == (True, False)
    code, out, _ = models("list")
    assert "refused" in out and "stable (forced)" in out


def test_an_unjudged_version_needs_unjudged_not_force(models: Run, home_store: ObjectStore):
    models("keygen")
    tiny(home_store, "1")
    for flags in ((), ("--force",)):
        code, out, err = models("promote", "line/1", "--reason", "r", *flags)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "never went through the gate" in err and "--unjudged" in err
    for reason in ("", "  "):
        code, out, err = models("promote", "line/1", "--reason", reason, "--unjudged")
        assert (code, out, "state who moves the channel and why" in err) == (1, "", True)
    assert home_store.head(POINTER) is None and home_store.head(model_key("line", "1", "manifest.json.sig")) is None


def test_a_version_blocked_before_the_gate_says_by_which_check(models: Run, home_store: ObjectStore):
    models("keygen")
    tiny(home_store, "1")
    blind = measured(home_store, "1", recall=0.0)
    home_store.put(training_key(fingerprint("1"), "evaluation/aa/comparison.json"), blind.to_json())
    home_store.put(training_key(fingerprint("1"), "evaluation/bb/comparison.json"), b"junk")
    assert [row["gate"] for row in answer(models("list", "--json"))] == ["blocked"]
    shown = answer(models("show", "line/1", "--json"))
    assert shown["gate_state"] == "blocked"
    assert "check exported_file_evaluated of trained_weights failed: never found: crack" in shown["gate"]
    code, _, err = models("promote", "line/1", "--reason", "r", "--force")
    assert (code, "exported_file_evaluated" in err, "--unjudged" in err) == (1, True, True)
    assert answer(models("promote", "line/1", "--reason", "r", "--unjudged", "--json"))["unjudged"] is True


@pytest.mark.parametrize("variant", ["garbage", "blind", "nan", "wrong_output_shape", "wrong_names"])
def test_a_broken_file_is_refused_before_the_pointer_moves(models: Run, home_store: ObjectStore, variant: Variant):
    """Whatever flags are given: a channel never points to what its contract check refuses."""
    models("keygen")
    tiny(home_store, "1", variant=variant)
    code, out, err = models("promote", "line/1", "--reason", "r", "--unjudged", "--force")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: line/1 is not released: ") and "export it again" in err
    assert home_store.head(POINTER) is None and home_store.head(model_key("line", "1", "manifest.json.dsse")) is None


def test_a_damaged_file_is_refused_before_the_pointer_moves(models: Run, home_store: ObjectStore):
    models("keygen")
    tiny(home_store, "1")
    data = bytearray(home_store.get(model_key("line", "1", ONNX)))
    data[len(data) // 2] ^= 1
    home_store.put(model_key("line", "1", ONNX), bytes(data))
    code, out, err = models("promote", "line/1", "--reason", "r", "--unjudged")
    assert (code, out, err.count("\n"), "SHA-256" in err) == (1, "", 1, True)
    assert home_store.head(POINTER) is None


def test_the_archivers_key_may_not_release(models: Run, home: Path, home_store: ObjectStore):
    models("keygen")
    tiny(home_store, "1")
    archiver = Signer.load(home / "keys" / "archiver")
    release_candidate(
        promoter(home_store, archiver),
        measured(home_store, "1"),
        GatePolicy(),
        channel="stable",
        by="thief",
    )
    code, _, err = models("verify", "line/1")
    assert (code, "not trusted" in err) == (1, True)
    code, _, err = models("list")
    assert (code, "warning: channels/line/stable.json is signed by key" in err) == (0, True)
    code, _, err = models("promote", "line/1", "--reason", "r", "--force")
    assert (code, "not trusted" in err) == (1, True)
    thiefs = models("promote", "line/1", "--reason", "r", "--force", "--replace-untrusted", "--json")
    assert answer(thiefs)["version"] == "1"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "nothing"), 1, "no model has a version nothing"),
        (("show", "line/../1"), 2, "is not a model version id"),
        (("show", "line/9"), 1, "no model line/9"),
        (("promote", "line/1"), 2, "Missing option '--reason'"),
        (("promote", "line/1", "--reason", "r"), 1, "no signing key at"),
        (("rollback", "line", "--reason", "r"), 1, "no signing key at"),
        (("history", "line"), 1, "no public key at"),
        (("export", "line/1"), 2, "Missing option '--out'"),
        (("list", "--store", "ftp://x"), 2, "is not a store"),
    ],
)
def test_mistakes_are_one_line(models: Run, arguments: tuple[str, ...], code: int, words: str):
    got, out, err = models(*arguments)
    assert (got, out) == (code, "")
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_looking_works_without_keys(models: Run, home_store: ObjectStore):
    write(home_store, "1")
    code, out, err = models("list")
    assert (code, "line/1" in out) == (0, True)
    assert "signatures are not checked" in err
    assert manifest_of(home_store, "1").version == "1"
    assert evaluation("1").model_version in out


def test_why_names_the_answer_its_reasons_and_what_to_label(models: Run, home: Path, home_store: ObjectStore):
    tiny(home_store, "1")
    code, _, err = models("why", "line/1")
    assert (code, "no key is trusted here" in err) == (1, True)
    models("keygen")
    assert "never went through the gate" in models("why", "line/1")[1]
    signer = Signer.load(home / "keys" / "promotion")
    classes = {name: found(truth=3 if name == CLASS_NAMES[0] else 100) for name in CLASS_NAMES}
    first = measured(home_store, "1")
    few = first.model_copy(update={"candidate": first.candidate.model_copy(update={"classes": classes})})
    home_store.put(training_key(fingerprint("1"), "evaluation/aa/comparison.json"), few.to_json())
    release_candidate(promoter(home_store, signer), few, GatePolicy(), channel="stable", by="pipeline")
    said = answer(models("why", "line/1", "--json"))
    assert (said["answer"], said["gate"], said["labels_needed"]) == ("cannot tell", "cannot tell", {CLASS_NAMES[0]: 2})
    assert [reason["rule"] for reason in said["because"]] == ["test_boxes"]
    code, out, _ = models("why", "line/1")
    assert (code, out.startswith("line/1: cannot tell\nbecause: The test set holds fewer than 5 boxes")) == (0, True)
    assert f"next: label about 2 more of {CLASS_NAMES[0]}" in out
    assert [row["gate"] for row in answer(models("list", "--json"))] == ["cannot tell"]
    code, _, err = models("promote", "line/1", "--reason", "r", "--unjudged")
    assert (code, "--force" in err) == (1, True)
    assert home_store.head(POINTER) is None


def test_show_prints_figures_on_test_frames(models: Run, home_store: ObjectStore):
    tiny(home_store, "1")
    figures = measured(home_store, "1")
    home_store.put(training_key(fingerprint("1"), "evaluation/aa/comparison.json"), figures.to_json())
    code, out, _ = models("show", "line/1")
    assert code == 0
    assert all(words in out for words in ("test mAP50 (COCO)", "400 objects", f"test {CLASS_NAMES[0]}"))
    assert answer(models("show", "line/1", "--json"))["evaluation"]["map50"]["value"] == 0.9
