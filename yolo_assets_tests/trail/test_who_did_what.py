"""``yolo-assets audit`` over a store in which the centre, a channel and a device each keep their history."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.cli.main import main
from yolo_assets.contracts.device_audit import AuditEntry
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import DEVICE_AUDITS, channel_key, fleet_key, signature_files, trail_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.contracts.trail import TrailTarget
from yolo_assets.custody.enrolment import Registrar
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.models.promotion import Promoter, ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.trail.trail import AuditTrail
from yolo_assets_tests.catalog.catalog_world import World
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.models.release_support import write

HOUR = Hour.from_key("20260301_09")
Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Two releases by A. Berg, two exports by A. Berg and C. Li, a batch and a model change on a device."""
    settings = Settings(home=tmp_path)
    trail, opened = AuditTrail.of(settings, "A. Berg"), open_store(settings.store_url)
    signer = Signer.load_or_create(settings.promotion_key)
    promoter = Promoter(Registry(opened, TrustedKeys.of(signer)), signer, check=lambda bundle, run: None)
    write(opened, "v1", "v2")
    for version in ("v1", "v2"):
        promoter.promote(ReleaseRequest("line", version, "stable", "A. Berg", "better"))
    target = TrailTarget(camera_id="cam01", start=HOUR.start, end=HOUR.end)
    with trail.recording("restore", target, reason="audit 17") as act:
        act.result = "done: 3 files"
    trail.append("models export", TrailTarget(model="line/v1", out="/tmp/x"), "begun")
    every = TrailTarget(start=HOUR.start, end=HOUR.next().end)
    AuditTrail.of(settings, "C. Li").append("restore", every, "failed: the disk is full")
    log = AuditLog(tmp_path / "state" / "audit", "box1")
    log.record_batch("cam01", None, "B7", "D. Roy")
    change: dict[str, Any] = {
        "kind": "model",
        "source": "line/v1",
        "target": "line/v2",
        "result": "committed",
        "reason": "release 2",
    }
    log.append(AuditEntry(at=utc_now(), who="the release channel", **change))
    AuditShipper(log, opened).ship()
    facts: dict[str, Any] = {"agent_version": "1", "engine": "x", "model_version": "line/v2", "channel": "stable"}
    beat = Heartbeat(device_id="box1", at=utc_now(), started_at=utc_now(), audit=log.head, **facts)
    opened.put(fleet_key("box1"), beat.to_json())
    return opened


@pytest.fixture
def ask(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))

    def run(*options: str) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["yolo-assets", "audit", "--json", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    return run


def told(answer: tuple[int, dict[str, Any]]) -> list[tuple[str, str, str]]:
    code, document = answer
    assert code == 0 and document["ok"], document["findings"]
    return [(act["who"], act["what"], act["result"]) for act in document["acts"]]


RESTORED = ("A. Berg", "restore", "done: 3 files")
EXPORTED = ("A. Berg", "models export", "begun; no end was noted")
FAILED = ("C. Li", "restore", "failed: the disk is full")
CHANGED = ("the release channel", "model", "committed")
BATCH = ("D. Roy", "lot", "changed")


def test_who_did_what_to_a_model_a_camera_and_an_hour(ask: Ask) -> None:
    first, second = ("A. Berg", "promote", "release 1, served"), ("A. Berg", "promote", "release 2, serving")
    everything = told(ask())
    assert {first, second, RESTORED, EXPORTED, FAILED, CHANGED, BATCH} <= set(everything)
    assert told(ask("--model", "line/v1")) == [first, EXPORTED, CHANGED]
    assert told(ask("--model", "line")) == [first, second, EXPORTED, CHANGED]
    assert told(ask("--camera", "cam01")) == [RESTORED, FAILED, BATCH]
    assert told(ask("--camera", "cam02", "--hour", HOUR.key)) == [FAILED], "pictures of every camera"
    assert told(ask("--hour", HOUR.next().key)) == [FAILED]
    assert told(ask("--by", "c. li")) == [FAILED]
    assert told(ask("--since", "2099-01-01T00:00Z")) == []


def test_what_was_changed_in_any_history_is_told(ask: Ask, store: ObjectStore) -> None:
    def findings() -> str:
        code, document = ask("--model", "line")
        assert code == bool(document["findings"])
        return "; ".join(document["findings"])

    assert findings() == ""
    entry = store.get(trail_key(1))
    store.delete(trail_key(1))
    assert "audit trail: entry 1 is missing before entry 2" in findings()
    store.put(trail_key(1), entry)
    (copy,) = [info.key for info in store.list(DEVICE_AUDITS)]
    lines = store.get(copy)
    store.put(copy, lines.replace(b"payload", b"paylaod", 1))
    assert "device box1: " in findings()
    store.put(copy, lines)
    key = channel_key("line", "stable")
    for file in signature_files(key):
        store.delete(file)
    assert "channel line/stable: " in findings()


def test_entries_that_a_checkpoint_has_cannot_be_cut_off(ask: Ask, store: ObjectStore, tmp_path: Path) -> None:
    """The chain alone does not show it when its last entries are gone."""
    assert any("against no checkpoint" in text for text in ask()[1]["notes"])
    world = World(tmp_path)
    world.add()
    world.publish()
    assert cli("archive", "checkpoint", home=tmp_path).returncode == 0
    assert told(ask()) and not any("against no checkpoint" in text for text in ask()[1]["notes"])
    last = AuditTrail(store).head().number
    whole = {number: store.get(trail_key(number)) for number in (last - 1, last)}
    store.delete(trail_key(last))
    code, document = ask()
    assert code == 1 and [text.partition(" of ")[0] for text in document["findings"]] == ["audit trail: checkpoint 1"]
    assert f"has entry {last}, and it is gone; the end of the trail was cut off" in document["findings"][0]
    store.put(trail_key(last), whole[last - 1])
    assert any("the trail was written anew" in text for text in ask()[1]["findings"])
    store.put(trail_key(last), whole[last])
    (note,) = (tmp_path / "archive" / "checkpoints").glob("*.checkpoint")
    note.write_bytes(note.read_bytes().replace(b"audit trail", b"audit  rail"))
    assert ask()[1]["findings"][0].startswith("checkpoints of the archive: ")


def test_lines_of_a_device_count_by_its_enrolled_keys(ask: Ask, store: ObjectStore, tmp_path: Path) -> None:
    assert any("no key of device box1 is enrolled" in text for text in ask()[1]["notes"])
    settings = Settings(home=tmp_path)
    promotion = TrustedKeys.load(settings.promotion_public_keys())
    own = Signer.load(tmp_path / "state" / "audit" / "device.key").private.public_key()
    Registrar(store, Signer.load(settings.promotion_key), promotion, "A. Berg").enroll("box1", own)
    assert told(ask("--model", "line/v1")) and not any("is enrolled" in text for text in ask()[1]["notes"])
    # Somebody writes another log with a key of their own; what it begins with proves nothing.
    forged = AuditLog(tmp_path / "forged" / "audit", "box1")
    forged.record_batch("cam01", None, "B8", "Mallory")
    AuditShipper(forged, store).ship()
    code, document = ask()
    assert code == 1 and any("which is not trusted here" in text for text in document["findings"])


def test_what_promotions_old_key_signed_still_counts(ask: Ask, tmp_path: Path) -> None:
    """The key was replaced as the guide says; releases and entries from before are no strangers."""
    keys = Settings(home=tmp_path).promotion_key.parent
    before = ask("--model", "line")
    (keys / "promotions").mkdir()
    (keys / "promotion.pub").rename(keys / "promotions" / "until-today.pub")
    (keys / "promotion").unlink()
    Signer.load_or_create(keys / "promotion")
    code, document = ask("--model", "line")
    assert code == 0 and document["acts"] == before[1]["acts"]
    assert not any("not trusted here" in text for text in document["notes"])
