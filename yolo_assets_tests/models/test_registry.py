"""Bundles are written once and completely, and nothing that was changed is ever handed out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import MANIFEST, ONNX, WEIGHTS, FileEntry
from yolo_assets.contracts.names import model_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.bundle import check_file_name, load_bundle_folder
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectNotFoundError, ObjectStore, StoreUnavailableError
from yolo_assets.storage.base import ObjectStream
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets.storage.faults import FaultyStore
from yolo_assets_tests.models.release_support import READING, byte_bundle, entry, failing_write, replace_manifest, write


def sign(store: ObjectStore, signer: Signer, version: str) -> None:
    key = model_key("line", version, MANIFEST)
    Registry(store).objects.sign(key, store.get(key), "model-manifest", signer)


def test_a_bundle_comes_back_as_it_was_written(store: ObjectStore, signer: Signer, trusted: TrustedKeys):
    manifest, files = byte_bundle("1")
    Registry(store).write_bundle(manifest, files)
    sign(store, signer, "1")
    bundle = Registry(store, trusted).read_bundle("line", "1")
    assert bundle.manifest == manifest == Registry(store).read_manifest("line", "1", signed=False).manifest
    assert bundle.files == {name: data for name, data in files.items() if name != WEIGHTS}
    everything = Registry(store, trusted).read_bundle("line", "1", only=files, manifest_sha256=bundle.manifest_sha256)
    assert everything.files == files


def test_files_may_be_given_as_paths(folder: ObjectStore, tmp_path: Path):
    manifest, files = byte_bundle("1")
    path = tmp_path / "exported.onnx"
    with pytest.raises(BadInputError, match=r"cannot read .*exported\.onnx"):
        Registry(folder).write_bundle(manifest, {**files, ONNX: path})
    path.write_bytes(files[ONNX])
    Registry(folder).write_bundle(manifest, {**files, ONNX: path})
    assert Registry(folder).read_bundle("line", "1", signed=False).files[ONNX] == files[ONNX]


def test_reading_to_run_never_touches_the_weights(folder: ObjectStore):
    write(folder, "1")
    watched = FaultyStore(folder)
    Registry(watched).read_bundle("line", "1", signed=False)
    assert watched.keys(*READING)
    assert not [key for key in watched.keys(*READING) if key.endswith(WEIGHTS)]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_write_that_breaks_anywhere_is_completed_by_the_next(tmp_path: Path, after: bool):
    from yolo_assets.storage import open_store

    manifest, files = byte_bundle("1")
    broken = 0
    for fail_at in range(1, 6):
        plain = open_store((tmp_path / f"store{fail_at}").as_uri())
        failing = failing_write(plain, fail_at, after=after)
        try:
            Registry(failing).write_bundle(manifest, files)
        except StoreUnavailableError:
            broken += 1
            committed = after and fail_at == len(files) + 1
            assert bool(Registry(plain).list_bundles()) is committed
        Registry(plain).write_bundle(manifest, files)
        assert Registry(plain).read_bundle("line", "1", signed=False, only=files).files == files
    assert broken == len(files) + 1  # every write was tried: each file and the manifest


def test_other_content_under_a_version_is_refused_and_changes_nothing(store: ObjectStore):
    write(store, "1")
    manifest, files = byte_bundle("1")
    changed = files | {ONNX: b"another model"}
    other = manifest.model_copy(update={"files": manifest.files | {ONNX: entry(changed[ONNX])}})
    with pytest.raises(IntegrityError, match=r"another manifest.*use a new version"):
        Registry(store).write_bundle(other, changed)
    assert Registry(store).read_bundle("line", "1", signed=False, only=files).files == files


def test_a_stray_file_of_a_broken_write_with_other_content_is_named(folder: ObjectStore):
    folder.put(model_key("line", "1", ONNX), b"of a training run that died")
    with pytest.raises(IntegrityError, match=r"models/line/1/model\.onnx is stored with other content"):
        write(folder, "1")
    assert Registry(folder).list_bundles() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": {}}, "holds no model.onnx"),
        ({"class_names": ("a", "a", "b")}, "names a class twice"),
        ({"class_names": ("a",)}, "class 1, which does not exist"),
        ({"version": "../2"}, "not a model version"),
        ({"name": "a/b"}, "not a model name"),
        ({"training_fingerprint": "short"}, "not a SHA-256"),
    ],
)
def test_a_manifest_that_is_not_sound_is_refused(folder: ObjectStore, change: dict[str, Any], words: str):
    manifest, files = byte_bundle("1")
    with pytest.raises(BadInputError, match=words):
        Registry(folder).write_bundle(manifest.model_copy(update=change), change.get("files", files))
    assert list(folder.list("")) == []


def test_files_must_be_those_of_the_manifest(folder: ObjectStore):
    manifest, files = byte_bundle("1")
    with pytest.raises(BadInputError, match=r"missing: \['golden/000\.jpg'\], extra: \['notes\.txt'\]"):
        Registry(folder).write_bundle(manifest, {ONNX: files[ONNX], WEIGHTS: files[WEIGHTS], "notes.txt": b""})
    with pytest.raises(IntegrityError, match=r"line/1/model\.onnx"):
        Registry(folder).write_bundle(manifest, files | {ONNX: files[ONNX] + b"."})
    assert Registry(folder).list_bundles() == []


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../b", "a//b", "a/", ".hidden", "a/.b", "a\\b", "", "manifest.json",
     "manifest.json.sig", "manifest.json.dsse",
     "a\n", "a\0b", "C:x", "a/b/c/d/e", "x" * 201],
)  # fmt: skip
def test_names_that_leave_the_bundle_are_refused(name: str):
    with pytest.raises(BadInputError, match="cannot be a file of a model bundle"):
        check_file_name(name)


@given(st.text(st.sampled_from("ab./\\.:_- \0\n~"), max_size=30))
def test_whatever_name_is_accepted_stays_inside(name: str):
    try:
        check_file_name(name)
    except BadInputError:
        return
    root = Path("/srv/bundle")
    assert (root / name).resolve().is_relative_to(root)
    assert not any(part.startswith(".") for part in name.split("/"))


def test_a_file_that_is_also_a_folder_is_refused(folder: ObjectStore):
    manifest, files = byte_bundle("1")
    both = files | {"golden": b"x"}
    manifest = manifest.model_copy(update={"files": manifest.files | {"golden": entry(b"x")}})
    with pytest.raises(BadInputError, match="both a file and the folder"):
        Registry(folder).write_bundle(manifest, both)


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"X" + d[1:], lambda d: b""])
@pytest.mark.parametrize("file", [ONNX, "golden/000.jpg"])
def test_a_changed_file_is_never_handed_out(store: ObjectStore, file: str, change: Any):
    write(store, "1")
    key = model_key("line", "1", file)
    store.put(key, change(store.get(key)))
    for read in (Registry(store).read_bundle, Registry(store).verify_bundle):
        with pytest.raises(IntegrityError, match=file):
            read("line", "1", signed=False)


def test_a_huge_file_in_place_of_the_model_is_not_read_to_its_end(folder: ObjectStore):
    write(folder, "1")
    taken = 0

    def endless():
        nonlocal taken
        while taken < 10_000_000:
            taken += 1000
            yield bytes(1000)

    class Endless(ForwardingStore):
        def stream(self, key: str, **options: Any) -> ObjectStream:
            return ObjectStream(super().stream(key, **options).info, endless())

    with pytest.raises(IntegrityError, match="longer"):
        Registry(Endless(folder)).read_bundle("line", "1", signed=False, only=[ONNX])
    assert taken <= 2000


def test_changed_weights_are_found_by_verify(folder: ObjectStore):
    write(folder, "1")
    folder.put(model_key("line", "1", WEIGHTS), b"x")
    Registry(folder).read_bundle("line", "1", signed=False)
    with pytest.raises(IntegrityError, match=WEIGHTS):
        Registry(folder).verify_bundle("line", "1", signed=False)


def test_an_unsigned_bundle_is_refused(store: ObjectStore, signer: Signer, trusted: TrustedKeys, tmp_path: Path):
    write(store, "1")
    with pytest.raises(SignatureError, match="not signed"):
        Registry(store, trusted).read_bundle("line", "1")
    sign(store, Signer.load_or_create(tmp_path / "stranger"), "1")
    with pytest.raises(SignatureError, match="not trusted"):
        Registry(store, trusted).read_bundle("line", "1")
    sign(store, signer, "1")
    assert Registry(store, trusted).read_bundle("line", "1").manifest.version == "1"


def test_a_signed_manifest_that_is_changed_is_refused(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1")
    sign(folder, signer, "1")
    manifest = Registry(folder).read_manifest("line", "1", signed=False).manifest
    replace_manifest(folder, "1", manifest.model_copy(update={"class_names": ("pore", "crack", "spatter")}))
    with pytest.raises(SignatureError, match="changed or never released"):
        Registry(folder, trusted).read_bundle("line", "1")


def test_a_signed_bundle_in_the_place_of_another_is_refused(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1", "2")
    sign(folder, signer, "1")
    for info in list(folder.list("models/line/1/")):
        folder.put(info.key.replace("line/1", "line/2"), folder.get(info.key))
    with pytest.raises(BadInputError, match="manifest of line/1"):
        Registry(folder, trusted).read_bundle("line", "2")


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"signatures": 3}', b'{"signatures": [{"value": "x"}]}'])
def test_a_junk_signature_is_a_signature_error_and_signing_again_heals_it(
    folder: ObjectStore, signer: Signer, trusted: TrustedKeys, junk: bytes
):
    write(folder, "1")
    for file in ("manifest.json.sig", "manifest.json.dsse"):
        folder.put(f"models/line/1/{file}", junk)
    with pytest.raises(SignatureError):
        Registry(folder, trusted).read_bundle("line", "1")
    sign(folder, signer, "1")
    Registry(folder, trusted).read_bundle("line", "1")


def test_the_pointer_binds_one_manifest(folder: ObjectStore):
    write(folder, "1")
    with pytest.raises(IntegrityError, match="not the manifest that was released"):
        Registry(folder).read_bundle("line", "1", signed=False, manifest_sha256="0" * 64)


def test_missing_things_are_named(folder: ObjectStore):
    with pytest.raises(ObjectNotFoundError, match=r"no model line/7.*models list"):
        Registry(folder).read_manifest("line", "7", signed=False)
    write(folder, "1")
    with pytest.raises(BadInputError, match="line/1 holds no file 'other'"):
        Registry(folder).read_bundle("line", "1", signed=False, only=["other"])
    folder.delete(model_key("line", "1", ONNX))
    with pytest.raises(ObjectNotFoundError, match=ONNX):
        Registry(folder).read_bundle("line", "1", signed=False)


def test_listing_shows_committed_bundles_only(store: ObjectStore):
    write(store, "2", "1")
    write(store, "1", name="other")
    store.put(model_key("line", "unfinished", ONNX), b"x")
    store.put(model_key("line", "1", "metrics/manifest.json"), b"{}")
    assert [(one.name, one.version) for one in Registry(store).list_bundles()] == [
        ("line", "2"),
        ("line", "1"),
        ("other", "1"),
    ]
    assert [one.version for one in Registry(store).list_bundles("other")] == ["1"]


def test_an_exported_bundle_is_whole_signed_and_loads(
    store: ObjectStore, signer: Signer, trusted: TrustedKeys, tmp_path: Path
):
    write(store, "1")
    _, files = byte_bundle("1")
    Registry(store).export_bundle("line", "1", tmp_path / "unsigned", signed=False)
    with pytest.raises(SignatureError, match="not signed"):
        load_bundle_folder(tmp_path / "unsigned", trusted)
    sign(store, signer, "1")
    out = tmp_path / "deep" / "out"
    Registry(store, trusted).export_bundle("line", "1", out)
    assert load_bundle_folder(out, trusted, only=files).files == files
    with pytest.raises(BadInputError, match="exists already"):
        Registry(store).export_bundle("line", "1", out, signed=False)
    (out / ONNX).write_bytes(b"x")
    with pytest.raises(IntegrityError, match=ONNX):
        load_bundle_folder(out)


def test_a_broken_export_leaves_nothing(folder: ObjectStore, tmp_path: Path):
    write(folder, "1")
    folder.put(model_key("line", "1", WEIGHTS), b"x")
    with pytest.raises(IntegrityError):
        Registry(folder).export_bundle("line", "1", tmp_path / "out" / "line", signed=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path):
    with pytest.raises(BadInputError, match=r"is not a model bundle: .*manifest\.json: No such file"):
        load_bundle_folder(tmp_path)
    manifest, _ = byte_bundle("1")
    (tmp_path / MANIFEST).write_bytes(manifest.to_json())
    with pytest.raises(BadInputError, match=r"model\.onnx: No such file"):
        load_bundle_folder(tmp_path)
    hostile = manifest.model_copy(update={"files": {**manifest.files, "../../x": FileEntry(sha256="0" * 64, size=0)}})
    (tmp_path / MANIFEST).write_bytes(hostile.to_json())
    with pytest.raises(BadInputError, match="cannot be a file"):
        load_bundle_folder(tmp_path)
