"""Tries what a configuration names and says in one line each what was found: ``yolo-assets edge check``.

Belongs here: opening things for a moment, beside a running agent. Does not belong here: whether the file itself is
right (``config``). Nothing is written to spool, state or store, and no message is sent.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from yolo_assets.contracts.announcements import CHANNEL_MOVED
from yolo_assets.contracts.brokers import AnyBroker, HttpReceiverAt
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ChannelPointer, ModelManifest
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.edge.cameras.open import open_sources
from yolo_assets.edge.cameras.source import Source
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.cameras import Camera, SimulatedCameras, SnapshotCamera, StreamCamera
from yolo_assets.edge.config.outputs import MqttOutput, WebhookOutput
from yolo_assets.edge.http.people import read_people
from yolo_assets.edge.http.texts import PageTexts
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.events.opening import open_transport
from yolo_assets.events.transport import Hearing
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.credentials import TlsFiles, client_context, read_secret
from yolo_assets.runtime.mqtt import BrokerAddress, MqttConnection
from yolo_assets.spool.frame_journal import FrameJournal
from yolo_assets.storage.open import folder_of, open_store
from yolo_assets.storage.retrying import QUICK

State = Literal["ok", "warning", "failed"]
_ENOUGH_PICTURES = 50
_TROUBLE_SECONDS = 1.0
"""A broker that refuses for so long is not asked again."""


@dataclass(frozen=True)
class CheckRow:
    """What was found of one thing.

    Attributes:
        what: as people call it, like ``camera lineA_cam01``.
        state: ``warning``: it works, and can hardly be meant.
        found: one line.
    """

    what: str
    state: State
    found: str


def check_everything(config: AgentConfig, seconds: float = 10.0) -> list[CheckRow]:
    """Try everything once, cameras and receivers at the same time.

    Args:
        config: read and valid.
        seconds: how long each camera and receiver may take.
    """
    tries: list[Callable[[], list[CheckRow]]] = [
        lambda: [_spool(config)],
        partial(_token, config),
        partial(_page, config),
        lambda: list(_store_and_model(config)),
        *(partial(_cameras, config, camera, seconds) for camera in config.cameras),
        *(partial(_output, output, seconds) for output in config.outputs),
        *(partial(_announcements, broker, seconds) for broker in config.events.brokers),
    ]
    broker = config.lots.mqtt
    if broker is not None:
        tries.append(lambda: [_row("lots.mqtt", lambda: _broker("lots.mqtt", broker, seconds))])
    with ThreadPoolExecutor(len(tries), thread_name_prefix="check") as pool:
        return [row for rows in pool.map(_run, tries) for row in rows]


def _run(look: Callable[[], list[CheckRow]]) -> list[CheckRow]:
    return look()


def _row(what: str, look: Callable[[], str]) -> CheckRow:
    """What ``look`` says; its error as a failure."""
    try:
        return CheckRow(what, "ok", look())
    except UserError as error:
        return CheckRow(what, "failed", str(error))
    except Exception as error:  # a decoder or a library may raise anything
        return CheckRow(what, "failed", f"{type(error).__name__}: {error}")


def _spool(config: AgentConfig) -> CheckRow:
    def look() -> str:
        there = next(path for path in (config.spool, *config.spool.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise BadInputError(f"{there} cannot be written by this user; give another folder, or the right to write")
        free = os.statvfs(there)
        gigabytes = free.f_bavail * free.f_frsize / 1e9
        made = "" if there == config.spool else ", made at the start"
        return f"{config.spool}{made}; {gigabytes:.1f} GB are free"

    return _row("spool", look)


def _token(config: AgentConfig) -> list[CheckRow]:
    try:
        if config.secret() is not None:
            return [CheckRow("token", "ok", "set")]
        people = [person for person in read_people(config.people).people if person.active]
        if people:
            return [CheckRow("token", "ok", f"none; {len(people)} people are listed in {config.people}")]
    except UserError as error:
        return [CheckRow("token", "failed", str(error))]
    if not config.listen.loopback:
        return [CheckRow("token", "failed", f"{config.listen.host} is reachable from elsewhere; set token_file first")]
    return [CheckRow("token", "warning", "none: rollback, reload, pin and lots by the API are off; set token_file")]


def _page(config: AgentConfig) -> list[CheckRow]:
    if config.page.texts is None:
        return []
    try:
        texts = PageTexts(config.page)
    except UserError as error:
        return [CheckRow("page", "failed", str(error))]
    if texts.problems:
        return [CheckRow("page", "warning", problem) for problem in texts.problems]
    return [CheckRow("page", "ok", f"texts in {config.page.language} from {config.page.texts}")]


def _store_and_model(config: AgentConfig) -> Iterator[CheckRow]:
    folder = folder_of(config.store)
    if folder is not None and not folder.is_dir():
        why = f"the folder {folder} does not exist; is it a typo? A bucket is written s3://bucket/prefix"
        yield CheckRow("store", "failed", why)
        return
    try:
        store = open_store(config.store, create=False, retries=QUICK)
        registry = Registry(store, TrustedKeys.load(config.trusted_keys))
        registry.released()
    except UserError as error:
        yield CheckRow("store", "failed", str(error))
        return
    yield CheckRow("store", "ok", config.store)
    channels = [config.channel, *(section.channel for section in (config.canary, config.light) if section)]
    for channel in channels:
        what = f"release {config.model}/{channel}"
        try:
            pointer = registry.channel(config.model, channel).pointer()
        except UserError as error:
            yield CheckRow(what, "failed", str(error))
            continue
        if pointer is None:
            state: State = "failed" if channel == config.channel else "warning"
            yield CheckRow(what, state, registry.no_release(config.model, channel))
            continue
        yield CheckRow(what, "ok", f"{pointer.model_version}, release {pointer.release}")
        yield from _model(config, registry, pointer)


def _model(config: AgentConfig, registry: Registry, pointer: ChannelPointer) -> Iterator[CheckRow]:
    what, manifest = f"model {pointer.model_version}", list[ModelManifest]()

    def look() -> str:
        from yolo_assets.edge.rollout.cache import ModelCache
        from yolo_assets.edge.rollout.history import SwapAttempt
        from yolo_assets.edge.rollout.loading import Loader

        with tempfile.TemporaryDirectory() as folder:
            cache = ModelCache(Path(folder) / "models", registry)
            bundle = cache.fetch(pointer.name, pointer.version, pointer.manifest_sha256, lambda _: None)
            manifest.append(bundle.manifest)
            attempt = SwapAttempt("channel", ResultBoard(()), FrameJournal(()))
            loaded = Loader(config.engine, Path(folder) / "engines").load(bundle, pointer, attempt)
            with closing(loaded):
                classes = ", ".join(bundle.manifest.reported_names)
                return f"loads on {loaded.engine} and finds its golden frames; classes {classes}"

    yield _row(what, look)
    for found in manifest:
        problems = config.alarms_without_class(found)
        for problem in problems:
            yield CheckRow("alarms", "warning", problem)
        if config.alarms and not problems:
            yield CheckRow("alarms", "ok", f"{found.model_version} has the classes of all {len(config.alarms)}")


def _cameras(config: AgentConfig, camera: Camera, seconds: float) -> list[CheckRow]:
    ids = camera.camera_ids if isinstance(camera, SimulatedCameras) else (camera.camera_id,)
    rows: list[CheckRow] = []
    if isinstance(camera, StreamCamera | SnapshotCamera):
        parts = urlsplit(camera.url.get_secret_value())
        if parts.username is not None or parts.password is not None:
            advice = "there is a password or a user name in its address; put user:password into credentials_file"
            rows.append(CheckRow(f"camera {ids[0]}", "warning", advice))
    try:
        with tempfile.TemporaryDirectory() as folder:
            clock = DeviceClock(Path(folder) / "clock.json", config.clock)
            sources = open_sources(config.model_copy(update={"cameras": (camera,)}), clock, look_only=True)
    except UserError as error:
        return [*rows, *(CheckRow(f"camera {name}", "failed", str(error)) for name in ids)]
    with ThreadPoolExecutor(len(sources), thread_name_prefix="camera") as pool:
        return [*rows, *pool.map(_camera, (each.source for each in sources), repeat(seconds))]


def _camera(source: Source, seconds: float) -> CheckRow:
    return _row(f"camera {source.camera_id}", lambda: _pictures(source, seconds))


def _pictures(source: Source, seconds: float) -> str:
    """What a camera shows; it is let go after so many seconds, or as soon as it has shown enough."""
    stop, begin = threading.Event(), time.monotonic()
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    first, size, pictures, unreadable, waits = 0.0, "", 0, 0, False
    try:
        for capture in source.captures(stop):
            if capture.quiet:
                waits = True
                if pictures:
                    break
            elif capture.image is None:
                unreadable += 1
            else:
                pictures += 1
                first = first or time.monotonic()
                size = f"{capture.image.shape[1]} x {capture.image.shape[0]}"
            if stop.is_set() or pictures >= _ENOUGH_PICTURES:
                break
    finally:
        timer.cancel()
        stop.set()
    if waits and not pictures and not unreadable:
        return "works, and has no picture now"
    if not pictures:
        damaged = f"; {unreadable} damaged ones came" if unreadable else ""
        raise BadInputError(f"no picture came within {seconds:g} s{damaged}")
    lasted = time.monotonic() - first
    rate = f", {(pictures - 1) / lasted:.1f} a second" if pictures > 2 and source.live and lasted > 0 else ""
    damaged = f"; {unreadable} damaged" if unreadable else ""
    return f"{size}, the first picture after {first - begin:.1f} s{rate}{damaged}"


def _output(output: WebhookOutput | MqttOutput, seconds: float) -> list[CheckRow]:
    what = f"output {output.name}"
    if isinstance(output, MqttOutput):
        return [_row(what, lambda: _broker(f"outputs.{output.name}", output, seconds, output.password_env))]
    return [_row(what, lambda: _web(output, seconds))]


def _announcements(broker: AnyBroker, seconds: float) -> list[CheckRow]:
    where = f"events.{broker.name}"
    if isinstance(broker, HttpReceiverAt):
        return [_row(where, lambda: _receiver(where, broker, seconds))]
    return [_row(where, lambda: _heard(broker, seconds))]


def _receiver(where: str, receiver: HttpReceiverAt, seconds: float) -> str:
    read_secret(f"{where}: token", receiver.token_file, None)
    return _accepts(where, receiver.url, receiver, seconds)


def _heard(broker: AnyBroker, seconds: float) -> str:
    """Connect, log in and listen for a moment, also where the agent itself would only announce."""
    hearing = Hearing(frozenset({CHANNEL_MOVED}), lambda _: None)
    try:
        transport = open_transport(broker, f"yolo-assets-check-{os.getpid()}-{broker.name}", hearing)
    except ModuleNotFoundError as error:
        raise BadInputError(f"{error.name} is not installed; install yolo-assets[events-{broker.kind}]") from None
    end, failing_since = time.monotonic() + seconds, None
    transport.open()
    try:
        while not transport.listening:
            now = time.monotonic()
            failing_since = None if transport.trouble is None else failing_since or now
            if now > end or (failing_since is not None and now - failing_since > _TROUBLE_SECONDS):
                raise BadInputError(transport.trouble or f"{transport.shown} did not answer within {seconds:g} s")
            time.sleep(0.02)
    finally:
        transport.close()
    return f"{transport.shown} is heard"


def _web(output: WebhookOutput, seconds: float) -> str:
    where = f"outputs.{output.name}"
    read_secret(f"{where}: secret", output.secret_file, output.secret_env)
    read_secret(f"{where}: token", output.token_file, output.token_env)
    return _accepts(where, output.url, output, seconds)


def _accepts(where: str, url: str, files: TlsFiles, seconds: float) -> str:
    """Connect, with the peer's certificate checked; no request is made."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    address = (host, parts.port or (443 if secure else 80))
    context = client_context(where, files) if secure else None
    try:
        with socket.create_connection(address, seconds) as connection:
            if context is not None:
                context.wrap_socket(connection, server_hostname=host).close()
    except OSError as error:
        raise BadInputError(f"{parts.scheme}://{host}:{address[1]} cannot be reached: {error}") from None
    return f"{parts.scheme}://{host}:{address[1]} accepts connections"


def _broker(where: str, address: BrokerAddress, seconds: float, password_variable: str | None = None) -> str:
    """Connect and log in under a name of its own, so that a running agent keeps its connection."""
    client_id = f"yolo-assets-check-{os.getpid()}-{where}"  # a broker ends the older of two clients with one name
    connection = MqttConnection(where, address, client_id, password_variable=password_variable)
    end = time.monotonic() + seconds
    connection.open()
    try:
        while not connection.connected:
            if connection.refusal is not None or time.monotonic() > end:
                raise BadInputError(f"{connection.trouble}; check host, port and tls")
            time.sleep(0.02)
    finally:
        connection.close()
    return f"{connection.shown} accepts the login"
