"""What the demo leaves behind for ``make up``, and the file that marks a home as the demo's.

``<home>/demo.json`` is written when the demo takes a home and rewritten when it ends. A home without it that is not
empty belongs to someone else, and the demo never touches it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from yolo_assets.contracts.base import Time
from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.local.services import SimulatedLine
from yolo_assets.runtime.files import locked_file
from yolo_assets.spool.files import write_atomic

FILE = "demo.json"


class DemoMark(BaseModel):
    """The content of ``demo.json``."""

    finished: bool = False
    step: str = ""
    cameras: tuple[str, ...] = ()
    seed: int = 0
    start: Time | None = None
    change_at: Time | None = None
    truth: Path | None = None


def read_mark(home: Path) -> DemoMark | None:
    """The mark of a home, or None when no demo ever had it.

    Raises:
        UserError: there is a file of that name that no demo wrote.
    """
    try:
        return DemoMark.model_validate_json((home / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise UserError(f"{home / FILE} was not written by a demo; check {home} and move it away") from None


def write_mark(home: Path, mark: DemoMark) -> None:
    """Replace the mark, durably."""
    write_atomic(home / FILE, mark.model_dump_json(indent=1).encode())


def take_home(home: Path) -> str:
    """Make ``home`` an empty folder that is the demo's, and say in words what that meant.

    An earlier demo's home, finished or not, is cleared: its figures would mix with the new ones.

    Raises:
        UsageError: the home holds something that no demo made.
    """
    mark = read_mark(home) if home.is_dir() else None
    if mark is None and home.is_dir() and any(home.iterdir()):
        raise UsageError(
            f"{home} is not empty and no demo made it; set YOLO_ASSETS_HOME to a new folder, or move this one away"
        )
    if mark is None:
        said = f"starts in the new folder {home}"
    elif mark.finished:
        said = f"starts clean: the finished demo in {home} is replaced"
    else:
        said = f"starts clean: an earlier demo was interrupted at '{mark.step}' and its half-finished files are removed"
    if mark is not None:
        for path in home.iterdir():
            if path.name != FILE:  # the mark goes last: killed in between, the home is still known to be ours
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    home.mkdir(parents=True, exist_ok=True)
    write_mark(home, DemoMark(step="start"))
    return said


def remembered_line(home: Path) -> SimulatedLine | None:
    """The demo's line, for the agent of ``make up``; None without a demo."""
    mark = read_mark(home)
    if mark is None or mark.start is None or not mark.cameras:
        return None
    return SimulatedLine(mark.cameras, mark.seed, mark.start, 1.0, 1.0, mark.change_at, mark.truth)


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold ``<home>.lock``: two demos, or a demo under ``make up``, would undo each other's work.

    Raises:
        UserError: another process works in this home.
    """
    lock = home.with_name(f".{home.name}.lock")
    with locked_file(lock, f"another demo or make up is running in {home}; stop it first, or set YOLO_ASSETS_HOME"):
        yield
