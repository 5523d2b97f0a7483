"""The node of the small cluster in the tests: each container of a pod is a local process, as its description says.

The process gets exactly the environment of its container (values, Secrets, ConfigMaps, fields of the pod) and of its
image, the limit of memory as ``RLIMIT_DATA``, and the volumes as folders: a path below a mount that stands in the
environment or the arguments leads into the folder of its volume. A missing Secret keeps the container from starting,
as it does in a cluster. Not done: image pulls, processor limits, user ids, the network.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Pod = dict[str, Any]
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}


def bytes_of(quantity: str) -> int:
    """``4Gi`` in bytes."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", str(quantity)).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return int(number) * _UNITS.get(unit, 1)


def now() -> str:
    """As Kubernetes writes it in a log, longer than a microsecond."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


@dataclass
class Objects:
    """What a pod may refer to: Secrets and ConfigMaps by name, and the environment that each image brings."""

    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)


class ConfigurationError(Exception):
    """A container that cannot be made: what it refers to is not there."""


class Container:
    """One running pod: its process, its log, its end."""

    def __init__(self, pod: Pod, objects: Objects, folder: Path, changed: Callable[[], None]) -> None:
        self.pod = pod
        self.log: list[tuple[str, str]] = []
        self.ended = threading.Event()
        self._changed = changed
        (self._spec,) = pod["spec"]["containers"]
        self._folder = folder
        folder.mkdir(parents=True)
        self._objects = objects
        self._mounts = self._make_volumes()
        self.environment = self._make_environment()
        words = [*self._spec.get("command", []), *self._spec.get("args", [])]
        self.command = [self._in_volume(self._expanded(word)) for word in words]
        self._set(phase="Running", state={"running": {"startedAt": now()}}, ready=True)
        self._process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=self._limit,
        )
        threading.Thread(target=self._follow, daemon=True).start()
        deadline = pod["spec"].get("activeDeadlineSeconds")
        if deadline:
            timer = threading.Timer(float(deadline), self.end, kwargs={"reason": "DeadlineExceeded"})
            timer.daemon = True
            timer.start()

    def end(self, *, reason: str | None = None, grace: float = 10.0) -> None:
        """SIGTERM, the grace, SIGKILL: as the kubelet does it. With a reason the pod counts as failed for it."""
        if self.ended.is_set():
            return
        if reason is not None:
            self.pod["status"]["reason"] = reason
        if reason == "Evicted":
            condition = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
            self.pod["status"].setdefault("conditions", []).append(condition)
        self._signal(signal.SIGTERM)
        if not self.ended.wait(grace):
            self._signal(signal.SIGKILL)
            self.ended.wait(10)

    def vanish(self) -> None:
        """SIGKILL at once: power is gone."""
        self._signal(signal.SIGKILL)
        self.ended.wait(10)

    def _signal(self, number: signal.Signals) -> None:
        try:
            if number is signal.SIGKILL:
                os.killpg(self._process.pid, number)  # a container's processes end together
            else:
                os.kill(self._process.pid, number)  # only the first process of a container is asked
        except ProcessLookupError:
            pass

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append((now(), line.decode(errors="replace").rstrip("\n")))
            time.sleep(0.000002)  # no two lines at the same time
            self._changed()
        code = self._process.wait()
        exit_code = 128 - code if code < 0 else code
        failed = code != 0 or "reason" in self.pod["status"]
        self._set(
            phase="Failed" if failed else "Succeeded",
            state={"terminated": {"exitCode": exit_code, "reason": "Error" if failed else "Completed"}},
            ready=False,
        )
        self.ended.set()
        self._changed()

    def _set(self, *, phase: str, state: dict[str, Any], ready: bool) -> None:
        status = {"name": self._spec["name"], "image": self._spec["image"], "imageID": "", "restartCount": 0}
        self.pod["status"] |= {"phase": phase, "containerStatuses": [{**status, "state": state, "ready": ready}]}

    def _limit(self) -> None:
        limit = (self._spec.get("resources") or {}).get("limits", {}).get("memory")
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (bytes_of(limit), bytes_of(limit)))

    def _make_environment(self) -> dict[str, str]:
        try:
            made = dict(self._objects.images[self._spec["image"]])
        except KeyError:
            raise ConfigurationError(f"no image {self._spec['image']}") from None
        for source in self._spec.get("envFrom") or []:
            kind, reference = next((key, value) for key, value in source.items() if key.endswith("Ref"))
            made |= self._data("secret" if kind == "secretRef" else "configMap", reference["name"])
        for one in self._spec.get("env") or []:
            value = self._value(one, made)
            if value is not None:
                made[one["name"]] = self._in_volume(value)
        return made

    def _value(self, one: Mapping[str, Any], made: Mapping[str, str]) -> str | None:
        source = one.get("valueFrom")
        if source is None:
            return re.sub(r"\$\((\w+)\)", lambda name: made.get(name[1], name[0]), one.get("value") or "")
        if "fieldRef" in source:
            path = source["fieldRef"]["fieldPath"]
            return {"metadata.name": self.pod["metadata"]["name"], "spec.nodeName": "node-1"}[path]
        kind = "secret" if "secretKeyRef" in source else "configMap"
        reference = source[f"{kind}KeyRef"]
        try:
            return self._data(kind, reference["name"])[reference["key"]]
        except KeyError:
            raise ConfigurationError(f"{reference['name']} has no {reference['key']}") from None

    def _data(self, kind: str, name: str) -> dict[str, str]:
        known = self._objects.secrets if kind == "secret" else self._objects.config_maps
        if name not in known:
            raise ConfigurationError(f'{kind} "{name}" not found')
        return known[name]

    def _make_volumes(self) -> dict[str, Path]:
        """Folders by mount path, the longest first."""
        made: dict[str, Path] = {}
        volumes = {volume["name"]: volume for volume in self.pod["spec"].get("volumes") or []}
        for mount in self._spec.get("volumeMounts") or []:
            volume = volumes[mount["name"]]
            folder = self._folder / "volumes" / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            if "subPath" in mount:
                folder = folder / mount["subPath"]
            for source in volume.get("projected", {}).get("sources", [volume]):
                for kind in ("secret", "configMap"):
                    if kind in source:
                        name = source[kind].get("secretName") or source[kind]["name"]
                        mount_like_kubernetes(folder, self._data(kind, name), source[kind].get("items"))
            made[mount["mountPath"]] = folder
        for path, folder in made.items():  # a mount within another one
            for outer, outer_folder in made.items():
                if path.startswith(f"{outer}/"):
                    link = outer_folder / path.removeprefix(f"{outer}/")
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(folder)
        return dict(sorted(made.items(), key=lambda item: -len(item[0])))

    def _in_volume(self, text: str) -> str:
        if text.startswith(sys.prefix):  # the interpreter stands in for the image's, wherever it lies here
            return text
        for path, folder in self._mounts.items():
            if text == path or text.startswith(f"{path}/"):
                return str(folder) + text.removeprefix(path)
        return text

    def _expanded(self, word: str) -> str:
        return re.sub(r"\$\((\w+)\)", lambda name: self.environment.get(name[1], name[0]), word)

    def remove(self) -> None:
        """Its scratch goes with the pod."""
        shutil.rmtree(self._folder, ignore_errors=True)


def mount_like_kubernetes(folder: Path, data: Mapping[str, str], items: list[dict[str, str]] | None = None) -> None:
    """Files are links into a folder that is a link itself, so that all change at once."""
    version = folder / "..2026_01_01_00_00_00.000000001"
    names = {item["key"]: item["path"] for item in items} if items else {key: key for key in data}
    for key, name in names.items():
        target = version / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(data[key])
        target.chmod(0o440)
    link = folder / "..data"
    if not link.exists():
        link.symlink_to(version.name)
    for top in {name.split("/")[0] for name in names.values()}:
        if not (folder / top).exists():
            (folder / top).symlink_to(Path("..data") / top)
