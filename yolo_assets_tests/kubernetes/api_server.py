"""A small Kubernetes API: Jobs, Pods, their status and logs, watches, and the rights of service accounts.

It speaks what the official Python client and dagster-k8s ask for, runs each pod as a process (``node``), and evicts.
A request is allowed by the Roles that a test gives it, for the account that its token names: so the tests also show
that the rights of our chart are enough.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from yolo_assets_tests.kubernetes.node import ConfigurationError, Container, Objects, Pod

ROUTE = re.compile(
    r"/(?:api/v1|apis/batch/v1)/namespaces/(?P<namespace>[^/]+)/(?P<resource>pods|jobs|events)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|status))?"
)


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """What the API server knows, and the one node.

    Attributes:
        objects: Secrets, ConfigMaps and images, which tests put there.
        created: every pod that was ever created, as it was posted: also those that are gone.
        environments: of each process that was started, by its pod's name.
        roles: account name to the (resource, verb) pairs that it may do; an account that is not there may do nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.objects = Objects()
        self.created: list[Pod] = []
        self.roles: dict[str, set[tuple[str, str]]] = {}
        self.denied: list[str] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, Pod] = {}
        self.containers: dict[str, Container] = {}
        self.environments: dict[str, dict[str, str]] = {}
        self.changed = threading.Condition()
        self._folder = folder
        self._version = itertools.count(1)

    # what a test does to the cluster

    def evict(self, name: str, *, grace: float = 10.0) -> None:
        """As a node under pressure does: told to stop, then killed; the pod stays, failed and without a container."""
        self.containers[name].end(reason="Evicted", grace=grace)
        with self.changed:
            self.pods[name]["status"].pop("containerStatuses", None)
            self.changed.notify_all()

    def running(self, prefix: str = "") -> list[str]:
        """Names of the pods that run."""
        return [n for n, pod in list(self.pods.items()) if n.startswith(prefix) and pod["status"]["phase"] == "Running"]

    def close(self) -> None:
        """End every process."""
        for container in list(self.containers.values()):
            container.vanish()

    # what clients ask for

    def authorise(self, account: str, resource: str, verb: str) -> None:
        if (resource, verb) not in self.roles.get(account, set()):
            self.denied.append(f"{account} may not {verb} {resource}")
            raise Refused(403, f'"{account}" cannot {verb} resource "{resource}"')

    def create_job(self, job: dict[str, Any]) -> dict[str, Any]:
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise Refused(409, f"jobs {name} already exists")
        self._stamp(job)
        job["status"] = {"active": 1}
        self.jobs[name] = job
        template = job["spec"]["template"]
        labels = {**(template["metadata"].get("labels") or {}), "job-name": name}
        pod = {"metadata": {**template["metadata"], "name": f"{name}-{uuid.uuid4().hex[:5]}", "labels": labels}}
        self.create_pod({**pod, "spec": template["spec"]}, job=name)
        return job

    def create_pod(self, pod: Pod, job: str | None = None) -> Pod:
        name = pod["metadata"]["name"]
        if name in self.pods:
            raise Refused(409, f"pods {name} already exists")
        self.created.append(json.loads(json.dumps(pod)))
        self._stamp(pod)
        pod |= {"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Pending"}}
        self.pods[name] = pod

        def changed() -> None:
            self._count(job, pod)
            with self.changed:
                pod["metadata"]["resourceVersion"] = str(next(self._version))
                self.changed.notify_all()

        try:
            self.containers[name] = Container(pod, self.objects, self._folder / name, changed)
            self.environments[name] = self.containers[name].environment
        except ConfigurationError as error:
            waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}}
            (spec,) = pod["spec"]["containers"]
            status = {"name": spec["name"], "image": spec["image"], "imageID": "", "restartCount": 0, "ready": False}
            pod["status"]["containerStatuses"] = [{**status, "state": waiting}]
        changed()
        return pod

    def delete_pod(self, name: str) -> Pod:
        pod = self.pods.get(name)
        if pod is None:
            raise Refused(404, f"pods {name} not found")
        if "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = datetime.now(UTC).isoformat()
            threading.Thread(target=self._remove, args=(name,), daemon=True).start()
        return pod

    def delete_job(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise Refused(404, f"jobs {name} not found")
        return self.jobs.pop(name)

    def _remove(self, name: str) -> None:
        container = self.containers.get(name)
        if container is not None:
            container.end()
            container.remove()
        with self.changed:
            gone = self.pods.pop(name)
            self.changed.notify_all()
        for other, pod in list(self.pods.items()):  # the garbage collector
            owners = pod["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                self.delete_pod(other)

    def _stamp(self, thing: dict[str, Any]) -> None:
        thing["metadata"] |= {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).isoformat(),
            "resourceVersion": str(next(self._version)),
        }

    def _count(self, job: str | None, pod: Pod) -> None:
        """The Job's status follows its pod."""
        if job in self.jobs:
            phase = pod["status"]["phase"]
            counts = {"Succeeded": {"succeeded": 1}, "Failed": {"failed": 1}}
            self.jobs[job]["status"] = counts.get(phase, {"active": 1})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("create")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        try:
            route = ROUTE.fullmatch(url.path)
            if route is None:
                raise Refused(404, f"no {url.path}")
            resource, name, sub = route["resource"], route["name"], route["sub"]
            watching = query.get("watch") in ("true", "True", "1")
            if verb == "get" and name is None:
                verb = "watch" if watching else "list"
            account = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            self.cluster.authorise(account, f"{resource}/{sub}" if sub else resource, verb)
            if sub == "log":
                self._log(name, query)
            elif watching:
                self._watch(resource, query)
            else:
                self._json(200, self._result(verb, resource, name, query, body))
        except Refused as error:
            self._json(error.status, {"kind": "Status", "status": "Failure", "message": str(error)})

    def _result(self, verb: str, resource: str, name: str | None, query: dict[str, str], body: Any) -> dict[str, Any]:
        cluster = self.cluster
        match verb, resource:
            case "create", "jobs":
                return cluster.create_job(body)
            case "create", "pods":
                return cluster.create_pod(body)
            case "delete", "jobs":
                return cluster.delete_job(name or "")
            case "delete", "pods":
                return cluster.delete_pod(name or "")
            case "list", "events":
                return {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []}
            case "list", _:
                kind = "JobList" if resource == "jobs" else "PodList"
                return {"kind": kind, "metadata": {}, "items": list(self._selected(resource, query))}
        known = cluster.jobs if resource == "jobs" else cluster.pods
        if name not in known:
            raise Refused(404, f"{resource} {name} not found")
        return known[name]

    def _selected(self, resource: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        known = self.cluster.jobs if resource == "jobs" else self.cluster.pods
        labels = dict(pair.split("=", 1) for pair in filter(None, query.get("labelSelector", "").split(",")))
        wanted = query.get("fieldSelector", "").removeprefix("metadata.name=")
        for name, thing in list(known.items()):
            own = thing["metadata"].get("labels") or {}
            if (not wanted or name == wanted) and all(own.get(key) == value for key, value in labels.items()):
                yield thing

    def _watch(self, resource: str, query: dict[str, str]) -> None:
        """Each change of the selected objects as a line, until the time that the client gave is over."""
        self._begin_stream("application/json")
        seen: dict[str, str] = {}
        deadline = threading.Event()
        threading.Timer(float(query.get("timeoutSeconds", 30)), deadline.set).start()
        while not deadline.is_set():
            current = {thing["metadata"]["uid"]: thing for thing in self._selected(resource, query)}
            for uid, thing in current.items():
                version = thing["metadata"]["resourceVersion"]
                if seen.get(uid) != version:
                    self._event("MODIFIED" if uid in seen else "ADDED", thing)
                    seen[uid] = version
            for uid in seen.keys() - current.keys():
                del seen[uid]
                self._event("DELETED", {"metadata": {"uid": uid}})
            with self.cluster.changed:
                self.cluster.changed.wait(0.2)
        self._chunk(b"")

    def _event(self, kind: str, thing: dict[str, Any]) -> None:
        self._chunk(json.dumps({"type": kind, "object": thing}).encode() + b"\n")

    def _log(self, name: str | None, query: dict[str, str]) -> None:
        container = self.cluster.containers.get(name or "")
        if container is None or name not in self.cluster.pods:
            raise Refused(404, f"pods {name} not found")
        self._begin_stream("text/plain")
        sent = 0
        while True:
            ended = container.ended.is_set()
            lines, sent = container.log[sent:], len(container.log)
            for moment, line in lines:
                self._chunk(f"{moment} {line}\n".encode() if "timestamps" in query else f"{line}\n".encode())
            if ended or "follow" not in query:
                break
            with self.cluster.changed:
                self.cluster.changed.wait(0.2)
        self._chunk(b"")

    def _begin_stream(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _json(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def api_server(folder: Path) -> Iterator[tuple[Cluster, str]]:
    """A cluster on a port of the loopback, and its address; its pods end with it."""
    cluster = Cluster(folder)
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        cluster.close()
        server.shutdown()
        server.server_close()
