"""Fixtures that several test packages share: real S3 and PostgreSQL servers, fresh buckets, a store of each kind.

``s3_server`` starts Ceph's gateway once per run, also under pytest-xdist: the first worker that needs it starts it
under a file lock, the controlling process stops it, and a watchdog stops it should that process be killed. Without
Ceph's binaries these tests are skipped with the reason; with ``CI=true`` that is a failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from boto3.session import Session
from botocore.exceptions import ClientError
from hypothesis import settings

from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.storage.s3_client import client_config
from yolo_assets_tests.support import ministack as ministack_server
from yolo_assets_tests.support import postgres_server
from yolo_assets_tests.support.brokers import Brokers
from yolo_assets_tests.support.postgres_server import Database, PostgresServer

SCRIPT = Path(__file__).parent / "support" / "ceph_rgw.sh"
BINARIES = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")


# No deadline per example: what else the machine does just now is no property of ours.
settings.register_profile("here", deadline=None, print_blob=True)
settings.load_profile("here")


@dataclass(frozen=True)
class S3Server:
    """A running gateway. Environments are complete: nothing of the developer's own AWS settings shines through."""

    endpoint: str
    env: dict[str, str]
    other_env: dict[str, str]

    def client(self, env: dict[str, str] | None = None) -> Any:
        """A boto3 client of the administrator (who owns the buckets), or of the user that ``env`` names."""
        env = env or self.env
        session = Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint, config=client_config(self.endpoint))


@dataclass(frozen=True)
class S3Bucket:
    """A fresh bucket. ``env`` is set in this process too, for the length of the test."""

    name: str
    url: str
    env: dict[str, str]
    server: S3Server
    client: Any


def pytest_configure(config: pytest.Config) -> None:
    """Fix where the run's server lives; workers are told by the hook below."""
    if not hasattr(config, "workerinput"):
        # Not below pytest's own folder: the daemons' sockets allow about a hundred characters of path.
        config.stash[_FOLDER] = Path(tempfile.gettempdir()) / f"s3-{uuid.uuid4().hex[:8]}"
        config.stash[_OWNER] = os.getpid()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: hand the folder to a worker."""
    node.workerinput["s3_folder"] = str(node.config.stash[_FOLDER])
    node.workerinput["s3_owner"] = node.config.stash[_OWNER]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """pytest-xdist says of a worker that died no more than that: whether it was killed, and by what, is told here."""
    if error is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = node.gateway._io.popen.wait(10)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            reporter = node.config.pluginmanager.get_plugin("terminalreporter")
            words = f"[{node.gateway.id}] {how}; {psutil.virtual_memory().available >> 20} MiB of memory free"
            reporter.write_line(words, red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server, in the process that owns the run."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None and folder.exists():
        subprocess.run([SCRIPT, "stop", folder], check=False, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


_FOLDER = pytest.StashKey[Path]()
_OWNER = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """The run's S3 server, started when first asked for."""
    missing = [name for name in BINARIES if shutil.which(name) is None]
    if missing:
        reason = f"no S3 server: {', '.join(missing)} not installed; run .ci/install-test-services.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    worker = getattr(request.config, "workerinput", None)
    folder = Path(worker["s3_folder"]) if worker else request.config.stash[_FOLDER]
    owner = worker["s3_owner"] if worker else request.config.stash[_OWNER]
    folder.mkdir(exist_ok=True)
    printed = folder / "environment"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            started = subprocess.run(
                [SCRIPT, "start", folder, str(owner)], capture_output=True, text=True, timeout=180, check=False
            )
            if started.returncode:
                pytest.fail(f"the S3 server did not start: {started.stderr}")
            printed.write_text(started.stdout)
    env = dict(line.split("=", 1) for line in printed.read_text().splitlines())
    nowhere = str(folder / "no-such-file")
    env |= {"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true"}
    other = env | {"AWS_ACCESS_KEY_ID": "archiver", "AWS_SECRET_ACCESS_KEY": "archiversecret"}
    return S3Server(env["AWS_ENDPOINT_URL_S3"], env, other)


@pytest.fixture
def make_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., S3Bucket]]:
    """Make fresh buckets: ``make_bucket()``, ``make_bucket(versioned=True)``, ``make_bucket(locked=True)``.

    They are emptied after the test (the server lives in memory), but for what a retention protects.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    client = s3_server.client()
    made: list[str] = []

    def make(*, versioned: bool = False, locked: bool = False) -> S3Bucket:
        name = f"test-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        made.append(name)
        return S3Bucket(name, f"s3://{name}/root", s3_server.env, s3_server, client)

    yield make
    for name in made:
        _empty(client, name)


def _empty(client: Any, bucket: str) -> None:
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        doomed = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        try:
            if doomed:
                client.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
        except ClientError:  # Ceph's bulk delete does not take every key that it stores
            for entry in doomed:
                with contextlib.suppress(ClientError):  # under retention
                    client.delete_object(Bucket=bucket, **entry)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that checks x-amz-checksum and knows cold tiers; one a worker, it is up in a second."""
    nowhere = str(tmp_path_factory.mktemp("aws") / "no-such-file")
    with ministack_server.running(tmp_path_factory.mktemp("ministack")) as endpoint:
        env = {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield S3Server(endpoint, env, env)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Debian's PostgreSQL; one a worker, it is up in two seconds."""
    if missing := postgres_server.missing_programs():
        reason = f"no PostgreSQL: {', '.join(missing)} not installed; run .ci/install-test-services.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with postgres_server.running() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    """A fresh, empty database."""
    return postgres.new_database()


@pytest.fixture
def checked_bucket(ministack: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    """A fresh bucket with object lock on ministack, whose environment switches store checksums on."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ministack.env.items():
        monkeypatch.setenv(name, value)
    client = ministack.client()
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return S3Bucket(name, f"s3://{name}/root", ministack.env, ministack, client)


@pytest.fixture
def s3_bucket(make_bucket: Callable[..., S3Bucket]) -> S3Bucket:
    """A fresh plain bucket, as the store root wants it."""
    return make_bucket()


@pytest.fixture
def s3_locked_bucket(make_bucket: Callable[..., S3Bucket]) -> S3Bucket:
    """A fresh bucket with object lock and versions, as the archive root wants it."""
    return make_bucket(locked=True)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty store of each kind."""
    if request.param == "s3":
        return request.getfixturevalue("s3_bucket").url
    return (tmp_path / "store").as_uri()


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    """A fresh, empty store of each kind."""
    return open_store(store_url)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Commands set the level of our log for their process; a test that calls one leaves it to the next as it was."""
    log = logging.getLogger("yolo_assets")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """Message brokers, each started when a test first asks for it, and shared by the tests of a worker."""
    running = Brokers(tmp_path_factory.mktemp("brokers"))
    yield running
    running.close()
