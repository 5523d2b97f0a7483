"""A log on a disk, and lines to write into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_assets.contracts.device_audit import AuditEntry
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.log import AuditLog

DEVICE = "box1"
MakeLog = Callable[..., AuditLog]


def change(number: int) -> AuditEntry:
    """The line of the ``number``-th model change."""
    return AuditEntry(
        at=utc_now(),
        kind="model",
        who="the release channel",
        result="committed",
        reason=f"release {number}: Prüfung bestanden",
        source=f"line/{number - 1}" if number > 1 else None,
        target=f"line/{number}",
        seconds=number / 7,
        release=number,
    )


def write(log: AuditLog, *numbers: int) -> AuditLog:
    """Append changes."""
    for number in numbers:
        log.append(change(number))
    return log


@pytest.fixture(scope="session")
def device_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: a new key for each of many logs would take most of the time."""
    path = tmp_path_factory.mktemp("device") / "device.key"
    Signer.load_or_create(path)
    return path
