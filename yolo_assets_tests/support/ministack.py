"""Runs ministack, an S3 server in memory that checks what Ceph does not: x-amz-checksum, and cold tiers.

It looks at no credentials and no policies; where those matter the tests use Ceph.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

START_SECONDS = 30.0

# Ends with the process that started it, also when that is killed: signal 9 at the parent's death.
_PROGRAM = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv.pop(1)): sys.exit(1)
from ministack.app import main
main()
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """A server for the length of the block; its files, if any, and its log lie in ``folder``.

    Yields:
        The endpoint, on loopback.

    Raises:
        RuntimeError: it did not answer in time.
    """
    for _ in range(3):  # another process may take a port between the look and the bind
        port = _free_port()
        with (folder / "ministack.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(os.getpid())],
                env=_environment(folder, port),
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        try:
            if _answers(process, port):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            process.kill()
            process.wait(10)
    raise RuntimeError(f"ministack did not start: {(folder / 'ministack.log').read_text()[-500:]}")


def _environment(folder: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "MINISTACK_"))}
    own = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "s3", "LOG_LEVEL": "WARNING"}
    return kept | own | {"TMPDIR": str(folder), "S3_DATA_DIR": str(folder / "s3")}


def _free_port() -> int:
    """Below the range that the kernel hands out to clients."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process.poll() is None
        time.sleep(0.05)
    return False
