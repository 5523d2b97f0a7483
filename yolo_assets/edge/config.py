"""The agent's configuration: one YAML file, checked as a whole before anything starts.

Belongs here: every option, its bounds and its default. Does not belong here: opening what the options name; the parts
that use them do.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from yolo_assets.contracts.archiver_figures import FIGURES
from yolo_assets.contracts.base import one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.camera_config import Camera, Section, SimulatedCameras, id_field

TOKEN_VARIABLE = "YOLO_ASSETS_TOKEN"  # noqa: S105 - the name of a variable, not a secret


class Listen(Section):
    """Where the API and the page are served. Port 0 takes a free one, which is printed."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Engine(Section):
    """How models run."""

    kind: Literal["auto", "openvino", "onnxruntime"] = Field(
        default="auto", description="auto: measured once at the first load, the fastest is kept"
    )
    threads: int = Field(default=1, ge=1, le=256, description="processor threads of one inference")
    workers: int = Field(default=1, ge=1, le=64, description="frames inferred at the same time")


class Sampling(Section):
    """Which pictures are kept. Every processed frame gets a record, kept or not."""

    normal_every: int = Field(default=10, ge=0, description="keep one of so many frames without detection; 0: none")
    detections_every: int = Field(default=1, ge=1, description="keep one of so many frames with a detection")
    jpeg_quality: int = Field(default=90, ge=50, le=100)


def _seconds(value: float) -> Any:
    return Field(default=value, gt=0, le=86400)


class AgentConfig(Section):
    """The whole file. Relative paths count from the file's own folder."""

    device_id: Annotated[str, id_field("device id")]
    spool: Path
    store: str = Field(min_length=1, description="file:///path or s3://bucket/prefix; a plain path is a folder")
    model: Annotated[str, id_field("model name")]
    channel: Annotated[str, id_field("channel")] = "stable"
    trusted_keys: tuple[Path, ...] = Field(min_length=1)
    state: Path | None = Field(default=None, description="model cache and state; None: edge/<device> beside the spool")
    archiver_home: Path | None = Field(
        default=None,
        description="YOLO_ASSETS_HOME of this box's archiver, whose figures /metrics shows; None: the "
        "folder that holds the spool",
    )
    token: SecretStr | None = None
    token_file: Path | None = None
    listen: Listen = Listen()
    engine: Engine = Engine()
    cameras: Annotated[tuple[Camera, ...], BeforeValidator(lambda v: v if v is not None else ())] = Field(min_length=1)
    sampling: Sampling = Sampling()
    queue_size: int = Field(default=8, ge=1, le=4096, description="frames that may wait, for each camera")
    batch_id: str | None = None
    poll_seconds: float = _seconds(2.0)
    heartbeat_seconds: float = _seconds(5.0)
    ready_seconds: float = _seconds(10.0)
    lease_seconds: float = _seconds(30.0)
    exit_when_done: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> AgentConfig:
        seen: set[str] = set()
        for camera_id in self.camera_ids:
            if camera_id in seen:
                raise ValueError(f"camera id {camera_id} is used twice; every camera needs its own")
            seen.add(camera_id)
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        for camera in self.cameras:
            truth = camera.truth if isinstance(camera, SimulatedCameras) else None
            if truth is not None and truth.absolute().is_relative_to(self.spool.absolute()):
                raise ValueError(f"truth {truth} lies inside the spool; the truth of a simulation must lie outside it")
        return self

    @property
    def camera_ids(self) -> list[str]:
        """Every camera of the box, in the order of the file."""
        ids: list[str] = []
        for camera in self.cameras:
            ids.extend(camera.camera_ids if isinstance(camera, SimulatedCameras) else [camera.camera_id])
        return ids

    @property
    def simulated_ids(self) -> set[str]:
        """Cameras whose pictures are simulated; the page says so."""
        return {i for camera in self.cameras if isinstance(camera, SimulatedCameras) for i in camera.camera_ids}

    @property
    def state_dir(self) -> Path:
        """Where ``state.json``, the audit log and the model cache lie."""
        return self.state if self.state is not None else self.spool.parent / "edge" / self.device_id

    @property
    def archiver_figures(self) -> Path:
        """What the archiver of this box counted; not there where none runs."""
        return (self.archiver_home or self.spool.parent) / FIGURES

    def with_port(self, port: int) -> AgentConfig:
        """This configuration on another port.

        Raises:
            BadInputError: not a port.
        """
        if not 0 <= port <= 65535:
            raise BadInputError(f"{port} is not a port; give 1 to 65535, or 0 for a free one")
        return self.model_copy(update={"listen": self.listen.model_copy(update={"port": port})})

    def secret(self) -> str | None:
        """The bearer token: from the file, the configuration or the environment; None means no mutation is possible.

        Raises:
            BadInputError: the token file cannot be read, or the token is shorter than eight characters.
        """
        if self.token_file is not None:
            try:
                value = self.token_file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise BadInputError(f"token_file: cannot read {self.token_file}: {error}") from None
        elif self.token is not None:
            value = self.token.get_secret_value()
        else:
            value = os.environ.get(TOKEN_VARIABLE, "")
            if not value:
                return None
        if len(value) < 8:
            raise BadInputError("token: it has fewer than 8 characters; use a long random one")
        return value


_PATHS = ("spool", "state", "archiver_home", "token_file")
_CAMERA_PATHS = ("path", "truth")


def _anchor(raw: dict[str, Any], base: Path) -> dict[str, Any]:
    """Relative paths made absolute from ``base``; anything that is not a string is left for validation to refuse."""

    def fix(value: Any) -> Any:
        return str(base / Path(value).expanduser()) if isinstance(value, str) and value else value

    found = {key: fix(value) if key in _PATHS else value for key, value in raw.items()}
    if isinstance(found.get("trusted_keys"), list):
        found["trusted_keys"] = [fix(value) for value in found["trusted_keys"]]
    if isinstance(found.get("cameras"), list):
        found["cameras"] = [
            {k: fix(v) if k in _CAMERA_PATHS else v for k, v in camera.items()} if isinstance(camera, dict) else camera
            for camera in found["cameras"]
        ]
    if isinstance(found.get("store"), str) and found["store"] and "://" not in found["store"]:
        found["store"] = Path(fix(found["store"])).absolute().as_uri()
    return found


def _plain_times(value: Any) -> Any:
    """YAML turns an ISO time into a datetime, without a zone when it was written so: give validation the text back."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain_times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_times(item) for item in value]
    return value


def load_config(path: Path, **overrides: Any) -> AgentConfig:
    """Read and check a configuration.

    Args:
        path: a YAML file.
        overrides: top-level options that replace the file's, where they are not None.

    Raises:
        BadInputError: missing, not YAML, or wrong; the message names the file and the first wrong field.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"no configuration at {path}; start from deploy/edge/edge.example.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the configuration {path}: {error}") from None
    except yaml.YAMLError as error:
        raise BadInputError(f"{path} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise BadInputError(f"{path} is not a configuration; expected options like device_id and cameras")
    anchored = _anchor(_plain_times(raw), path.absolute().parent)
    anchored |= {key: value for key, value in overrides.items() if value is not None}
    try:
        return AgentConfig.model_validate(anchored)
    except ValidationError as error:
        raise BadInputError(f"{path}: {one_line(error)}") from None
