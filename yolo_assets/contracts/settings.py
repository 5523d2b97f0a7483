"""Where things are: the environment variables of the system, read in one place.

S3 credentials and endpoints come from the standard AWS variables and are read by the storage package alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from yolo_assets.contracts.errors import UsageError


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or ""
    try:
        return float(text) if text else default
    except ValueError:
        raise UsageError(f"{name}={text!r} is not a number") from None


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
        )

    @property
    def keys(self) -> Path:
        """Folder of key pairs: ``archiver`` signs receipts, ``promotion`` signs releases."""
        return self.home / "keys"

    @property
    def archiver_key(self) -> Path:
        """Private key that signs receipts."""
        return self.keys / "archiver"

    @property
    def promotion_key(self) -> Path:
        """Private key that signs manifests and channel pointers; training never opens it."""
        return self.keys / "promotion"
