"""Every option and argument of every command with a value that makes no sense: exit code 2, and one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from yolo_assets.cli.main import app, main

NONSENSE = "no ?/such thing"
FREE = {
    "archive",
    "store",
    "by",
    "note",
    "reason",
    "batch",
    "part_id",
    "class_name",
    "archiver",
    "sql",
    "sources",
    "receiver",
    "host",
    "metrics_host",
    "html",
    "assets",
    "note_text",
    "image",
    "images",
    "file",
    "what",
    "why",
    "which",
}
"""What may be any text: folders, names that people give or that a graph has, a query, an address that is looked up."""
CLASS_COMMANDS = ("classes",)
"""Anything that can be printed may name a class; whether there is one is known to the store alone."""
FILLED = {
    "a": "0" * 64,
    "assets": "hourly_archives",
    "b": "0" * 64,
    "camera": "cam1",
    "device": "box1",
    "class_name": "crack",
    "end": "2026-01-02T04:00:00Z",
    "file": "labels.json",
    "hour": "20260102_03",
    "image": "cam1/20260102_03/20260102_030000_000.jpg",
    "images": "cam1/20260102_03/20260102_030000_000.jpg",
    "kind": "blurred",
    "model": "line/1",
    "name": "line",
    "names": "yolo_cam1_20260102_03",
    "by": "Ann",
    "other": "line/2",
    "reason": "x",
    "role": "operate",
    "since": "2026-01-02T03:00:00Z",
    "sources": "photos",
    "sql": "SELECT 1",
    "start": "2026-01-02T03:00:00Z",
    "until": "2026-01-02T04:00:00Z",
    "version": "1",
    "study": "line",
    "to": "elsewhere",
    "what": "line/1",
    "which": "box1",
    "why": "x",
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        yield from commands(command.get_command(None, name), (*path, name))


def cases() -> Iterator[tuple[tuple[str, ...], Any, list[Any]]]:
    for path, command in commands(typer.main.get_command(app)):
        for parameter in command.params:
            is_file = "Path" in str(parameter.type_descriptor.annotation)
            if (
                not getattr(parameter, "is_flag", False)
                and not is_file
                and parameter.name not in FREE
                and path[:1] != CLASS_COMMANDS
                and parameter.name != "help"
            ):
                yield path, parameter, [each for each in command.params if each.required or each is parameter]


CASES = list(cases())


@pytest.mark.parametrize(
    ("path", "parameter", "needed"), CASES, ids=[f"{' '.join(path)} {it.opts[-1]}" for path, it, _ in CASES]
)
def test_nonsense_is_wrong_use(
    path: tuple[str, ...],
    parameter: Any,
    needed: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [*path]
    for each in needed:
        named = [each.opts[-1]] if each.param_type_name == "option" else []
        is_file = "Path" in str(each.type_descriptor.annotation)
        argv += [*named, NONSENSE if each is parameter else "somewhere" if is_file else FILLED[each.name]]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["yolo-assets", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2, (argv, said)
    assert len(said) == 1 and said[0].startswith("error: "), said
    assert [path.name for path in tmp_path.iterdir()] == [], "nothing was made"
