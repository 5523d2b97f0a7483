"""Lines of the audit log about what is no model: settings and privacy masks that differ at a start, batches of cameras.

Belongs here: what makes such a line. Does not belong here: changes of the model (``edge.rollout``), and parts: a line
makes one every second, and each frame's record holds its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import orjson

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.device_audit import AuditEntry
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.runtime.files import write_atomic

log = logging.getLogger(__name__)
_BY_FILE = "the configuration file"
_MOST_NAMED = 12
_LONGEST = 60
_MASK = ".mask"


def record_settings(audit: AuditLog, path: Path, settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Write a line when the configuration is not that of the last start; the first start of all makes none.

    Args:
        audit: the log of this device.
        path: where the settings are kept until the next start; secrets as fingerprints under the device's key.
        settings: every option, as text; ``cameras.<id>.mask`` holds the version of the mask.
        secrets: every option that may hold one.
    """
    now = {**settings, **{name: f"({audit.fingerprint(value)})" for name, value in secrets.items()}}
    before = _read(path)
    try:
        write_atomic(path, canonical_json(now))
    except OSError as error:
        log.error("the settings cannot be kept in %s: %s; their next change is not told", path, error.strerror)
    if before is None:
        return
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    for name in (name for name in changed if name.endswith(_MASK)):
        _append(audit, "mask", _BY_FILE, before.get(name), now.get(name), f"privacy mask of {name.split('.')[1]}")
    others = [name for name in changed if not name.endswith(_MASK)]
    if others:
        told = [f"{name}: {_short(before, name)} → {_short(now, name)}" for name in others[:_MOST_NAMED]]
        more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        _append(audit, "settings", _BY_FILE, None, None, "; ".join(told) + more)


def record_batch(audit: AuditLog, camera_id: str, before: str | None, after: str | None, by: str) -> None:
    """Write a line about another batch in front of a camera."""
    _append(audit, "lot", by, before, after, f"batch in front of {camera_id}")


def _append(audit: AuditLog, kind: str, who: str, source: str | None, target: str | None, reason: str) -> None:
    audit.append(
        AuditEntry(at=utc_now(), kind=kind, who=who, source=source, target=target, result="changed", reason=reason)
    )


def _short(settings: Mapping[str, str], name: str) -> str:
    value = settings.get(name, "–")
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"


def _read(path: Path) -> dict[str, str] | None:
    """The settings of the last start; None where there is none that can be read."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    if not isinstance(found, dict):
        return None
    return {str(name): str(value) for name, value in found.items()}
