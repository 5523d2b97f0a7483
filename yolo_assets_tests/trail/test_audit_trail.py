"""The audit trail: noted before it is done, chained, and whatever is changed in it is told."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import trail_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.trail import TrailEntry, TrailTarget
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.storage.faults import FaultyStore, Outage
from yolo_assets.trail import trail as trail_module
from yolo_assets.trail.trail import AuditTrail, NotNotedError, this_actor

HOUR = TrailTarget(camera_id="lineA_cam01", names=("one",))


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


def trail_of(store: ObjectStore, tmp_path: Path) -> AuditTrail:
    signer = Signer.load_or_create(tmp_path / "keys" / "archiver")
    return AuditTrail(store, this_actor("A. Berg"), signer, TrustedKeys.of(signer))


def test_an_act_has_an_entry_before_and_one_after(store: ObjectStore, tmp_path: Path) -> None:
    trail = trail_of(store, tmp_path)
    with trail.recording("restore", HOUR, reason="audit 17") as act:
        (begun,) = trail.read().entries
        act.result = "done: 3 files"
    with pytest.raises(UserError), trail.recording("evidence make", HOUR):
        raise UserError("the archive is away")
    reading = trail.read()
    told = [(one.entry.what, one.entry.who, one.entry.result, one.entry.closes) for one in reading.entries]
    assert told == [
        ("restore", "A. Berg", "begun", None),
        ("restore", "A. Berg", "done: 3 files", 1),
        ("evidence make", "A. Berg", "begun", None),
        ("evidence make", "A. Berg", "failed: the archive is away", 3),
    ]
    assert begun.entry.reason == "audit 17" and begun.entry.os_user and begun.signed_by
    assert reading.findings == [] and reading.unsigned == 0


def test_what_cannot_be_noted_is_not_done(store: ObjectStore, tmp_path: Path) -> None:
    outage = Outage()
    trail, done = trail_of(FaultyStore(store, outage), tmp_path), []
    outage.begin()
    with pytest.raises(NotNotedError, match="nothing was done"), trail.recording("restore", HOUR):
        done.append("restored")
    outage.end()
    with pytest.raises(NotNotedError, match="it is done, and begun in entry 1"), trail.recording("restore", HOUR):
        outage.begin()
    outage.end()
    assert done == [] and [one.entry.result for one in trail.read().entries] == ["begun"]


def test_each_change_of_the_trail_is_told(store: ObjectStore, tmp_path: Path) -> None:
    trail = trail_of(store, tmp_path)
    for _ in range(5):
        trail.append("restore", HOUR, "done")
    whole = {number: store.get(trail_key(number)) for number in range(1, 6)}

    def findings(change: dict[int, bytes | None]) -> list[str]:
        for number, data in {**whole, **change}.items():
            store.delete(trail_key(number)) if data is None else store.put(trail_key(number), data)
        return trail.read().findings

    assert findings({}) == []
    assert findings({3: None}) == ["entry 3 is missing before entry 4; somebody deleted them"]
    assert "entry 3 cannot be trusted" in findings({3: whole[3].replace(b"payload", b"paylode")})[0]
    stranger = AuditTrail(store, this_actor("Mallory"), Signer.load_or_create(tmp_path / "other"))
    rewritten = TrailEntry.from_json(trail_payload(whole[3])).model_copy(update={"who": "Mallory"})
    assert findings({3: rewritten.to_json()}) == ["entry 4 does not follow from entry 3: one of them was replaced"]
    assert trail.read().unsigned == 1
    assert findings({3: whole[2]})[0] == "entry 3 is entry 2; it was copied there"
    findings({})
    assert trail.head().number == 5 and stranger.append("restore", HOUR, "done").number == 6
    assert len(trail.read().strangers) == 1


def trail_payload(stored: bytes) -> bytes:
    return trail_module.unverified_content(stored, "it").payload


def test_writers_at_the_same_time_make_one_chain(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "_PAGE", 2)  # the end is found through many listings
    trails = [trail_of(store, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda trail: [trail.append("restore", HOUR, "done") for _ in range(5)], trails))
    reading = trails[0].read()
    assert [one.entry.number for one in reading.entries] == list(range(1, 21)) and reading.findings == []
    monkeypatch.setattr(trail_module, "_CLOCKS_DIFFER", timedelta())
    cut = reading.entries[12].entry.at
    newer = trails[0].read(cut + timedelta(milliseconds=1))
    assert newer.findings == [] and {one.entry.number for one in newer.entries} <= set(range(14, 21))


def test_an_installation_writes_into_its_own_store(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    assert AuditTrail.of(settings, "A. Berg").append("restore", HOUR, "done").number == 1
    lost = settings.model_copy(update={"store_url": (tmp_path / "typo").as_uri()})
    with pytest.raises(NotNotedError, match="there is no store at"):
        AuditTrail.of(lost)
    assert not (tmp_path / "typo").exists()
