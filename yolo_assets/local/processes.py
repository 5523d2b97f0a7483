"""Services of this machine that end with us, whatever happens to us, and a wait for what they serve."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from yolo_assets.contracts.errors import UserError
from yolo_assets.runtime.processes import ChildProcess, last_line


class LocalService:
    """One process with its output in a file. Use as a context manager; leaving it ends the process gracefully."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_seconds: float = 20,
    ) -> None:
        """Start it.

        Args:
            name: for messages.
            command: program and arguments.
            log: file that its output is appended to.
            env: variables on top of this process's.
            stop_seconds: how long it may take to end.
        """
        self.name = name
        self.log = log
        self._stop_seconds = stop_seconds
        self._process = ChildProcess(
            name,
            command,
            environment={**os.environ, **(env or {})},
            output=log,
            errors=log,
            end_with_parent=signal.SIGTERM,
            new_session=True,  # Ctrl-C reaches us alone; we stop the services in order
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise ``UserError`` with the last line of its log when the process has ended."""
        how = self._process.how_it_ended()
        if how is not None:
            raise UserError(f"{self.name} ended {how}: {last_line(self.log)} (all of it: {self.log})")

    def stop(self) -> None:
        """SIGTERM, time to finish, then SIGKILL; and whatever it had started ends too.

        Dagster leaves its run workers running when it stops: a training would continue, and promote, unseen.
        """
        self._process.end(self._stop_seconds, descendants=True)

    def __enter__(self) -> LocalService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_for_http(service: LocalService, url: str, seconds: float) -> None:
    """Wait until ``url`` (loopback) answers 200, while the service runs.

    Raises:
        UserError: the service ended, or nothing answered in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        service.check()
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback address built by us
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise UserError(f"{service.name} did not answer at {url} within {seconds:.0f} s: {last_line(service.log)}")


def get_json(url: str, seconds: float = 10) -> Any:
    """GET a JSON document from a loopback address.

    Raises:
        UserError: no answer, or an error status.
    """
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 - a loopback address built by us
            return orjson.loads(answer.read())
    except (urllib.error.URLError, OSError) as error:
        raise UserError(f"{url} does not answer: {error}") from None
