"""What an earlier version left half done is finished by this one, under the same part and with the same bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from yolo_assets.archive import part_plan
from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.signing import Signer
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import StoreUnavailableError
from yolo_assets.storage.faults import FaultRule, FaultyStore, StoreCall, fail
from yolo_assets.storage.retrying import RetryBounds, RetryingStore

FillHour = Callable[..., SpoolHour]
MIB = 1 << 20
EARLIER = f"tar+gzip members; jpeg stored, else deflate 6 by zlib {zlib.ZLIB_RUNTIME_VERSION}"
"""The codec of plans that version 0.1.0 wrote, word for word."""


def faulty(archive: Archive, *rules: FaultRule) -> tuple[Archive, FaultyStore]:
    store = FaultyStore(archive.store, *rules)
    return Archive(RetryingStore(store, RetryBounds(tries=1)), archive.trusted), store


def cut(_: StoreCall) -> StoreUnavailableError:
    return StoreUnavailableError("the line is cut", transient=False)


@pytest.mark.parametrize(
    ("operations", "effect", "sent"),
    [(("complete_upload",), "after", 0), (("complete_upload",), "before", 0), (("upload_part",), "before", 4)],
    ids=["complete-unseen", "all-sent", "half-sent"],
)
def test_an_upload_of_the_version_before_is_resumed_under_its_codec(
    operations: tuple[str, ...],
    effect: str,
    sent: int,
    fill_hour: FillHour,
    archive: Archive,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hour = fill_hour(frames=30, size=MIB)
    (hour.path / "notes.gz").write_bytes(gzip.compress(bytes(9 * MIB), mtime=0) + bytes(9 * MIB))
    with monkeypatch.context() as before:
        before.setattr(part_plan, "CODEC", EARLIER)
        nth = 4 if operations == ("upload_part",) else 1
        broken, _ = faulty(archive, fail(*operations, nth=nth, times=None, effect=effect, error=cut))  # type: ignore[arg-type]
        with pytest.raises(StoreUnavailableError):
            archive_hour(hour, broken, signer, ArchiveOptions(part_size=5 * MIB, whole=0))
    counted, calls = faulty(archive)
    outcome = archive_hour(hour, counted, signer)
    assert (outcome.status, outcome.sent_parts) == ("archived", sent)
    assert calls.counts().get("abort_upload", 0) == 0
    assert [receipt.part for receipt in archive.receipts("cam1", hour.hour)] == [1]
    part = archive.part(archive.receipts("cam1", hour.hour)[0])
    assert {row.name: part.read(row) for row in part.index()} == {
        member.name: (hour.path / member.name).read_bytes() for member in hour.members()
    }
