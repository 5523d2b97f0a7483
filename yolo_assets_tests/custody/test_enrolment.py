"""Devices' keys over the years: enrolled, followed by others, revoked; and what a seal is worth by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.device_keys import EnrolledDevices, SealVerdict
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import DEVICE_KEYS
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.custody.enrolment import Registrar, enrolled_devices, read_statements
from yolo_assets.storage import open_store

T = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Plant:
    """A store, promotion's key, and devices with keys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = open_store((root / "store").as_uri())
        self.promotion = Signer.load_or_create(root / "promotion")
        self.trusted = TrustedKeys.of(self.promotion)
        self.registrar = Registrar(self.store, self.promotion, self.trusted, "anna")

    def key(self, name: str) -> Signer:
        return Signer.load_or_create(self.root / name)

    def enroll(self, device: str, name: str, since: datetime = T) -> str:
        key = self.key(name)
        self.registrar.enroll(device, key.private.public_key(), since=since)
        return key.key_id

    def devices(self) -> EnrolledDevices:
        return enrolled_devices(self.store, self.trusted)

    def verdict(self, key_id: str | None, sealed: datetime, held: datetime | None = None) -> SealVerdict:
        times = {"sealed": (sealed, sealed), "held": held or sealed + HOUR}
        return self.devices().verdict(key_id, None, device_ids=("box1",), **times)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def test_an_enrolled_device_counts_from_its_time_on(plant: Plant) -> None:
    key = plant.enroll("box1", "a")
    assert plant.verdict(key, T).state == "enrolled"
    assert plant.verdict(key, T - HOUR / 60).state == "not enrolled"
    assert plant.verdict(plant.key("other").key_id, T).why.endswith("is not enrolled")
    assert plant.verdict(None, T).state == "not sealed"
    assert plant.devices().verdict(key, "1 are missing", device_ids=(), sealed=(T, T), held=T).state == "differs"
    assert plant.devices().verdict(key, None, device_ids=("box2",), sealed=(T, T), held=T).state == "not enrolled"


def test_enrolling_again_changes_nothing(plant: Plant) -> None:
    plant.enroll("box1", "a")
    before = read_statements(plant.store)
    plant.enroll("box1", "a", since=T + HOUR)
    assert read_statements(plant.store) == before
    with pytest.raises(BadInputError, match="is enrolled for box1"):
        plant.enroll("box2", "a")


def test_after_a_rotation_the_old_key_counts_until_and_the_new_from(plant: Plant) -> None:
    old, new = plant.enroll("box1", "a"), plant.key("b")
    fresh, ended = plant.registrar.rotate("box1", new.private.public_key(), at=T + HOUR)
    assert (fresh.statements[0].replaces, [key.key_id for key in ended]) == (old, [old])
    assert plant.registrar.rotate("box1", new.private.public_key(), at=T + 2 * HOUR) == (fresh, [])
    states = [[plant.verdict(key, T + i * HOUR / 2).state for i in range(4)] for key in (old, new.key_id)]
    assert states == [
        ["enrolled", "enrolled", "ended", "ended"],
        ["not enrolled", "not enrolled", "enrolled", "enrolled"],
    ]


def test_an_interrupted_rotation_is_finished_by_the_same_call(plant: Plant) -> None:
    old, new = plant.enroll("box1", "a"), plant.key("b")
    plant.registrar.enroll("box1", new.private.public_key(), since=T + HOUR, replaces=old)
    plant.registrar.rotate("box1", new.private.public_key(), at=T + 5 * HOUR)
    assert plant.devices().keys[old].key.not_after == T + HOUR


def test_a_revoked_keys_seal_counts_if_the_archiver_had_it_before(plant: Plant) -> None:
    key = plant.enroll("box1", "a")
    plant.registrar.close(key, "revoked", since=T + 3 * HOUR, reason="stolen")
    assert plant.verdict(key, T, held=T + 2 * HOUR).state == "enrolled"
    assert plant.verdict(key, T, held=T + 3 * HOUR).state == "revoked", "its thief may have written any time"
    assert not plant.registrar.close(key, "revoked", since=T + 4 * HOUR)[1]
    plant.registrar.close(key, "revoked", since=T + HOUR)
    assert plant.verdict(key, T, held=T + 2 * HOUR).state == "revoked", "the earlier time holds"
    with pytest.raises(BadInputError, match="for ever; give box1 a new one"):
        plant.enroll("box1", "a")


def test_what_promotion_did_not_sign_enrols_nobody(plant: Plant) -> None:
    archiver, device = plant.key("archiver"), plant.key("a")
    Registrar(plant.store, archiver, TrustedKeys.of(archiver), "mallory").enroll(
        "box1", device.private.public_key(), since=T
    )
    verdict = plant.verdict(device.key_id, T)
    assert verdict.state == "not enrolled" and "which is not trusted here" in verdict.why


def test_a_statement_that_was_removed_is_noticed(plant: Plant) -> None:
    key, other = plant.enroll("box1", "a"), plant.enroll("box2", "b")
    plant.registrar.close(key, "ended", since=T + HOUR)
    plant.registrar.close(key, "revoked", since=T + HOUR)
    statements = read_statements(plant.store)
    del statements[f"{DEVICE_KEYS}{key}.2.json"]
    found = EnrolledDevices.of(statements, plant.trusted)
    assert list(found.keys) == [other] and "one was changed or removed" in found.problems[key]
    swapped = {f"{DEVICE_KEYS}{key}.json": statements[f"{DEVICE_KEYS}{other}.json"]}
    assert EnrolledDevices.of(swapped, plant.trusted).problems


def test_promotions_own_rotation_leaves_enrolments_standing(plant: Plant, tmp_path: Path) -> None:
    key, fresh = plant.enroll("box1", "a"), plant.key("promotion-2")
    ended = tmp_path / "old.pub"
    ended.write_bytes(b"not-after: 2100-01-01T00:00:00Z\n" + plant.promotion.public_pem())
    trusted = TrustedKeys.load([ended, tmp_path / "promotion-2.pub"])
    Registrar(plant.store, fresh, trusted, "anna").close(key, "ended", since=T + HOUR)
    assert enrolled_devices(plant.store, trusted).keys[key].key.not_after == T + HOUR
