"""``yolo-assets edge try``: a model on a video, with everything that an agent needs made in one folder.

    <home>/try/keys/      the pair that signs the release
    <home>/try/store/     a folder store with the model
    <home>/try/edge.yaml  the agent's configuration, to go on from
    <home>/try/spool/     frames and records

Nothing of a plant is touched: a registered version is copied into the store of the trial. Does not belong here: what an
import does (``training.importing``), the agent (``edge``).
"""

from __future__ import annotations

import dataclasses
import getpass
import hashlib
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import is_frame, parse_model_version
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.edge.cameras.open import ConfiguredSource, open_sources
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.agent import AgentConfig, load_config
from yolo_assets.edge.config.cameras import Camera, FolderCamera, VideoCamera
from yolo_assets.learning.formats.class_list import GivenClasses
from yolo_assets.models.gated_release import promote_by_hand
from yolo_assets.models.promotion import Promoter, ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage.open import open_store
from yolo_assets.training.importing import ENDINGS, ImportedModel, ImportRequest, import_model

_PICTURES = 12
"""Pictures of each source that the model is run on before it is released."""
_PATIENCE_SECONDS = 20.0
"""How long a camera may take to give its first picture."""
_DEVICE = "/dev/"
_OF_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 32

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class EdgeTrial:
    """An agent that is ready to run.

    Attributes:
        config_file: its configuration.
        config: the same, read.
        model: ``<name>/<version>`` that it will serve.
        boxes: that the model found in the first pictures; None for a version that was registered before.
        warnings: what a person should know.
    """

    config_file: Path
    config: AgentConfig
    model: str
    boxes: int | None = None
    warnings: tuple[str, ...] = ()


def prepare_trial(
    settings: Settings,
    model: str,
    sources: Sequence[str],
    *,
    name: str | None = None,
    confidence: float | None = None,
    classes: GivenClasses | None = None,
    port: int = 8080,
    say: Say = lambda _: None,
) -> EdgeTrial:
    """Make keys, store, configuration and release of a trial; what is there already is used again.

    Args:
        settings: the home, and the store in which a registered version lies.
        model: an ONNX file, a checkpoint, or ``<name>/<version>``.
        sources: video files, folders of pictures, addresses of streams, USB devices.
        name: that the model gets; None: the file's.
        confidence: from which the edge reports; None: the usual one.
        classes: None takes those of the file.
        port: of the live page; 0 for a free one.
        say: told what is being done.

    Raises:
        BadInputError: a source or the model cannot be used; the message says what to do.
        UserError: no picture comes from a source, or something is not installed.
    """
    folder = settings.home / "try"
    (folder / "store").mkdir(parents=True, exist_ok=True)
    signer = Signer.load_or_create(folder / "keys" / "promotion")
    path = Path(model).expanduser()
    is_file = path.suffix.lower() in ENDINGS and path.is_file()
    name, version = (_name_of(path, name), "") if is_file else _registered(model)
    config_file = _write_config(folder, name, _cameras(folder, sources), port)
    config = load_config(config_file)
    registry = Registry(open_store((folder / "store").as_uri()), TrustedKeys.of(signer))
    imported: ImportedModel | None = None
    if is_file:
        say(f"taking pictures from {len(config.cameras)} source(s)")
        with tempfile.TemporaryDirectory(prefix="yolo-assets-try-") as pictures:
            _take_pictures(config, Path(pictures))
            version = _version_of(path, confidence, classes or GivenClasses())
            imported = import_model(
                registry,
                ImportRequest(
                    file=path,
                    name=name,
                    version=version,
                    pictures=Path(pictures),
                    by=getpass.getuser(),
                    class_names=classes.names if classes else None,
                    display_names=classes.display_names if classes else {},
                    confidence=confidence,
                    note="edge try",
                    compare=False,
                ),
                say=say,
            )
    else:
        _copy(Registry(open_store(settings.store_url)), registry, name, version)
    release = ReleaseRequest(name, version, "stable", by=getpass.getuser(), reason="edge try")
    promote_by_hand(Promoter(registry, signer), release, force=True, unjudged=True)
    found = None if imported is None or imported.imported_before else imported.boxes
    return EdgeTrial(config_file, config, f"{name}/{version}", found, imported.warnings if imported else ())


# The model ------------------------------------------------------------------------------------------------------------


def _registered(model: str) -> tuple[str, str]:
    path = Path(model).expanduser()
    if path.suffix.lower() in ENDINGS or path.exists() or model.startswith((".", "/", "~")):
        raise BadInputError(
            f"{model} is no ONNX file and no checkpoint that is there; give a .onnx, a .pt, or NAME/VERSION"
        )
    return parse_model_version(model)


def _copy(source: Registry, target: Registry, name: str, version: str) -> None:
    """Bring a registered version into the trial's own store; its files are checked on the way."""
    manifest = source.read_manifest(name, version, signed=False).manifest
    bundle = source.read_bundle(name, version, signed=False, only=sorted(manifest.files))
    target.write_bundle(bundle.manifest, bundle.files)


def _name_of(path: Path, name: str | None) -> str:
    return name if name is not None else _plain(path.stem) or "model"


def _version_of(path: Path, confidence: float | None, classes: GivenClasses) -> str:
    """The same file tried in the same way again is the same version."""
    digest = hashlib.sha256(path.read_bytes())
    digest.update(repr((confidence, classes.names or ())).encode())
    if classes.display_names:
        digest.update(canonical_json(dict(classes.display_names)))
    return f"try-{digest.hexdigest()[:8]}"


def _plain(text: str) -> str:
    return _OF_A_NAME.sub("_", text).strip("_")[:_LONGEST]


# The sources ----------------------------------------------------------------------------------------------------------


def _cameras(folder: Path, sources: Sequence[str]) -> list[dict[str, Any]]:
    """The section of each source; two never have one name."""
    cameras: list[dict[str, Any]] = []
    taken: set[str] = set()
    now = utc_now()
    for source in sources:
        section = _camera(folder, source, now)
        camera_id, number = section["camera_id"], 2
        while section["camera_id"] in taken:
            section["camera_id"] = f"{camera_id}_{number}"
            number += 1
        taken.add(section["camera_id"])
        cameras.append(section)
    return cameras


def _camera(folder: Path, source: str, now: datetime) -> dict[str, Any]:
    if "://" in source:
        return _stream(folder, source)
    if source.isdigit() or source.startswith(_DEVICE):
        device: int | str = int(source) if source.isdigit() else source
        return {"kind": "usb", "camera_id": f"usb_{_plain(source.removeprefix(_DEVICE))}", "device": device}
    path = Path(source).expanduser().absolute()
    camera_id = _plain(path.stem) or "camera"
    # In a circle and at their own pace: one look at it is over in seconds otherwise.
    shown = {"camera_id": camera_id, "path": str(path), "loop": True, "pace": "realtime", "start": format_time(now)}
    if path.is_dir():
        return {"kind": "folder", **shown, "fps": 2}
    if is_frame(path.name):
        raise BadInputError(f"{source} is one picture; give the folder that holds it")
    if not path.is_file():
        raise BadInputError(
            f"{source} is no video, no folder, no device and no address; give a file or folder that is there, an "
            "address like rtsp://host/path, or a device like /dev/video0"
        )
    return {"kind": "video", **shown}


def _stream(folder: Path, source: str) -> dict[str, Any]:
    """A network stream; a login in its address goes into a file of its own, for the owner alone."""
    head, at, rest = source.partition("://")[2].rpartition("@")
    try:
        parts = urlsplit(source if not at else f"{source.partition('://')[0]}://{rest}")
        camera_id = _plain(parts.hostname or "") or "stream"
    except ValueError:
        raise BadInputError("that is not the address of a stream; write it like rtsp://host:554/path") from None
    section: dict[str, Any] = {"kind": "stream", "camera_id": camera_id, "url": urlunsplit(parts)}
    if at:
        login = folder / f"{camera_id}.login"
        login.touch(mode=0o600)
        login.write_text(unquote(head) + "\n")
        section["credentials_file"] = str(login)
    return section


def _take_pictures(config: AgentConfig, folder: Path) -> None:
    """The first pictures of every source, as the agent will see them.

    Raises:
        UserError: a source gives none.
    """
    with tempfile.TemporaryDirectory(prefix="yolo-assets-clock-") as state:
        hurried = config.model_copy(update={"cameras": tuple(map(_hurried, config.cameras))})
        sources = open_sources(hurried, DeviceClock(Path(state) / "clock.json", config.clock))
        for configured in sources:
            taken = _first_pictures(configured)
            for number, picture in enumerate(taken):
                file = folder / f"{configured.source.camera_id}_{number:02d}.png"
                file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _hurried(camera: Camera) -> Camera:
    """A file or folder without its pace, and of a video one picture a second: they show more of the line."""
    if not isinstance(camera, VideoCamera | FolderCamera):
        return camera
    day_before = utc_now() - timedelta(days=1)
    return camera.model_copy(update={"pace": "as_fast", "start": day_before, "fps": 1.0})


def _first_pictures(configured: ConfiguredSource) -> list[Any]:
    stop = threading.Event()
    timer = threading.Timer(_PATIENCE_SECONDS, stop.set)
    timer.daemon = True
    timer.start()
    pictures: list[Any] = []
    camera = configured.source.camera_id
    try:
        with closing(configured.source.captures(stop)) as captures:  # pyright: ignore[reportArgumentType]
            for capture in captures:
                if capture.image is not None:
                    pictures.append(capture.image.copy())
                if len(pictures) >= _PICTURES:
                    break
    except SourceError as error:
        raise UserError(f"no picture comes from {camera}: {error}") from None
    finally:
        stop.set()
        timer.cancel()
    if not pictures:
        raise UserError(f"no picture came from {camera} within {_PATIENCE_SECONDS:.0f} s; look at it in a player")
    return pictures


# The agent ------------------------------------------------------------------------------------------------------------


def _write_config(folder: Path, name: str, cameras: list[dict[str, Any]], port: int) -> Path:
    from ruamel.yaml import YAML

    token = folder / "token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(secrets.token_urlsafe(24) + "\n")
    document = {
        "device_id": f"try_{name}"[:64],
        "spool": str(folder / "spool"),
        "store": (folder / "store").as_uri(),
        "model": name,
        "channel": "stable",
        "trusted_keys": [str(folder / "keys" / "promotion.pub")],
        "token_file": str(token),
        "listen": {"host": "127.0.0.1", "port": port},
        "engine": {"precision": "f32"},
        "watch": {"seconds": 0},
        "cameras": cameras,
    }
    text = StringIO()
    YAML().dump(document, text)
    path = folder / "edge.yaml"
    head = "# Made by yolo-assets edge try. Change it, and go on with: yolo-assets edge run --config FILE\n"
    path.write_text(head + text.getvalue())
    return path
