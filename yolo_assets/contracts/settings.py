"""Where things are: the environment variables of the system, read in one place.

S3 credentials and endpoints come from the standard AWS variables and are read by the storage package alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from yolo_assets.contracts.archiver_figures import FIGURES
from yolo_assets.contracts.errors import UsageError

_MOST = 1e6
"""Of any setting: a century in hours."""


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or ""
    try:
        number = float(text) if text else default
    except ValueError:
        raise UsageError(f"{name}={text!r} is not a number") from None
    if not 0 <= number <= _MOST:  # neither "nan", nor more than calendars hold
        raise UsageError(f"{name}={text!r} is no sensible number; give one from 0 to {_MOST:g}")
    return number


def _days(env: Mapping[str, str], name: str) -> int:
    days = _number(env, name, 0)
    if not 0 <= days <= 36_500 or days != int(days):
        raise UsageError(f"{name}={env[name]!r} is not a number of days; write a whole number like 180")
    return int(days)


def _mode(env: Mapping[str, str], name: str) -> Literal["compliance", "governance"]:
    text = (env.get(name) or "compliance").lower()
    if text == "compliance" or text == "governance":
        return text
    raise UsageError(f"{name}={env[name]!r} is not known; use compliance or governance")


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]).absolute() if env.get(name) else None


class Settings(BaseModel):
    """Resolved locations; command-line options override single fields with ``model_copy``.

    Attributes:
        home: everything that has no place of its own.
        spool: where agents leave hours.
        archive_url: archive root.
        store_url: store root.
        model_name: the model that training makes and agents load.
        hot_hours: a local file stays at least this long after its hour ended, archived or not.
        grace_seconds: quiet time after which an hour without a seal is closed.
        class_names: what people label, in order; later datasets keep the order of earlier ones.
        training_recipe: file with the training options; None for the defaults.
        gate_policy: file with the limits of the promotion gate; None for the defaults.
        retention_days: archives are write-once for so long after their upload; 0 asks for nothing.
        retention_mode: ``compliance``: nobody can shorten it; ``governance``: whoever has the bypass right can.
        bandwidth: limit of all uploads of this host, as ``archive.bandwidth.rates`` reads it; empty: none.
        disk_full_hours: the limit is lifted when the spool's disk would be full in fewer hours.
        runtime: folder through which the uploads of this host share the limit; None: see ``archive.bandwidth.limiter``.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    home: Path
    spool: Path
    archive_url: str
    store_url: str
    model_name: str = "line"
    hot_hours: float = 0.0
    grace_seconds: float = 300.0
    class_names: tuple[str, ...] = ()
    training_recipe: Path | None = None
    gate_policy: Path | None = None
    retention_days: int = 0
    retention_mode: Literal["compliance", "governance"] = "compliance"
    bandwidth: str = ""
    disk_full_hours: float = 6.0
    runtime: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """From ``YOLO_ASSETS_*``; everything defaults to folders in ``YOLO_ASSETS_HOME``, itself ``var``."""
        env = os.environ if environ is None else environ
        home = Path(env.get("YOLO_ASSETS_HOME") or "var").absolute()
        return cls(
            home=home,
            spool=Path(env.get("YOLO_ASSETS_SPOOL") or home / "spool").absolute(),
            archive_url=env.get("YOLO_ASSETS_ARCHIVE") or (home / "archive").as_uri(),
            store_url=env.get("YOLO_ASSETS_STORE") or (home / "store").as_uri(),
            model_name=env.get("YOLO_ASSETS_MODEL") or "line",
            hot_hours=_number(env, "YOLO_ASSETS_HOT_HOURS", 0),
            grace_seconds=_number(env, "YOLO_ASSETS_GRACE_SECONDS", 300),
            class_names=tuple(name for raw in env.get("YOLO_ASSETS_CLASSES", "").split(",") if (name := raw.strip())),
            training_recipe=_path(env, "YOLO_ASSETS_RECIPE"),
            gate_policy=_path(env, "YOLO_ASSETS_GATE"),
            retention_days=_days(env, "YOLO_ASSETS_RETENTION_DAYS"),
            retention_mode=_mode(env, "YOLO_ASSETS_RETENTION_MODE"),
            bandwidth=env.get("YOLO_ASSETS_BWLIMIT") or "",
            disk_full_hours=_number(env, "YOLO_ASSETS_DISK_FULL_HOURS", 6),
            runtime=_path(env, "YOLO_ASSETS_RUNTIME"),
        )

    @property
    def keys(self) -> Path:
        """Folder of key pairs: ``archiver`` signs receipts, ``promotion`` signs releases."""
        return self.home / "keys"

    @property
    def archiver_figures(self) -> Path:
        """What the archiver counted, see ``contracts.archiver_figures``."""
        return self.home / FIGURES

    @property
    def known_stores(self) -> Path:
        """Which folder store this machine met under which path, see ``storage.mount_guard``."""
        return self.home / "known-stores"

    @property
    def archiver_key(self) -> Path:
        """Private key that signs receipts."""
        return self.keys / "archiver"

    def archiver_public_keys(self) -> list[Path]:
        """Keys whose receipts count here: this machine's own, and every ``.pub`` in ``<home>/keys/archivers``.

        A centre puts the public keys of its remote boxes there.
        """
        own = self.archiver_key.with_name(self.archiver_key.name + ".pub")
        return [*([own] if own.exists() else []), *sorted((self.keys / "archivers").glob("*.pub"))]

    @property
    def promotion_key(self) -> Path:
        """Private key that signs manifests and channel pointers; training never opens it."""
        return self.keys / "promotion"
