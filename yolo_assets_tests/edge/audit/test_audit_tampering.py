"""Whatever is done to a log, the check finds it: on the device, in the store, with and without the device's key."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import device_audit_prefix, fleet_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.chain import digest
from yolo_assets.edge.audit.files import segments
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.shipping import AuditShipper
from yolo_assets.edge.audit.verify import DeviceCopies, LogReport, compare, verify_device
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.edge.audit.conftest import DEVICE, write
from yolo_assets_tests.support.signed import content, sealed, with_content

LINES = 9


def findings(reports: list[LogReport]) -> list[str]:
    return [text for report in reports for text in report.findings]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, device_key: Path) -> Path:
    """A log of nine lines in three files."""
    folder = tmp_path_factory.mktemp("state") / "audit"
    folder.mkdir()
    shutil.copy(device_key, folder)
    write(AuditLog(folder, DEVICE, lines_per_file=3), *range(1, LINES))
    assert findings(verify_device(folder)) == []
    return folder


def lines_of(folder: Path) -> list[bytes]:
    (log,) = (path for path in folder.iterdir() if path.is_dir())
    return [line for _, path in segments(log) for line in path.read_bytes().splitlines()]


def rewrite(folder: Path, lines: list[bytes]) -> None:
    """Put other lines in place of a log's, in the same number of lines a file."""
    (log,) = (path for path in folder.iterdir() if path.is_dir())
    for _, path in segments(log):
        path.unlink()
    for begin in range(0, len(lines), 3):
        (log / f"{begin + 1:010d}.ndjson").write_bytes(b"".join(line + b"\n" for line in lines[begin : begin + 3]))


def flip(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    line = bytearray(lines[at])
    place = chance.randrange(len(line))
    line[place] ^= 1 << chance.randrange(7)
    lines[at] = bytes(line).replace(b"\n", b" ")


def edit(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    document = content(lines[at])
    document["reason"] += "!"
    lines[at] = with_content(lines[at], document)


def drop(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def cut(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines)) :]


def repeat(lines: list[bytes], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))


def swap(lines: list[bytes], chance: random.Random) -> None:
    one, two = chance.sample(range(len(lines)), 2)
    lines[one], lines[two] = lines[two], lines[one]


def renumber(lines: list[bytes], chance: random.Random) -> None:
    """Take a line out and mend numbers and hashes, as one can without the key."""
    at = chance.randrange(1, len(lines))
    del lines[at]
    for number in range(at, len(lines)):
        document = content(lines[number]) | {"sequence": number + 1, "previous": digest(lines[number - 1])}
        lines[number] = with_content(lines[number], document)
    if at == len(lines):
        del lines[-1]


def resign(lines: list[bytes], chance: random.Random) -> None:
    """A line of an attacker, signed with another key."""
    at = chance.randrange(len(lines))
    lines[at] = sealed(FOREIGN, content(lines[at]) | {"target": "line/evil"}, "device-audit-line")


FOREIGN = Signer(Ed25519PrivateKey.generate(), "0123456789abcdef")
DEEDS: tuple[Callable[[list[bytes], random.Random], None], ...] = (
    flip,
    edit,
    drop,
    cut,
    repeat,
    swap,
    renumber,
    resign,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deed=st.sampled_from(DEEDS), seed=st.integers(0, 2**32))
def test_no_change_of_the_log_goes_unseen(
    original: Path, tmp_path_factory: pytest.TempPathFactory, deed: Callable[..., None], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("tampered") / "audit"
    shutil.copytree(original, folder)
    lines = lines_of(folder)
    before = list(lines)
    deed(lines, random.Random(seed))
    rewrite(folder, lines)
    found = findings(verify_device(folder))
    assert bool(found) == (lines != before), (deed, found)


def test_a_log_rewritten_with_the_device_key_differs_from_the_store(tmp_path: Path, original: Path) -> None:
    """Root on the device writes a new history that is sound in itself; the store holds the old one."""
    folder, store = tmp_path / "audit", open_store((tmp_path / "store").as_uri())
    shutil.copytree(original, folder)
    log = AuditLog(folder, DEVICE, lines_per_file=3)
    AuditShipper(log, store).ship()
    signer = Signer.load(folder / "device.key")
    lines = lines_of(folder)
    for number in range(4, len(lines)):
        document = content(lines[number])
        document["previous"] = digest(lines[number - 1])
        if number == 4:
            document["target"] = "line/other"
        lines[number] = sealed(signer, document, "device-audit-line")
    rewrite(folder, lines)
    head = content((folder / "head.json").read_bytes()) | {"sha256": digest(lines[-1])}
    (folder / "head.json").write_bytes(sealed(signer, head, "device-audit-head"))
    box, stored = verify_device(folder), DeviceCopies.read(store, DEVICE).verify()
    assert findings(box) == findings(stored) == []
    (difference,) = compare(box, stored)
    assert "line 5 on the device is not line 5 in the store" in difference


@pytest.fixture
def shipped(tmp_path: Path, device_key: Path) -> tuple[AuditLog, ObjectStore]:
    """A log that went to the store in three objects, and a heartbeat that names its end."""
    (tmp_path / "audit").mkdir()
    shutil.copy(device_key, tmp_path / "audit")
    log, store = AuditLog(tmp_path / "audit", DEVICE), open_store((tmp_path / "store").as_uri())
    shipper = AuditShipper(log, store)
    for numbers in ((1, 2), (3,), (4, 5, 6)):
        write(log, *numbers)
        shipper.ship()
    beat(log, store)
    assert findings(DeviceCopies.read(store, DEVICE).verify()) == []
    return log, store


def beat(log: AuditLog, store: ObjectStore) -> None:
    now = utc_now()
    sent = Heartbeat(
        device_id=DEVICE,
        at=now,
        started_at=now,
        agent_version="1",
        engine="onnxruntime",
        model_version=None,
        audit=log.signed_head,
    )
    store.put(fleet_key(DEVICE), sent.to_json())


def objects(store: ObjectStore) -> list[str]:
    return [info.key for info in store.list(device_audit_prefix(DEVICE))]


def test_lines_go_to_the_store_once_and_in_order(shipped: tuple[AuditLog, ObjectStore]) -> None:
    log, store = shipped
    assert [key.rsplit("/", 1)[1] for key in objects(store)] == [
        "0000000001-0000000003.ndjson",
        "0000000004-0000000004.ndjson",
        "0000000005-0000000007.ndjson",
    ]
    (report,) = DeviceCopies.read(store, DEVICE).verify()
    assert (report.lines, report.last, report.sha256) == (7, 7, log.head.sha256)
    assert AuditShipper(log, store).ship() == 0


@pytest.mark.parametrize("what", ["first", "middle", "last", "changed", "cut", "added", "headless"])
def test_no_change_of_the_copy_goes_unseen(shipped: tuple[AuditLog, ObjectStore], what: str) -> None:
    _, store = shipped
    first, middle, last = objects(store)
    if what in ("first", "middle", "last"):
        store.delete({"first": first, "middle": middle, "last": last}[what])
    elif what == "changed":
        *others, line = store.get(middle).splitlines(keepends=True)
        changed = content(line) | {"reason": content(line)["reason"].replace("release 3", "release 4")}
        store.put(middle, b"".join([*others, with_content(line, changed) + b"\n"]))
    elif what == "cut":
        store.put(last, b"".join(store.get(last).splitlines(keepends=True)[:-1]))
    elif what == "added":
        store.put(last.replace("05-", "08-").replace("07.", "08."), store.get(middle))
    else:
        beat_now = orjson.loads(store.get(fleet_key(DEVICE)))
        head = canonical_json(beat_now["audit"])
        beat_now["audit"] = orjson.loads(with_content(head, content(head) | {"shipped": 4}))
        store.put(fleet_key(DEVICE), orjson.dumps(beat_now))
        store.delete(last)
    assert findings(DeviceCopies.read(store, DEVICE).verify())


def test_the_key_kept_elsewhere_reveals_a_rewritten_history(tmp_path: Path, device_key: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    forged = write(AuditLog(tmp_path / "forged", DEVICE), 1, 2)
    AuditShipper(forged, store).ship()
    beat(forged, store)
    assert findings(DeviceCopies.read(store, DEVICE).verify()) == []
    found = findings(DeviceCopies.read(store, DEVICE).verify(TrustedKeys.of(Signer.load(device_key))))
    assert found and "not trusted" in found[0]


def test_a_crash_between_the_object_and_its_note_is_no_difference(tmp_path: Path, device_key: Path) -> None:
    """The same lines may be in the store twice, under two keys; different there, they are found."""
    (tmp_path / "audit").mkdir()
    shutil.copy(device_key, tmp_path / "audit")
    log, store = AuditLog(tmp_path / "audit", DEVICE), open_store((tmp_path / "store").as_uri())
    write(log, 1)
    found = log.unshipped()
    assert found is not None
    AuditShipper(log, store).ship()
    log._shipped = 0  # the note was lost with the power
    AuditShipper(log, store).ship()
    assert len(objects(store)) == 1
    log._shipped = 0
    write(log, 2)
    AuditShipper(log, store).ship()
    assert len(objects(store)) == 2
    (report,) = DeviceCopies.read(store, DEVICE).verify()
    assert (report.findings, report.lines) == ([], 3)
    begin, line = found[2].splitlines()
    changed = with_content(line, content(line) | {"reason": "release 7"})
    store.put(objects(store)[0], begin + b"\n" + changed + b"\n")
    assert findings(DeviceCopies.read(store, DEVICE).verify())


def test_a_foreign_object_in_our_place_is_reported_not_overwritten(tmp_path: Path) -> None:
    log, store = write(AuditLog(tmp_path / "audit", DEVICE), 1), open_store((tmp_path / "store").as_uri())
    AuditShipper(log, store).ship()
    (key,) = objects(store)
    store.put(key, b"{}\n")
    log._shipped = 0
    with pytest.raises(UserError, match="other lines"):
        AuditShipper(log, store).ship()
    assert store.get(key) == b"{}\n"


def test_a_wiped_device_begins_a_second_log_and_both_are_checked(
    shipped: tuple[AuditLog, ObjectStore], tmp_path: Path
) -> None:
    _, store = shipped
    again = write(AuditLog(tmp_path / "new", DEVICE), 1)
    AuditShipper(again, store).ship()
    beat(again, store)
    reports = DeviceCopies.read(store, DEVICE).verify()
    assert len(reports) == 2 and findings(reports) == []
    assert any("without knowing log" in note for report in reports for note in report.notes)


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no audit log in"):
        verify_device(tmp_path)
    with pytest.raises(BadInputError, match="holds no audit log of box9"):
        DeviceCopies.read(open_store((tmp_path / "store").as_uri()), "box9")
