"""Tables at 80 columns: a table where it fits, else a paragraph a row; nothing is cut, no word is broken."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

from yolo_assets.cli import common, edge, storage
from yolo_assets.storage.admin.findings import Examined, StoreFinding

CAMERA = {"simulated": True, "state": "reconnecting", "fps": 24.97, "latency_ms_p99": 123.4, "captured": 1234567}
CAMERA |= {"processed": 1230000, "dropped": {"queue_full": 4567, "unreadable": 12}, "in_flight": 8}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, show: Any) -> list[str]:
    shown = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", shown)
    show()
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns, lines
    return lines


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_status_of_an_agent_can_be_read(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    import orjson

    model = {"pinned": None, "version": "line/20260102-1a2b3c4d", "engine": "openvino", "release": 3, "name": "line"}
    names = ("lineA_cam01", "hall_3_station_12_left")
    status = {
        "device_id": "box1",
        "model": model,
        "fps": 49.9,
        "not_ready": [],
        "cameras": dict.fromkeys(names, CAMERA),
    }
    monkeypatch.setattr(edge, "read_agent", lambda url: orjson.dumps(status))
    lines = on_terminal(monkeypatch, columns, lambda: edge.status("http://127.0.0.1:8080/", False))
    for name in names:
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{name} (simulated)")]
        assert "reconnecting" in lines[at]
        row = " ".join(lines[at : at + 3])
        for figure in ("24.97", "123.4", "1234567", "1230000", "queue_full 4567", "unreadable 12"):
            assert figure in row, lines


def test_what_the_doctor_found_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    question = "does a second write of an archive replace the first one?"
    answer = "yes: the bucket has no object lock, and its policy lets this user overwrite what is there already"
    finding = StoreFinding(question, answer, "unsafe", "turn on object lock")
    root = Examined(role="archive", url="s3://plant/root", profile="ceph", findings=[finding])
    lines = on_terminal(monkeypatch, 80, lambda: storage._show(root, []))  # pyright: ignore[reportPrivateUsage]
    assert lines[1] == f"unsafe  {question}"
    assert " ".join(line.strip() for line in lines[2:4]) == answer


def test_a_pipe_gets_one_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", shown)
    common.show_table(("a", "b"), [("x" * 50, "y" * 70), ("1", "[bold]2")])
    assert [line.split() for line in shown.getvalue().splitlines()] == [
        ["a", "b"],
        ["x" * 50, "y" * 70],
        ["1", "[bold]2"],
    ]
