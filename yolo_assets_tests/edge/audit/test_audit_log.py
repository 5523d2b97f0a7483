"""The log on the device: power cuts at every byte, full disks, restarts, rotation, lost keys and heads."""

from __future__ import annotations

import resource
import threading
from pathlib import Path

import pytest

from yolo_assets.contracts.device_audit import GENESIS, AuditLine
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import unverified_content
from yolo_assets.edge.audit.chain import digest
from yolo_assets.edge.audit.files import logs, read_lines, segments
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.audit.verify import verify_device
from yolo_assets_tests.edge.audit.conftest import DEVICE, write
from yolo_assets_tests.support.signed import content, with_content


def kinds(folder: Path) -> list[str]:
    return [content(line)["kind"] for name in logs(folder) for line, _ in read_lines(folder / name)]


def only_file(folder: Path) -> Path:
    (name,) = logs(folder)
    return segments(folder / name)[-1][1]


def faults(folder: Path) -> list[str]:
    return [text for report in verify_device(folder) for text in report.findings]


def test_each_line_holds_the_hash_of_the_line_before_and_who_did_what(tmp_path: Path) -> None:
    write(AuditLog(tmp_path, DEVICE), 1, 2)
    raw = [line for line, _ in read_lines(only_file(tmp_path).parent)]
    lines = [unverified_content(line, "it").record(AuditLine, "it") for line in raw]
    assert [line.sequence for line in lines] == [1, 2, 3]
    assert [line.previous for line in lines] == [GENESIS, digest(raw[0]), digest(raw[1])]
    begin, first, second = lines
    assert begin.kind == "begin" and begin.public_key and "first start" in begin.reason
    assert (first.who, first.source, first.target, first.result) == (
        "the release channel",
        None,
        "line/1",
        "committed",
    )
    assert second.source == "line/1" and second.signature is not None and second.at >= first.at
    assert (tmp_path / "device.key").stat().st_mode & 0o077 == 0


def test_a_restart_continues_the_chain(tmp_path: Path) -> None:
    write(AuditLog(tmp_path, DEVICE), 1)
    again = write(AuditLog(tmp_path, DEVICE), 2)
    assert [line.target for line in again.recent()] == [None, "line/1", "line/2"]
    assert (faults(tmp_path), kinds(tmp_path)) == ([], ["begin", "model", "model"])
    assert again.head.sequence == 3 and not again.trouble


def test_a_power_cut_at_any_byte_of_a_line_loses_at_most_that_line(tmp_path: Path) -> None:
    """The line that is torn is newer than the head, as it is when the power goes while it is written."""
    write(AuditLog(tmp_path, DEVICE), 1)
    head, file = (tmp_path / "head.json").read_bytes(), only_file(tmp_path)
    before = file.read_bytes()
    write(AuditLog(tmp_path, DEVICE), 2)
    after = file.read_bytes()
    line = after[len(before) :]
    for cut in (*range(1, 12), len(line) // 2, len(line) - 2, len(line) - 1):
        file.write_bytes(before + line[:cut])
        (tmp_path / "head.json").write_bytes(head)
        recovered = AuditLog(tmp_path, DEVICE)
        assert kinds(tmp_path) == ["begin", "model", "recovered"], cut
        assert f"{cut} bytes" in recovered.recent()[-1].reason and not recovered.trouble
        assert faults(tmp_path) == []
    file.write_bytes(after)  # whole, and the power went before the head was written
    (tmp_path / "head.json").write_bytes(head)
    assert AuditLog(tmp_path, DEVICE).head.sequence == 3
    assert kinds(tmp_path) == ["begin", "model", "model"] and faults(tmp_path) == []


def test_a_line_that_the_head_names_and_that_is_cut_off_begins_a_new_log(tmp_path: Path) -> None:
    """The agent must not repair a log that was cut: it continues in a new one and records why."""
    write(AuditLog(tmp_path, DEVICE), 1, 2)
    file = only_file(tmp_path)
    old = file.read_bytes()
    file.write_bytes(old[:-1])
    again = write(AuditLog(tmp_path, DEVICE), 3)
    assert "should be 3 and is 2" in again.trouble
    assert len(logs(tmp_path)) == 2 and file.read_bytes() == old[:-1]
    begin = next(line for line in again.recent() if line.kind == "begin")
    assert begin.source is not None and " line 3 " in begin.source and "damaged" in begin.reason
    assert any("line 3 is cut off at the end" in text for text in faults(tmp_path))
    assert AuditLog(tmp_path, DEVICE).trouble == ""  # the new log is sound


@pytest.mark.parametrize("what", ["head gone", "head damaged", "log gone", "middle changed", "key damaged"])
def test_damage_never_keeps_the_agent_from_starting_and_is_always_found(tmp_path: Path, what: str) -> None:
    write(AuditLog(tmp_path, DEVICE), 1, 2, 3)
    file = only_file(tmp_path)
    if what == "head gone":
        (tmp_path / "head.json").unlink()
    elif what == "head damaged":
        (tmp_path / "head.json").write_bytes(b'{"sequence": 1}')
    elif what == "log gone":
        file.unlink()
    elif what == "middle changed":
        lines = file.read_bytes().splitlines()
        lines[2] = with_content(lines[2], content(lines[2]) | {"target": "line/9"})
        file.write_bytes(b"\n".join(lines) + b"\n")
    else:
        (tmp_path / "device.key").write_bytes(b"no key")
    again = write(AuditLog(tmp_path, DEVICE), 4)
    assert again.trouble and again.recent()[-1].target == "line/4" and again.head.sequence == 2
    if what.startswith("head"):  # the old log lies there whole; the new one says why it began
        assert any("was damaged" in note for report in verify_device(tmp_path) for note in report.notes)
    else:
        assert faults(tmp_path)


def test_a_full_disk_keeps_lines_in_memory_in_order_and_leaves_no_piece(tmp_path: Path) -> None:
    """The kernel refuses in the middle of a line, as a full disk does."""
    log = write(AuditLog(tmp_path, DEVICE), 1, 2, 3)
    file = only_file(tmp_path)
    size = file.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
    try:
        write(log, 4, 5)
        assert file.stat().st_size == size and "2 lines wait" in log.trouble
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.head.sequence == 4
    log.retry()
    assert log.trouble == "" and log.head.sequence == 6
    assert [line.target for line in log.recent()][-2:] == ["line/4", "line/5"] and faults(tmp_path) == []


def test_files_rotate_and_old_ones_are_deleted_only_once_shipped(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, DEVICE, lines_per_file=5, keep_files=2)
    write(log, *range(1, 22))
    (name,) = logs(tmp_path)
    assert [first for first, _ in segments(tmp_path / name)] == [1, 6, 11, 16, 21]
    log.mark_shipped(12)
    assert [first for first, _ in segments(tmp_path / name)] == [11, 16, 21], "what is not shipped stays"
    assert faults(tmp_path) == [] and log.head.first_sequence == 11
    again = write(AuditLog(tmp_path, DEVICE, lines_per_file=5, keep_files=2), 22)
    assert again.head.sequence == 23 and faults(tmp_path) == [] and not again.trouble
    segments(tmp_path / name)[0][1].unlink()
    assert any("missing from the beginning" in text for text in faults(tmp_path))


def test_unshipped_gives_each_line_once_across_files(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, DEVICE, lines_per_file=3)
    write(log, *range(1, 10))
    (name,) = logs(tmp_path)
    whole = b"".join(line + b"\n" for line, _ in read_lines(tmp_path / name))
    got = b""
    for most in (1, 4, 2, 100):
        found = log.unshipped(most)
        assert found is not None
        first, last, data = found
        assert data.count(b"\n") == last - first + 1 <= most
        got += data
        log.mark_shipped(last)
    assert got == whole and log.unshipped() is None


def test_many_threads_write_one_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, DEVICE, lines_per_file=7)
    threads = [threading.Thread(target=write, args=(log, *range(n, n + 8))) for n in range(0, 32, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert log.head.sequence == 33 and faults(tmp_path) == []
    assert sorted(line.target or "" for line in log.recent()[1:]) == sorted(f"line/{n}" for n in range(32))


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(BadInputError, match=r"cannot keep the audit log in .*audit"):
        AuditLog(tmp_path / "audit", DEVICE)
