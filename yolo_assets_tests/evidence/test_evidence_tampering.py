"""Whatever is done to a pack is found: by a stranger, by one who recomputes every hash, by one who can sign packs."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.dsse import PayloadKind, signed_bytes
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.signing import seal
from yolo_assets.evidence.verify import Verification, verify_pack
from yolo_assets_tests.evidence.evidence_world import (
    START,
    STEM,
    Plant,
    detection,
    files_of,
    forge,
    picture,
    record_line,
)

FRAME = f"frames/{STEM}/20260102_030000_000.jpg"
OTHER_FRAME = f"frames/{STEM}/20260102_030003_000.jpg"


def found(folder: Path, keys: TrustedKeys | None) -> str:
    """The name of the first check that finds a difference."""
    first = verify_pack(folder, keys).first_difference
    return first.name if first is not None else ""


def rewrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.fixture
def thief(tmp_path: Path) -> Signer:
    """An untrusted key."""
    return Signer.load_or_create(tmp_path / "thief")


def test_the_copy_is_sound_before_anything_is_done_to_it(pack: Path, keys: TrustedKeys) -> None:
    assert found(pack, keys) == ""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found_and_restored_is_sound_again(
    pack: Path, keys: TrustedKeys, data: st.DataObject
) -> None:
    files = files_of(pack)
    path = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[path]) - 1))
    changed = bytearray(files[path])
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    rewrite(pack / path, bytes(changed))
    try:
        assert found(pack, keys) != ""
    finally:
        rewrite(pack / path, files[path])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_recomputed_hashes_fail_the_signature_of_a_trusted_key(
    pack: Path, keys: TrustedKeys, thief: Signer, data: st.DataObject
) -> None:
    files = files_of(pack)
    free = sorted(set(files) - {names.MANIFEST, names.SIGNATURE, names.SUMS, names.SUMS_SIGNATURE})
    path = data.draw(st.sampled_from(free))
    change = data.draw(st.sampled_from(["flip", "cut", "append", "drop", "add", "rename"]))
    target = pack / path
    if change == "flip":
        rewrite(target, bytes([files[path][0] ^ 0x10]) + files[path][1:])
    elif change == "cut":
        rewrite(target, files[path][:-1])
    elif change == "append":
        rewrite(target, files[path] + b"x")
    elif change == "drop":
        target.unlink()
    elif change == "add":
        rewrite(target.with_name("added.jpg"), files[path])
    else:
        target.rename(target.with_name("renamed.jpg"))
    try:
        assert found(pack, keys) in ("files", "receipts")
        forge(pack)
        assert found(pack, keys) == "signature"
        forge(pack, thief)
        done = verify_pack(pack, keys)
        assert done.first_difference is not None and done.first_difference.name == "signature"
    finally:
        shutil.rmtree(pack)
        for name, content in files.items():
            (pack / name).parent.mkdir(parents=True, exist_ok=True)
            rewrite(pack / name, content)


# What follows is done with the key of packs, but not that of receipts: the proof of the frames must hold.

Deed = Callable[[Path, "Plant"], dict[str, Any] | None]


def swap_frames(pack: Path, plant: Plant) -> None:
    one, two = (pack / FRAME).read_bytes(), (pack / OTHER_FRAME).read_bytes()
    rewrite(pack / FRAME, two)
    rewrite(pack / OTHER_FRAME, one)


def paint_over(pack: Path, plant: Plant) -> None:
    rewrite(pack / FRAME, picture(77))


def another_index(pack: Path, plant: Plant) -> None:
    from yolo_assets.archive.packing.index import index_bytes, parse_index

    path = pack / names.index_path(STEM)
    rewrite(path, index_bytes(parse_index(path.read_bytes(), "x")[1:]))


def receipt_of_another_hour(pack: Path, plant: Plant) -> None:
    later = Hour.of(START).next()
    name = f"{later.key}0001_000.jpg"
    plant.foreign({name: picture(1)}, hour=later)
    receipt = next((plant.folder / "archive").rglob("*_04.receipt.json")).read_bytes()
    rewrite(pack / names.receipt_path(STEM), receipt)


def edited_receipt(pack: Path, plant: Plant) -> None:
    path = pack / names.receipt_path(STEM)
    envelope = orjson.loads(path.read_bytes())
    payload = base64.b64decode(envelope["payload"])
    assert b'"frame_count":6' in payload
    changed = base64.b64encode(payload.replace(b'"frame_count":6', b'"frame_count":5')).decode()
    rewrite(path, orjson.dumps({**envelope, "payload": changed}))


def bytes_beside_the_receipt(pack: Path, plant: Plant) -> None:
    path = pack / names.signed_path(STEM)
    rewrite(path, path.read_bytes().replace(b'"frame_count":6', b'"frame_count":5'))


def frame_and_its_rows_removed(pack: Path, plant: Plant) -> dict[str, Any]:
    (pack / FRAME).unlink()
    (pack / FRAME.replace("frames/", "annotated/")).unlink()
    lines = (pack / names.FINDINGS).read_bytes().splitlines(keepends=True)
    rewrite(pack / names.FINDINGS, lines[1])
    return counts(pack, frames=1, records=1, detections=1, fitting=1)


def only_its_file_removed(pack: Path, plant: Plant) -> None:
    (pack / FRAME).unlink()


def confidence_changed_in_the_findings(pack: Path, plant: Plant) -> None:
    path = pack / names.FINDINGS
    rewrite(path, path.read_bytes().replace(b'"confidence":0.65', b'"confidence":0.95'))


def confidence_changed_in_the_records(pack: Path, plant: Plant) -> None:
    path = pack / f"records/{STEM}/records.ndjson"
    rewrite(path, path.read_bytes().replace(b'"confidence":0.65', b'"confidence":0.95'))


def records_removed(pack: Path, plant: Plant) -> None:
    (pack / f"records/{STEM}/records.ndjson").unlink()


def frame_that_does_not_answer_added(pack: Path, plant: Plant) -> None:
    rewrite(pack / f"frames/{STEM}/20260102_030001_000.jpg", picture(1))


def frame_of_nobody_added(pack: Path, plant: Plant) -> None:
    rewrite(pack / f"frames/{STEM}/invented.jpg", picture(1))


def hour_called_excluded(pack: Path, plant: Plant) -> dict[str, Any]:
    for kind in ("frames", "annotated", "records"):
        shutil.rmtree(pack / kind)
    rewrite(pack / names.FINDINGS, b"")
    hours = said(pack)["hours"]
    hours[0] |= {"state": "excluded", "findings": 0}
    return {"hours": hours, **counts(pack, frames=0, records=0, detections=0, fitting=0)}


def question_changed(pack: Path, plant: Plant) -> dict[str, Any]:
    return {"query": said(pack)["query"] | {"class_name": "dent"}}


def counts_changed(pack: Path, plant: Plant) -> dict[str, Any]:
    return counts(pack, frames=3)


def catalog_row_invented(pack: Path, plant: Plant) -> None:
    (pack / "catalog").mkdir()
    rewrite(pack / names.CATALOG_CSV, b"archive_key,sha256\nx,y\n")


def said(pack: Path) -> dict[str, Any]:
    return orjson.loads((pack / names.MANIFEST).read_bytes())


def counts(pack: Path, **changes: int) -> dict[str, Any]:
    return {"counts": said(pack)["counts"] | changes}


@pytest.mark.parametrize(
    ("deed", "check"),
    [
        (swap_frames, "members"),
        (paint_over, "members"),
        (another_index, "indexes"),
        (receipt_of_another_hour, "receipts"),
        (edited_receipt, "receipts"),
        (bytes_beside_the_receipt, "receipts"),
        (frame_and_its_rows_removed, "findings"),
        (only_its_file_removed, "findings"),
        (confidence_changed_in_the_findings, "findings"),
        (confidence_changed_in_the_records, "members"),
        (records_removed, "findings"),
        (frame_that_does_not_answer_added, "findings"),
        (frame_of_nobody_added, "members"),
        (hour_called_excluded, "findings"),
        (question_changed, "findings"),
        (counts_changed, "findings"),
        (catalog_row_invented, "catalog"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_signer_of_packs_cannot_change_what_was_archived(
    deed: Deed, check: str, pack: Path, keys: TrustedKeys, sound: tuple[Plant, Path], tmp_path: Path
) -> None:
    plant = sound[0]
    if deed is receipt_of_another_hour:
        plant = Plant(tmp_path)
        shutil.copytree(sound[0].folder / "keys", tmp_path / "keys", dirs_exist_ok=True)
        plant.signer = Signer.load(tmp_path / "keys" / "archiver")
    changes = deed(pack, plant)
    forge(pack, sound[0].office, **(changes or {}))
    assert found(pack, keys) == check


def test_a_receipt_s_signature_never_passes_as_a_pack_s(
    pack: Path, sound: tuple[Plant, Path], keys: TrustedKeys
) -> None:
    signer = sound[0].office
    manifest = (pack / names.MANIFEST).read_bytes()
    kinds: tuple[PayloadKind, ...] = ("receipt", "model-manifest", "evidence-sums")
    first = b"yolo-assets/evidence-pack/v1\n" + manifest  # a pack of version 2 is never taken for one of version 1
    for signed in (manifest, first, *(signed_bytes(kind, manifest) for kind in kinds)):
        rewrite(pack / names.SIGNATURE, signer.private.sign(signed))
        assert found(pack, keys) == "signature"
    rewrite(pack / names.SIGNATURE, seal(signer, manifest))
    assert found(pack, keys) == ""


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_none(pack: Path, keys: TrustedKeys, size: int) -> None:
    for path in (names.SIGNATURE, names.SUMS_SIGNATURE):
        kept = (pack / path).read_bytes()
        rewrite(pack / path, bytes(size))
        assert found(pack, keys) == "signature"
        rewrite(pack / path, kept)


def test_without_a_key_the_pack_s_own_is_shown_and_not_trusted(pack: Path, sound: tuple[Plant, Path]) -> None:
    done = verify_pack(pack, None)
    verdicts = {check.name: check.verdict for check in done.checks}
    assert verdicts["signature"] == "differs" and verdicts["receipts"] == "not checked"
    assert done.first_difference is not None
    assert sound[0].office.key_id in done.first_difference.detail and "--key PUB" in done.first_difference.detail


def test_the_key_of_the_pack_alone_does_not_prove_receipts(pack: Path, sound: tuple[Plant, Path]) -> None:
    assert found(pack, TrustedKeys.of(sound[0].office)) == "receipts"
    assert found(pack, TrustedKeys.of(sound[0].signer)) == "signature"


def link_to_a_file(pack: Path, outside: Path) -> None:
    (pack / FRAME).unlink()
    (pack / FRAME).symlink_to(outside / "secret")


def link_to_a_folder(pack: Path, outside: Path) -> None:
    shutil.move(pack / "frames", outside / "frames")
    (pack / "frames").symlink_to(outside / "frames", target_is_directory=True)


def a_pipe(pack: Path, outside: Path) -> None:
    (pack / FRAME).unlink()
    os.mkfifo(pack / FRAME)


def a_hidden_file(pack: Path, outside: Path) -> None:
    rewrite(pack / ".hidden", b"x")


def bytes_as_a_name(pack: Path, outside: Path) -> None:
    rewrite(pack / os.fsdecode(b"\xff\x1b[2Jx"), b"x")


def manifest_as_a_link(pack: Path, outside: Path) -> None:
    shutil.move(pack / names.MANIFEST, outside / "m.json")
    (pack / names.MANIFEST).symlink_to(outside / "m.json")


@pytest.mark.parametrize(
    "deed", [link_to_a_file, link_to_a_folder, a_pipe, a_hidden_file, bytes_as_a_name, manifest_as_a_link]
)
def test_links_pipes_and_strange_names_are_refused_before_anything_is_read(
    deed: Callable[[Path, Path], None], pack: Path, keys: TrustedKeys, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    deed(pack, outside)
    done = verify_pack(pack, keys)
    assert done.first_difference is not None and done.first_difference.name == "layout"
    assert {check.verdict for check in done.checks[1:]} == {"not checked"}
    assert all(check.detail.isprintable() for check in done.checks)


def test_an_empty_folder_that_was_added_is_found(pack: Path, keys: TrustedKeys) -> None:
    (pack / "extra").mkdir()
    assert found(pack, keys) == "files"


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "frames/../../x", "a//b", ".hidden", "a\\b", "a/", ""])
def test_a_path_that_leaves_the_pack_is_refused(
    path: str, pack: Path, keys: TrustedKeys, sound: tuple[Plant, Path]
) -> None:
    with pytest.raises(BadInputError):
        names.check_path(path)
    manifest = said(pack)
    manifest["files"][0]["path"] = path
    data = orjson.dumps(manifest)
    rewrite(pack / names.MANIFEST, data)
    rewrite(pack / names.SIGNATURE, seal(sound[0].office, data))
    assert found(pack, keys) == "manifest"


@pytest.mark.parametrize("version", ["../../../etc", "line/../../x", "a/b"])
def test_a_model_version_never_leads_out_of_the_pack(
    version: str, pack: Path, keys: TrustedKeys, sound: tuple[Plant, Path]
) -> None:
    forge(pack, sound[0].office, models=[{"model_version": version, "included": True, "note": ""}])
    assert found(pack, keys) == "models"


def test_a_file_larger_than_the_manifest_states_is_not_read(
    pack: Path, keys: TrustedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (pack / FRAME).open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room, and an hour to hash
    assert found(pack, keys) == "files"
    with (pack / names.MANIFEST).open("r+b") as file:
        file.truncate(1 << 40)
    assert found(pack, keys) == "manifest"


@settings(max_examples=100)
@given(st.binary(max_size=300))
@example(b"{}")
@example(b'{"files":[]}')
@example(b"[" * 5000)
def test_any_manifest_gives_a_result_and_no_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    rewrite(folder / names.MANIFEST, data)
    done = verify_pack(folder, TrustedKeys({}))
    assert isinstance(done, Verification) and done.first_difference is not None


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path, keys: TrustedKeys) -> None:
    with pytest.raises(BadInputError, match="there is no folder"):
        verify_pack(tmp_path / "nothing", keys)
    assert found(tmp_path, keys) == "manifest"


def test_left_out_record_files_are_counted(sound: tuple[Plant, Path], tmp_path: Path) -> None:
    """A signer of packs cannot keep back a per-frame record unnoticed: how many are absent is part of the proof."""
    plant = Plant(tmp_path)
    stem = "20260102_030001_000"
    plant.foreign({f"{stem}.jpg": picture(1), f"{stem}.json": record_line(f"{stem}.jpg", detection())})
    folder = tmp_path / "pack"
    plant.make(folder)
    keys = TrustedKeys.of(plant.office, plant.signer)
    assert found(folder, keys) == ""
    (folder / f"records/{STEM}/{stem}.json").unlink()
    forge(folder, plant.office)
    assert found(folder, keys) == "findings"
