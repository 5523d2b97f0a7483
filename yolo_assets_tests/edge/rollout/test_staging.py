"""Bringing a model in: good ones serve, broken ones never do, and the device remembers across restarts.

Real agent, real store, real signatures, real ONNX files; the camera is one photograph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from yolo_assets.contracts.model import MANIFEST, ONNX
from yolo_assets.contracts.names import channel_key, model_key, signature_files
from yolo_assets.contracts.signing import Signer
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.rollout.controller import NothingToRollBackError
from yolo_assets.edge.rollout.decision import follow
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.rollout.staging import Stager
from yolo_assets.edge.rollout.state import PreparedModel
from yolo_assets.models.registry import Registry
from yolo_assets.storage.faults import FaultyStore, fail
from yolo_assets_tests.edge.plant import MODEL, Plant, until
from yolo_assets_tests.edge.rollout.box import Box
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_bundle_files

POINTER = channel_key(MODEL, "stable")


def test_releases_are_followed_and_the_old_one_stays_ready(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "123":
        plant.register(version)
    box = boot()
    assert box.serving is None
    for version in "123":
        plant.promote(version)
        box.wait_serving(version)
        assert box.predicts()
    assert box.events() == [("line/1", "committed"), ("line/2", "committed"), ("line/3", "committed")]
    slots = box.agent.control.slots
    assert [(role, slot.label) for role, slot in slots.loaded()] == [("current", "line/3"), ("previous", "line/2")]
    assert box.state.primary.release == 3 and box.state.prepared is None
    blobs = list((box.agent.config.state_dir / "models" / "blobs").iterdir())
    assert len(blobs) == 4  # two models and the two golden frames that they share: what went out is gone


BROKEN: dict[str, tuple[str, str]] = {
    "nan": ("failed", "not finite"),
    "blind": ("failed", "golden"),
    "garbage": ("refused", "ONNX"),
    "external_data": ("refused", "outside"),
    "wrong_names": ("refused", "class names"),
    "wrong_input_shape": ("refused", "input shape"),
    "wrong_output_shape": ("refused", "output shape"),
}


def test_broken_releases_leave_the_old_model_and_are_never_tried_again(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("1")
    for variant in BROKEN:
        plant.register(f"bad-{variant}", variant)  # type: ignore[arg-type]
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    for number, (variant, (result, words)) in enumerate(BROKEN.items()):
        pointer = plant.promote(f"bad-{variant}")
        box.wait_events(number + 2)
        event = box.agent.swaps.events()[-1]
        assert (event.target, event.result, event.source) == (f"line/bad-{variant}", result, "line/1")
        assert words.lower() in event.reason.lower(), event.reason
        assert box.serving == "1" and box.predicts()
        assert box.state.quarantined(pointer.manifest_sha256, pointer.release)
        assert box.state.prepared is None
    events = len(box.agent.swaps.events())
    box.agent.updates.poller.poll_now()
    until(lambda: box.agent.stager.idle())
    box = boot()  # nor after a restart
    box.wait_serving("1")
    until(lambda: box.agent.updates.poller._pointer is not None)
    until(lambda: box.agent.stager.idle())
    assert [event.result for event in box.agent.swaps.events()][events:] == ["committed"]
    assert [slot.label for _, slot in box.agent.control.slots.loaded()] == ["line/1"]


def test_another_class_list_is_refused_with_a_reason(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("1")
    names = (CLASS_NAMES[1], CLASS_NAMES[0], *CLASS_NAMES[2:])
    Registry(plant.store).write_bundle(*tiny_bundle_files(name=MODEL, version="2", class_names=names))
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    plant.promote("2")
    box.wait_events(2)
    event = box.agent.swaps.events()[-1]
    assert event.result == "refused" and "class 'crack' moves from id 0 to id 1" in event.reason and box.serving == "1"


def damage_onnx(plant: Plant) -> None:
    path = plant.store_folder / model_key(MODEL, "2", ONNX)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def cut_onnx(plant: Plant) -> None:
    path = plant.store_folder / model_key(MODEL, "2", ONNX)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-100])


def remove_bundle(plant: Plant) -> None:
    for path in (plant.store_folder / model_key(MODEL, "2", "x")).parent.rglob("*.*"):
        path.unlink()


def strip_signature(plant: Plant) -> None:
    for file in signature_files(model_key(MODEL, "2", MANIFEST)):
        (plant.store_folder / file).unlink()


def change_manifest(plant: Plant) -> None:
    path = plant.store_folder / model_key(MODEL, "2", MANIFEST)
    document = orjson.loads(path.read_bytes())
    document["thresholds"]["confidence"] = 0.01
    path.chmod(0o644)
    path.write_bytes(orjson.dumps(document))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_onnx, "SHA-256"),
        (cut_onnx, "bytes"),
        (remove_bundle, "no model line/2"),
        (strip_signature, "not signed"),
        (change_manifest, "changed"),
    ],
)
def test_a_bundle_that_was_damaged_after_its_release_is_refused(
    plant: Plant, boot: Callable[[], Box], damage: Callable[[Plant], None], words: str
) -> None:
    plant.register("1")
    plant.register("2")
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    box.agent.updates.poller.stop()  # so that the damage is done before the agent looks
    pointer = plant.promote("2")
    damage(plant)
    follow(box.agent.control, box.agent.stager.request, "primary", pointer)
    box.wait_events(2)
    event = box.agent.swaps.events()[-1]
    assert event.result == "refused" and words in event.reason
    assert box.serving == "1" and box.predicts() and box.state.quarantined(pointer.manifest_sha256, pointer.release)


def test_a_pointer_unsigned_or_signed_by_an_unknown_key_is_refused_once(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("1")
    plant.register("2")
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    stranger = Signer.load_or_create(plant.root / "stranger")
    plant.promote("2", stranger, replace_untrusted=True)
    box.wait_events(2)
    event = box.agent.swaps.events()[-1]
    assert event.result == "refused" and "not trusted" in event.reason
    for _ in range(3):
        box.agent.updates.poller.poll()
    assert len(box.agent.swaps.events()) == 2 and box.serving == "1"
    assert box.state.primary.release == 1


def test_an_old_pointer_that_is_put_back_is_refused_also_after_a_restart(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("1")
    plant.register("2")
    plant.promote("1")
    old = {key: plant.store.get(key) for key in (*signature_files(POINTER), POINTER)}
    box = boot()
    box.wait_serving("1")
    plant.promote("2")
    box.wait_serving("2")
    for key, data in old.items():
        plant.store.put(key, data)
    box.wait_events(3)
    assert "replayed" in box.agent.swaps.events()[-1].reason and box.serving == "2"
    box = boot()
    until(lambda: "replayed" in box.agent.swaps.events()[-1].reason)
    assert box.serving == "2"


def test_rollback_pins_until_a_newer_release(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "123":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    with pytest.raises(NothingToRollBackError):
        box.agent.control.roll_back("test")
    plant.promote("2")
    box.wait_serving("2")
    done = box.agent.control.roll_back("Bo")
    assert (done.source, done.target) == ("line/2", "line/1") and done.seconds < 1
    assert box.serving == "1" and box.predicts()
    box.agent.updates.poller.poll()
    until(lambda: box.agent.stager.idle())
    assert box.serving == "1"  # the channel still names 2
    box = boot()
    until(lambda: box.agent.updates.poller._pointer is not None and box.agent.stager.idle())
    assert box.serving == "1" and box.state.pinned is not None
    until(lambda: box.agent.control.slots.previous is not None)  # warm again after the restart
    assert box.agent.control.unpin() is not None
    box.agent.updates.poller.poll_now()
    box.wait_serving("2")
    box.agent.control.roll_back("Bo")
    plant.promote("3")
    box.wait_serving("3")
    assert box.state.pinned is None


def test_a_channel_rolled_back_switches_to_the_warm_model_without_loading(
    plant: Plant, boot: Callable[[], Box]
) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    first = box.agent.control.slots.current
    plant.promote("2")
    box.wait_serving("2")
    plant.promote("1")
    box.wait_serving("1")
    assert box.agent.control.slots.current is first
    assert box.agent.swaps.swaps()[-1].steps == {} and box.state.primary.release == 3


def test_a_restart_needs_no_store_and_checks_every_hash_again(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    plant.promote("2")
    box.wait_serving("2")
    box.close()
    away = plant.store_folder.rename(plant.root / "away")
    plant.store_folder.write_text("a share that is not mounted")
    box = boot()
    assert box.serving == "2" and box.predicts()
    sha256 = box.agent.control.serving.manifest.files[ONNX].sha256  # type: ignore[union-attr]
    blob = box.agent.config.state_dir / "models" / "blobs" / sha256
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    box = boot()
    assert box.serving == "1" and box.predicts()
    failed = next(event for event in box.agent.swaps.events() if event.result == "failed")
    assert failed.target == "line/2" and "start from the cache" in failed.reason
    plant.store_folder.unlink()
    away.rename(plant.store_folder)
    box.agent.updates.poller.poll_now()
    box.wait_serving("2")  # the store is back: the damaged copy is replaced


def test_an_unreachable_store_does_not_count_against_the_release(
    plant: Plant, boot: Callable[[], Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.register("1")
    box = boot()
    objects = box.agent.stager.preparer.cache.registry.objects
    objects.store = FaultyStore(objects.store, fail("stream", times=2))
    monkeypatch.setattr("yolo_assets.edge.rollout.staging._FIRST_RETRY_S", 0.05)
    plant.promote("1")
    box.wait_serving("1")
    assert box.events() == [("line/1", "failed"), ("line/1", "committed")]  # two tries, logged once
    assert not box.state.quarantine


def test_the_newest_request_wins(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "1234":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    entered, go_on = threading.Event(), threading.Event()
    stager: Stager = box.agent.stager
    fetch = stager.preparer.cache.fetch

    def slow(*arguments: object) -> object:
        entered.set()
        go_on.wait(10)
        return fetch(*arguments)  # type: ignore[arg-type]

    stager.preparer.cache.fetch = slow  # type: ignore[method-assign,assignment]
    plant.promote("2")
    assert entered.wait(10)
    plant.promote("3")
    until(lambda: stager.waiting)
    plant.promote("4")
    until(lambda: stager.waiting and stager.waiting.version == "4")
    go_on.set()
    box.wait_serving("4")
    assert box.events() == [("line/1", "committed"), ("line/2", "refused"), ("line/4", "committed")]


def test_a_version_requested_by_hand_must_be_signed_and_is_pinned(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    update = UpdateRequest.by_operator("2", "Ana")
    box.agent.stager.request(update)
    box.wait_events(2)
    assert "not signed" in box.agent.swaps.events()[-1].reason and box.serving == "1"
    plant.promote("2")
    box.wait_serving("2")
    box.agent.stager.request(UpdateRequest.by_operator("1", "Ana"))
    box.wait_serving("1")
    box.agent.updates.poller.poll()
    until(lambda: box.agent.stager.idle())
    assert box.serving == "1" and box.state.pinned is not None and box.state.primary.release == 2


def test_a_candidate_that_kills_the_agent_twice_is_quarantined(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("1")
    plant.register("2")
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    box.agent.updates.poller.stop()
    pointer = plant.promote("2")
    prepared = PreparedModel(
        name=MODEL, version="2", manifest_sha256=pointer.manifest_sha256, release=pointer.release, attempts=2
    )
    box.agent.control.set_prepared(prepared)  # what two deaths during its staging leave behind
    box = boot()
    until(lambda: box.agent.updates.poller._pointer is not None and box.agent.stager.idle())
    assert box.serving == "1" and box.state.quarantined(pointer.manifest_sha256, pointer.release)
    assert any("died 2 times" in event.reason for event in box.agent.swaps.events())


def test_no_second_agent_on_one_state(plant: Plant, boot: Callable[[], Box], tmp_path: Path) -> None:
    box = boot()
    with pytest.raises(Exception, match="another agent"):
        Agent(box.agent.config)
