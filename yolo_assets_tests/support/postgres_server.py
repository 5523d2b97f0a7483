"""Debian's PostgreSQL on loopback for tests: a cluster of its own in a folder, gone when stopped.

    with running() as server:
        database = server.new_database()     # empty; database.environment for the processes that use it
        server.kill(); server.start()        # as after a crash

It refuses to run as root, so a test run as root starts it as another user.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
_USER, _PASSWORD = "dagster", "a-test's password"

# Takes another user's rights, ends with the process that started it (signal 3: at once), and becomes the server.
_PROGRAM = """
import ctypes, os, sys
parent, uid, gid = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if uid != os.getuid():
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
ctypes.CDLL(None).prctl(1, 3)
if os.getppid() != parent: sys.exit(1)
os.execv(sys.argv[4], sys.argv[4:])
"""

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 200
shared_buffers = 32MB
max_wal_size = 128MB
log_min_messages = warning
"""


def missing_programs() -> list[str]:
    """Which of the server's programs are not on this machine."""
    return [name for name in ("initdb", "postgres") if _program(name) is None]


def _program(name: str) -> str | None:
    """Debian keeps the server's programs outside PATH, one folder a version."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(newest[-1]) if newest else shutil.which(name)


@dataclass(frozen=True)
class Database:
    """One empty database of a server.

    Attributes:
        port: of the server, on 127.0.0.1.
        name: of the database.
    """

    port: int
    name: str
    user: str = _USER
    password: str = _PASSWORD

    @property
    def environment(self) -> dict[str, str]:
        """libpq's variables, as ``psql`` reads them."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.name,
        }

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement and return its rows, if it has any."""
        import psycopg2

        address = {"host": "127.0.0.1", "port": self.port, "user": self.user, "password": self.password}
        with contextlib.closing(psycopg2.connect(dbname=self.name, **address)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []


class PostgresServer:
    """A cluster in a folder. Its port stays the same over restarts. Not for several threads."""

    def __init__(self, folder: Path) -> None:
        """Make the cluster and start it.

        Raises:
            RuntimeError: it did not answer in time; the message holds the end of its log.
        """
        self._folder, self._data = folder, folder / "data"
        self._log = folder / "postgres.log"
        self._uid, self._gid = _identity()
        self._process: subprocess.Popen[bytes] | None = None
        os.chown(folder, self._uid, self._gid)
        password = folder / "password"
        password.write_text(_PASSWORD)
        os.chown(password, self._uid, self._gid)
        options = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"]
        made = self._start(["initdb", *options, f"--username={_USER}", f"--pwfile={password}", str(self._data)])
        if made.wait(60):
            raise RuntimeError(f"initdb failed: {self._log.read_text()[-1000:]}")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)
        self.port = _free_port()
        self.start()

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = self._start(["postgres", "-D", str(self._data), "-p", str(self.port)])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(Exception):  # it is starting: no connection, or "the database system is starting"
                Database(self.port, "postgres").query("SELECT 1")
                return
            time.sleep(0.05)
        raise RuntimeError(f"postgres did not start: {self._log.read_text()[-1000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and all its children, as a crash."""
        import psutil

        children = psutil.Process(self.pid).children()
        for process in (psutil.Process(self.pid), *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert self._process is not None
        self._process.wait(30)
        psutil.wait_procs(children, timeout=30)

    def stop(self) -> None:
        """End it at once; connections are cut."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)

    def new_database(self) -> Database:
        """An empty database with a name of its own."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        Database(self.port, "postgres").query(f"CREATE DATABASE {name}")
        return Database(self.port, name)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        program = _program(command[0])
        assert program is not None, command[0]
        start = [sys.executable, "-c", _PROGRAM, str(os.getpid()), str(self._uid), str(self._gid)]
        with self._log.open("ab") as log:
            return subprocess.Popen([*start, program, *command[1:]], cwd=self._folder, stdout=log, stderr=log)


@contextlib.contextmanager
def running() -> Iterator[PostgresServer]:
    """A server for the length of the block. Its folder is not below pytest's own, which only its owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _identity() -> tuple[int, int]:
    """The user that runs the server: this one, or for root the one that Debian's package makes."""
    if os.getuid():
        return os.getuid(), os.getgid()
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return entry.pw_uid, entry.pw_gid


def _free_port() -> int:
    """Below the range that the kernel hands out to clients."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
