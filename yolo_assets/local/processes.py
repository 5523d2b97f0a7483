"""Child processes that end with us, whatever happens to us, and a wait for what they serve."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
import psutil

from yolo_assets.contracts.errors import UserError

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    # Linux only, as the project is: a child of a killed demo would go on writing into the next one's folders.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One process with its output in a file. Use as a context manager; leaving it ends the process gracefully."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_seconds: float = 20,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_seconds = stop_seconds
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                preexec_fn=_die_with_parent,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the children in order
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise ``UserError`` with the last line of its log when the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise UserError(f"{self.name} ended with code {code}: {last_line(self.log)} (all of it: {self.log})")

    def stop(self) -> None:
        """SIGTERM, time to finish, then SIGKILL; and whatever it had started ends too.

        Dagster leaves its run workers running when it stops: a training would go on, and promote, unseen.
        """
        if self._process.poll() is not None:
            return
        family = psutil.Process(self.pid).children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(process)
            _, family = psutil.wait_procs(family, timeout=5)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def last_line(path: Path) -> str:
    """The last line of a log that says something."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")


def wait_for_http(child: Child, url: str, seconds: float) -> None:
    """Wait until ``url`` (loopback) answers 200, while ``child`` lives.

    Raises:
        UserError: the child ended, or nothing answered in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        child.check()
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback address built by us
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise UserError(f"{child.name} did not answer at {url} within {seconds:.0f} s: {last_line(child.log)}")


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
