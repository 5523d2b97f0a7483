"""The agent's configuration: one YAML file, checked as a whole before anything starts.

Belongs here: every option, its bounds and its default. Does not belong here: opening what the options name; the parts
that use them do.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from yolo_assets.contracts.archiver_figures import FIGURES
from yolo_assets.contracts.base import is_json_object
from yolo_assets.contracts.brokers import Brokers, anchor_files
from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.locations import location_folder, location_url, page_address
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.contracts.strict_yaml import parse_yaml
from yolo_assets.edge.config.cameras import Camera, SimulatedCameras
from yolo_assets.edge.config.lots import LOT_FILES, Lots
from yolo_assets.edge.config.masks import Mask
from yolo_assets.edge.config.outputs import FILES, AlarmRule, Infer, Output
from yolo_assets.edge.config.rollout import Canary, Freeze, Headroom, Light, Shadow, WatchWindow
from yolo_assets.edge.config.section import Section, id_field
from yolo_assets.edge.config.spool import ClockRules, Disk, Sampling
from yolo_assets.vision.engines.interface import EngineSetup, Mode
from yolo_assets.vision.selection import DeviceChoice, EngineChoice, EngineOptions, PrecisionChoice

TOKEN_VARIABLE = "YOLO_ASSETS_TOKEN"  # noqa: S105 - the name of a variable, not a secret


class Listen(Section):
    """Where the API and the page are served. Port 0 takes a free one, which is printed."""

    host: str = Field(
        default="127.0.0.1", description="address to listen on; other than on loopback, reading needs the token, too"
    )
    port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free port and prints it")
    tls_cert: Path | None = Field(default=None, description="certificate chain, PEM; with it the page is https")
    tls_key: Path | None = Field(default=None, description="its private key, PEM")
    tls_client_ca: Path | None = Field(
        default=None,
        description="authority whose client certificates are accepted, PEM; whose they are is said by people_file",
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="host names that browsers may use for the page, besides this machine's name and IP addresses",
    )
    page: Annotated[str, AfterValidator(page_address)] | None = Field(
        default=None, description="address under which people reach the page; the centre links to it"
    )
    viewers: int = Field(default=8, ge=1, le=1000, description="how many may watch live streams at the same time")
    max_body_bytes: int = Field(default=65536, ge=1024, le=1 << 30, description="largest body of a request")

    @model_validator(mode="after")
    def _both(self) -> Listen:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both or none")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key: certificates are shown over TLS alone")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Page(Section):
    """The language of the live page."""

    language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        description="language that the page opens in: en, zh, or that of texts; None: the browser's",
    )
    texts: Path | None = Field(
        default=None, description="YAML or JSON with texts of the page in this language; what is left out is English"
    )

    @model_validator(mode="after")
    def _named(self) -> Page:
        if self.texts is not None and self.language is None:
            raise ValueError("texts needs language: say in which language they are, like de")
        return self


class AuditFiles(Section):
    """The audit log on the device. Lines that the store does not hold are never removed."""

    lines_per_file: int = Field(
        default=1000, ge=10, le=1_000_000, description="a new file begins after this many lines"
    )
    keep_files: int = Field(
        default=100, ge=2, le=100_000, description="older files are deleted once the store holds them"
    )


class Engine(Section):
    """How models run."""

    kind: EngineChoice = Field(
        default="auto", description="auto: all are measured on the first model, the best is kept and remembered"
    )
    device: DeviceChoice = Field(
        default="auto",
        description="NVIDIA's cards: cuda and tensorrt (onnxruntime-gpu), tensorrt_rtx; Intel's: gpu and npu",
    )
    cards: tuple[Annotated[int, Field(ge=0, le=63)], ...] = Field(
        default=(0,), min_length=1, description="numbers of the cards that the workers are spread over"
    )
    precision: PrecisionChoice = Field(
        default="auto", description="auto: a lower one is used only where it finds what f32 finds, and faster"
    )
    mode: Mode = Field(default="latency", description="what counts: the time of one frame, or frames a second")
    threads: int = Field(default=1, ge=1, le=256, description="processor threads of one inference")
    workers: int = Field(default=1, ge=1, le=64, description="frames inferred at the same time")
    batch: int = Field(
        default=8,
        ge=1,
        le=64,
        description="frames of all cameras in one inference, if the model allows it and it is faster",
    )
    batch_latency_ms: float = Field(default=100.0, gt=0, le=60_000, description="a batch that takes longer is not used")
    process: bool = Field(default=False, description="each model in a process of its own")
    rehearse: bool = Field(
        default=True,
        description="a model that is to replace another one is first tried in a process that takes only idle "
        "processor time; what it compiles there is then loaded. Not with process, nor on CUDA",
    )
    process_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="a process that hangs for this long is ended"
    )

    @field_validator("device", mode="before")
    @classmethod
    def _without_number(cls, value: Any) -> Any:
        name, _, number = str(value).partition(":")
        if number:
            raise ValueError(f"write device: {name} and cards: [{number}]")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Engine:
        if not self.wanted().specs():
            raise ValueError(
                f"{self.kind} on {self.device} has no {self.precision}; leave kind, device or precision to auto"
            )
        return self

    def wanted(self) -> EngineOptions:
        """What measurement may choose from."""
        return EngineOptions(self.kind, self.device, self.precision, self.mode, self.batch, self.batch_latency_ms)

    def setup(self, cache: Path) -> EngineSetup:
        """What an engine may use; ``cache`` is the folder for engines that are built on the device."""
        return EngineSetup(
            threads=self.threads,
            parallel=self.workers,
            mode=self.mode,
            process=self.process,
            cache=cache,
            cards=self.cards,
            timeout_s=self.process_timeout_s,
        )


def _seconds(value: float, description: str) -> Any:
    return Field(default=value, gt=0, le=86400, description=description)


class AgentConfig(Section):
    """The whole file. Relative paths count from the file's own folder."""

    device_id: Annotated[str, id_field("device id")] = Field(
        description="name of this device in the fleet: letters, digits, _ and -"
    )
    spool: Path = Field(description="folder for frames and records: <camera>/<YYYYMMDD_HH>/")
    store: str = Field(min_length=1, description="file:///path or s3://bucket/prefix; a plain path is a folder")
    model: Annotated[str, id_field("model name")] = Field(description="name of the model in the registry")
    channel: Annotated[str, id_field("channel")] = Field(default="stable", description="release channel of this model")
    trusted_keys: tuple[Path, ...] = Field(
        min_length=1, description="public keys, one of which must have signed a release"
    )
    state: Path | None = Field(default=None, description="model cache and state; None: edge/<device> next to the spool")
    archiver_home: Path | None = Field(
        default=None,
        description="YOLO_ASSETS_HOME of this device's archiver, whose figures /metrics shows; None: the "
        "folder that holds the spool",
    )
    token: SecretStr | None = Field(
        default=None, description="the bearer token itself; better in token_file, or in YOLO_ASSETS_TOKEN"
    )
    token_file: Path | None = Field(
        default=None,
        description="file with a bearer token whose holder is an administrator; with neither a token nor people, "
        "rollback, reload and pin are off",
    )
    people_file: Path | None = Field(
        default=None,
        description="file of the people who may use this agent, with their roles, as `yolo-assets edge token` writes "
        "it; read again when it changes; None: people.json in the state folder",
    )
    listen: Listen = Field(default=Listen(), description="where the API and the live page are served")
    page: Page = Field(default=Page(), description="the language of the live page")
    engine: Engine = Field(default=Engine(), description="how models run")
    cameras: Annotated[tuple[Camera, ...], BeforeValidator(lambda v: v if v is not None else ())] = Field(
        min_length=1, description="one section for each camera, by its kind"
    )
    sampling: Sampling = Field(default=Sampling(), description="which pictures are kept; every frame gets a record")
    disk: Disk = Field(default=Disk(), description="what is given up while the disk fills, and when writes are safe")
    clock: ClockRules = Field(default=ClockRules(), description="when a clock that is not synchronised is trusted")
    shadow: Shadow | None = Field(default=None, description="compare a candidate on live frames before it serves")
    watch: WatchWindow = Field(default=WatchWindow(), description="compare new and old model after a switch")
    freeze: Freeze = Field(default=Freeze(), description="times at which the model does not change")
    canary: Canary | None = Field(default=None, description="cameras that follow another channel")
    light: Light | None = Field(default=None, description="a lighter model that takes cameras over under load")
    room: Headroom = Field(default=Headroom(), description="what must stay free while a candidate is loaded")
    audit: AuditFiles = Field(default=AuditFiles(), description="the audit log of model changes on the device")
    outputs: tuple[Output, ...] = Field(default=(), description="receivers of results and alarms")
    alarms: tuple[AlarmRule, ...] = Field(default=(), description="when something is an alarm")
    events: Brokers = Field(
        default=Brokers(), description="brokers that closed hours are announced to, and releases announced by"
    )
    infer: Infer = Field(default=Infer(), description="limits of POST /v1/infer")
    queue_size: int = Field(default=8, ge=1, le=4096, description="frames that may wait, for each camera")
    batch_id: str | None = Field(
        default=None, description="production batch of every camera that nobody gave a lot while the agent ran"
    )
    lots: Lots = Field(default=Lots(), description="where batches and parts are heard of, besides the API")
    poll_seconds: float = _seconds(2.0, "how often the release channel is read; a folder store is watched as well")
    heartbeat_seconds: float = _seconds(5.0, "how often the heartbeat is written to fleet/ of the store")
    ready_seconds: float = _seconds(10.0, "/readyz fails when a live camera had no result for this many seconds")
    lease_seconds: float = _seconds(30.0, "an inference that runs for more seconds is reported as hung")
    exit_when_done: bool = Field(default=False, description="end when every file camera has ended")

    @model_validator(mode="after")
    def _consistent(self) -> AgentConfig:
        seen: set[str] = set()
        for camera_id in self.camera_ids:
            if camera_id in seen:
                raise ValueError(f"camera id {camera_id} is used twice; every camera needs its own")
            seen.add(camera_id)
        for what, sections in (("outputs", self.outputs), ("alarms", self.alarms)):
            names = [section.name for section in sections]
            for section in sections:
                if names.count(section.name) > 1:
                    raise ValueError(f"{what}: the name {section.name} is used twice; every one needs its own")
                for camera in section.cameras:
                    if camera not in seen:
                        raise ValueError(f"{what}.{section.name}: this device has no camera {camera}")
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        taken = {self.channel: "the whole device"}
        for what, section in (("canary", self.canary), ("light", self.light)):
            if section is None:
                continue
            strangers = [camera for camera in section.cameras if camera not in seen]
            if strangers:
                raise ValueError(f"{what}: this device has no camera {strangers[0]}; use the cameras of the list")
            if section.channel in taken:
                raise ValueError(
                    f"{what}: {section.channel} is the channel of {taken[section.channel]}; give another one"
                )
            taken[section.channel] = f"the {what}"
        strange = [camera for camera in self.sampling.cameras if camera not in seen]
        if strange:
            raise ValueError(f"sampling: this device has no camera {strange[0]}; use the cameras of the list")
        for camera in self.cameras:
            truth = camera.truth if isinstance(camera, SimulatedCameras) else None
            if truth is not None and truth.absolute().is_relative_to(self.spool.absolute()):
                raise ValueError(f"truth {truth} lies inside the spool; the truth of a simulation must lie outside it")
        return self

    @property
    def camera_ids(self) -> list[str]:
        """Every camera of the device, in the order of the file."""
        ids: list[str] = []
        for camera in self.cameras:
            ids.extend(camera.camera_ids if isinstance(camera, SimulatedCameras) else [camera.camera_id])
        return ids

    @property
    def by_camera(self) -> dict[str, Camera]:
        """The section of each camera."""
        return {
            camera_id: camera
            for camera in self.cameras
            for camera_id in (camera.camera_ids if isinstance(camera, SimulatedCameras) else [camera.camera_id])
        }

    def alarms_without_class(self, model: ModelManifest) -> list[str]:
        """Alarms that can never be raised by a model: one sentence for each class that it does not report."""
        return [problem for rule in self.alarms for problem in rule.unknown_classes(model)]

    def secondary(self, role: Literal["canary", "light"]) -> Canary | Light | None:
        """The section of a secondary model; None where none is configured."""
        return self.canary if role == "canary" else self.light

    @property
    def state_dir(self) -> Path:
        """Where ``state.json``, the audit log and the model cache lie."""
        return self.state if self.state is not None else self.spool.parent / "edge" / self.device_id

    @property
    def people(self) -> Path:
        """The file of people; absent where nobody was added."""
        return self.people_file if self.people_file is not None else self.state_dir / "people.json"

    @property
    def archiver_figures(self) -> Path:
        """What the archiver of this device counted; absent where none runs."""
        return (self.archiver_home or self.spool.parent) / FIGURES

    def flat(self) -> tuple[dict[str, str], dict[str, str]]:
        """Every option by its path, ``engine.workers``, as text; and apart from them those that may hold a secret.

        A camera's mask is one option, its version.
        """
        told: dict[str, str] = {}
        secrets: dict[str, str] = {}

        def visit(place: str, value: object) -> None:
            if isinstance(value, Mask):
                told[place] = value.version
            elif isinstance(value, BaseModel):
                for name in type(value).model_fields:
                    visit(f"{place}.{name}" if place else name, getattr(value, name))
            elif isinstance(value, SecretStr):
                secrets[place] = value.get_secret_value()
            elif value is not None and place.endswith(_MAY_HOLD_SECRETS):
                secrets[place] = str(value)
            elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in cast("Items", value)):
                for number, item in enumerate(cast("Items", value), 1):
                    name = getattr(item, "camera_id", None) or getattr(item, "name", None) or number
                    visit(f"{place}.{name}", item)
            elif value is not None:
                told[place] = str(cast(Any, value))

        visit("", self)
        return told, secrets

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


_Located = TypeVar("_Located")
Items = tuple[Any, ...]
_ADVICE = {
    "string_type": "; put it in quotes",
    "too_short": "; give at least one",
}
_PATHS = ("spool", "state", "archiver_home", "token_file", "people_file")
_CAMERA_PATHS = ("path", "truth", "credentials_file", "ca_file")
_LISTEN_PATHS = ("tls_cert", "tls_key", "tls_client_ca")
_PAGE_PATHS = ("texts",)
_MAY_HOLD_SECRETS = (".url", ".options")
"""Ends of options: the address of a webhook is often a secret as a whole."""


def _anchor(raw: dict[str, Any], base: Path) -> dict[str, Any]:
    """Relative paths made absolute from ``base``; anything that is not a string is left for validation to refuse."""

    def fix(option: str, value: Any) -> Any:
        if not isinstance(value, str) or (not value and option != "spool"):
            return value
        return str(base / _located(option, lambda: location_folder(_expanded(value))))

    def fix_in(section: Any, paths: Collection[str]) -> Any:
        if not isinstance(section, dict):
            return section
        options = cast("dict[Any, Any]", section)
        return {key: fix(key, value) if key in paths else value for key, value in options.items()}

    found = {key: fix(key, value) if key in _PATHS else value for key, value in raw.items()}
    if isinstance(found.get("trusted_keys"), list):
        found["trusted_keys"] = [fix("trusted_keys", value) for value in found["trusted_keys"]]
    if "listen" in found:
        found["listen"] = fix_in(found["listen"], _LISTEN_PATHS)
    if "page" in found:
        found["page"] = fix_in(found["page"], _PAGE_PATHS)
    if isinstance(found.get("cameras"), list):
        found["cameras"] = [fix_in(camera, _CAMERA_PATHS) for camera in found["cameras"]]
    if isinstance(found.get("outputs"), list):
        found["outputs"] = [fix_in(output, FILES) for output in found["outputs"]]
    if isinstance(found.get("lots"), dict):
        found["lots"] = {key: fix_in(value, LOT_FILES) for key, value in found["lots"].items()}
    if "events" in found:
        found["events"] = anchor_files(found["events"], base)
    if isinstance(found.get("store"), str):
        found["store"] = _located("store", lambda: location_url(_expanded(found["store"]), base))
    return found


def _expanded(location: str) -> str:
    """With the home for a leading ``~/``: no shell reads this file."""
    with contextlib.suppress(RuntimeError):  # nobody has a home here: refused as it stands
        return str(Path(location).expanduser()) if location.startswith("~/") else location
    return location


def _located(option: str, read: Callable[[], _Located]) -> _Located:
    """A location, refused under the name of its option."""
    try:
        return read()
    except UsageError as error:
        raise BadInputError(f"{option}: {error}") from None


def _plain_times(value: Any) -> Any:
    """YAML turns an ISO time into a datetime, without a zone when it was written so: give validation the text back."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        options = cast("dict[Any, Any]", value)
        return {key: _plain_times(item) for key, item in options.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_plain_times(item) for item in items]
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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(f"no configuration at {path}; write one: yolo-assets edge init --out edge.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the configuration {path}: {error}") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise BadInputError(f"{path} is not a configuration; expected options like device_id and cameras")
    try:
        anchored = _anchor(_plain_times(raw), path.absolute().parent)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    anchored |= {key: value for key, value in overrides.items() if value is not None}
    try:
        return AgentConfig.model_validate(anchored)
    except ValidationError as error:
        raise BadInputError(f"{path}: {_complaint(error, anchored)}") from None


def _complaint(error: ValidationError, written: dict[str, Any]) -> str:
    """The first thing wrong, in the words of the file: a camera by its id, and what to write instead where it is known.

    Args:
        error: what validation found.
        written: the file.
    """
    first, *rest = error.errors(include_url=False, include_input=False)
    place = [str(part) for part in first["loc"]]
    if len(place) > 1 and place[0] == "cameras" and place[1].isdigit():
        section: Any = written["cameras"][int(place[1])]
        named: Any = section.get("camera_id") if is_json_object(section) else None
        shown = named if isinstance(named, str) and named.isprintable() else f"number {int(place[1]) + 1}"
        place = [f"camera {shown}", *place[3:]]  # without its kind, which is no key of the file
    what = first["msg"].removeprefix("Value error, ")
    what += _ADVICE.get(first["type"], "")
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{'.'.join(place)}: {what}{more}" if place else f"{what}{more}"
