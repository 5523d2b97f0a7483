"""Each fault of the network and of the server, on its own, at each kind of request, between the archiver and Ceph.

After each: every frame is readable byte for byte from spool or archive; tries are bounded, and what is not ridden out
leaves the hour queued with one line; one clean run ends the work with exactly one archive. ``make test`` has every
fault and every request at least once, ``make soak`` each fault at each request.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import is_frame
from yolo_assets.storage import ObjectStore, StoreUnavailableError, open_store
from yolo_assets_tests.support.archive_case import CAMERA, ArchiveCase
from yolo_assets_tests.support.archiver import Ran
from yolo_assets_tests.support.fault_plan import Fault, Rule
from yolo_assets_tests.support.fault_proxy import FaultProxy, Passed

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

pytestmark = pytest.mark.s3

FAULTS = {
    "cut request": Fault("cut_request", 0.6),
    "cut answer": Fault("cut_response", 0.6),
    "delay": Fault("delay", seconds=0.2),
    "reset": Fault("reset"),
    "reset after": Fault("reset_after"),
    "500": Fault("status", status=500),
    "503": Fault("status", status=503),
    "200 with error": Fault("error_200"),
    "no answer": Fault("drop_response"),
    "bit in request": Fault("flip_request", 0.4),
    "bit in answer": Fault("flip_response", 0.5),
}
OPERATIONS = {
    "list": "ListObjectsV2",
    "head": "HeadObject",
    "create": "CreateMultipartUpload",
    "part": "UploadPart",
    "list parts": "ListParts",
    "complete": "CompleteMultipartUpload",
    "put": "PutObject",
    "get": "GetObject",
}
ONCE = {
    "delay at list",
    "503 at head",
    "reset at create",
    "bit in request at part",
    "cut request at part",
    "cut answer at list parts",
    "no answer at complete",
    "200 with error at complete",
    "bit in answer at get",
    "reset after at put",
}
STAYS = {"503 at list", "500 at part", "reset after at complete", "bit in request at put", "cut answer at get"}
DONE_UNSEEN = {"cut_response", "reset_after", "drop_response"}
"""The server did it, the client does not know."""


def each(quick: set[str]) -> list[object]:
    """Every fault at every request where it is possible; what is not in ``quick`` is for the soak."""
    names = {f"{what} at {where}": (where, what) for where in OPERATIONS for what in FAULTS}
    assert quick <= set(names)
    return [
        pytest.param(OPERATIONS[where], FAULTS[what], id=name, marks=[] if name in quick else pytest.mark.soak)
        for name, (where, what) in names.items()
        if FAULTS[what].fits(OPERATIONS[where])
    ]


def start(case: ArchiveCase, proxy: FaultProxy, operation: str) -> None:
    """Bring the hour where its next run makes such a request."""
    if operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListParts"):
        case.fill(6, 1 << 20)
    else:
        case.fill(3, 20_000)
    if operation == "ListParts":
        proxy.begin(Rule("UploadPart", Fault("kill", 0.5), part=2))
        assert case.run().killed


def queued(ran: Ran) -> None:
    """A run that failed says so in one line."""
    assert ran.code == 1, ran
    assert ran.error.count("\n") == 1, ran.error
    assert ran.error.startswith("error: 1 of 1 hours failed and stay in the spool, the first: "), ran.error


def watched(case: ArchiveCase, proxy: FaultProxy, **how: float | bool | None) -> Ran:
    """A run with the invariant checked at every fault, while it goes on, and after it."""
    lost: list[str] = []

    def harmed(one: Passed) -> None:
        try:
            case.check(str(one))
        except Exception as error:
            lost.append(f"{one}: {error!r}")

    proxy.harmed = harmed
    ran = case.run(**how)
    assert not lost
    case.check("after the run")
    return ran


@pytest.mark.parametrize(("operation", "fault"), each(ONCE))
def test_a_fault_that_happens_once(proxied: ArchiveCase, proxy: FaultProxy, operation: str, fault: Fault) -> None:
    start(proxied, proxy, operation)
    proxy.begin(Rule(operation, fault))
    ran = watched(proxied, proxy)
    assert len(proxy.faults()) == 1
    assert ran.code == 0, ran.error
    if fault.kind == "flip_request" and operation != "CompleteMultipartUpload":
        harmed = proxy.faults()[0]
        assert 400 <= harmed.status < 500, "a changed body is refused"
        assert [one.status for one in proxy.passed if one.request.label == harmed.request.label][1:] == [200]
    proxy.begin(None)
    proxied.finish(str(fault))
    assert len(proxied.receipts()) == 1


@pytest.mark.parametrize(("operation", "fault"), each(STAYS))
def test_a_fault_that_stays(proxied: ArchiveCase, proxy: FaultProxy, operation: str, fault: Fault) -> None:
    start(proxied, proxy, operation)
    proxy.begin(Rule(operation, fault, times=1000))
    ran = watched(proxied, proxy)
    seen = fault.kind == "flip_response" and operation in ("ListParts", "CompleteMultipartUpload")
    unseen = fault.kind in DONE_UNSEEN and operation in ("PutObject", "CompleteMultipartUpload")
    # What was done is found when it is tried again. A list of parts with another ETag in it costs that part.
    if fault.kind == "delay" or seen or unseen:
        assert ran.code == 0, ran.error
    else:
        queued(ran)
        most = Counter(one.request.label for one in proxy.faults()).most_common(1)[0][1]
        damaged = (operation, fault.kind) == ("GetObject", "flip_response")
        assert most <= 3 if damaged else most == 3  # what does not prove itself is looked for among the versions
        assert len(proxied.receipts()) == (1 if operation == "GetObject" else 0)
    proxy.begin(None)
    proxied.finish(str(fault))
    assert len(proxied.receipts()) == 1


def test_the_tries_are_quick_and_few(proxied: ArchiveCase, proxy: FaultProxy) -> None:
    """With the pauses of real life: an outage costs a round a second or two, not minutes."""
    proxied.fill(2, 1000)
    proxy.begin(Rule("ListObjectsV2", Fault("status"), times=1000))
    begun = time.monotonic()
    queued(watched(proxied, proxy, patient=True))
    assert 0.3 < time.monotonic() - begun < 6
    assert proxy.count() == 3


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_a_request_that_hangs_is_abandoned_and_retried(proxied: ArchiveCase, proxy: FaultProxy, operation: str) -> None:
    """What hung may arrive late all the same: a part twice, a Complete after the archive is there."""
    proxied.fill(6, 1 << 20)
    proxy.begin(Rule(operation, Fault("delay", seconds=1.5)))
    ran = watched(proxied, proxy, read_timeout=0.5)
    assert ran.code == 0, ran.error
    proxy.begin(None)
    proxied.finish(operation)


def test_a_changed_bit_never_reaches_a_reader(proxied: ArchiveCase, proxy: FaultProxy) -> None:
    """In the receipt, the index or the frame itself: the reader gets an error, or the frame as it was."""
    proxied.fill(4, 30_000)
    assert proxied.run().code == 0
    frames = {name: data for name, data in proxied.must.items() if is_frame(name)}
    env = proxied.env()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", env["AWS_ENDPOINT_URL_S3"])
        archive = Archive(open_store(proxied.url), proxied.trusted)
    chance = random.Random(3)
    refused = Counter[str]()
    for _ in range(60):
        name, data = chance.choice(sorted(frames.items()))
        proxy.begin(Rule("GetObject", Fault("flip_response", chance.random()), skip=chance.randrange(3)))
        try:
            assert archive.cat(CAMERA, frame=name) == (name, data)
        except UserError:
            refused[proxy.faults()[0].request.key.split("/")[1]] += 1
        assert len(proxy.faults()) == 1
    assert refused["archives"] > 10, "in a frame it is told; receipt and index may be read again"


STORE_REQUESTS: dict[str, Callable[[ObjectStore, str], object]] = {
    "ListObjectsV2": lambda store, _: [info.key for info in store.list("a/")],
    "HeadObject": lambda store, _: (info := store.head("a/1")) and (info.size, info.etag),
    "GetObject": lambda store, _: store.get("a/1"),
    "ListParts": lambda store, upload: [(part.number, part.etag) for part in store.list_parts("a/up", upload)],
    "PutObject": lambda store, _: store.put("b", b"b").etag,
    "CreateMultipartUpload": lambda store, _: len(store.create_upload("c")),
    "UploadPart": lambda store, upload: store.upload_part("a/up", upload, 2, b"q").etag,
}


@pytest.mark.parametrize("operation", STORE_REQUESTS)
def test_an_answer_cut_anywhere_is_never_taken_for_a_whole_one(
    s3_bucket: S3Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Also within its headers, where Python's HTTP client takes a closed connection for the end of the headers."""
    straight = open_store(s3_bucket.url)
    for name in ("a/1", "a/2"):
        straight.put(name, name.encode() * 30)
    upload = straight.create_upload("a/up")
    straight.upload_part("a/up", upload, 1, b"p")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    store = open_store(s3_bucket.url)
    ask = STORE_REQUESTS[operation]
    whole = ask(store, upload)
    for percent in range(0, 100, 2):
        proxy.begin(Rule(operation, Fault("cut_response", percent / 100)))
        try:
            assert ask(store, upload) == whole, f"cut at {percent} %"
        except StoreUnavailableError as error:
            assert error.transient, percent
        assert proxy.faults()
