"""Runs the real ``yolo-assets archive run`` in processes of its own, quickly, to be killed.

A process with everything imported is kept and forked for each run: a kill test needs hundreds, and a second of imports
each. What runs in the fork is the command as anybody calls it; only the sizes are small (parts of 5 MiB, nothing but
what is smaller goes as one put), so that an hour of a few megabytes is a multipart upload.

Belongs here: starting, killing and waiting. Does not belong here: what must be true afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_assets.archive.options import ArchiveOptions

PART = 5 << 20
"""Bytes of an upload part: the least that S3 takes."""


@dataclass(frozen=True)
class Ran:
    """How a run ended.

    Attributes:
        code: exit status; negative: the signal that ended it.
        out: standard output.
        error: standard error.
        calls: file system calls below the watched folder, when they were counted.
    """

    code: int
    out: str
    error: str
    calls: int = 0

    @property
    def killed(self) -> bool:
        """Whether it was ended by kill -9."""
        return self.code == -signal.SIGKILL


class Archiver:
    """Forks runs of the command; one at a time. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Start the process that forks; its output goes to files in ``folder``."""
        self._folder = folder
        folder.mkdir(exist_ok=True)
        # Nothing of the developer's own settings shines through.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "YOLO_ASSETS"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "yolo_assets_tests.support.archiver"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._pid: int | None = None
        self._running = False

    def __enter__(self) -> Archiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(
        self,
        spool: Path,
        archive: str,
        home: Path,
        *,
        env: dict[str, str] | None = None,
        whole: int = 0,
        kill_after: float | None = None,
        kill_at: int | None = None,
        patient: bool = False,
        read_timeout: float | None = None,
        limit: float = 120,
    ) -> Ran:
        """Archive every closed hour of a spool and wait for the end.

        Args:
            spool: the spool.
            archive: URL of the archive root.
            home: holds the archiver's key.
            env: more variables.
            whole: hours up to this size go as one put.
            kill_after: seconds after which the process is killed.
            kill_at: kills itself before this one of its file system calls below the spool's parent; 0 only counts.
            patient: wait between tries as in real life; otherwise the tries are as many, the pauses short.
            read_timeout: seconds without an answer; None: as in real life.
            limit: seconds that a run may take at most.
        """
        out, error = self._folder / "out", self._folder / "error"
        calls = self._folder / "calls"
        calls.unlink(missing_ok=True)
        order = {
            "arguments": ["archive", "run", "--spool", str(spool), "--archive", archive, "--grace", "0"],
            "env": {**(env or {}), "YOLO_ASSETS_HOME": str(home)},
            "out": str(out),
            "error": str(error),
            "calls": str(calls),
            "root": str(spool.parent),
            "kill_at": kill_at,
            "whole": whole,
            "patient": patient,
            "read_timeout": read_timeout,
            "limit": limit,
        }
        self._tell(order)
        self._pid = int(self._hear())
        self._running = True
        if kill_after is not None:
            time.sleep(kill_after)
            self.kill()
        code = int(self._hear())
        self._running = False
        counted = int(calls.read_text()) if calls.exists() else 0
        return Ran(code, out.read_text(errors="replace"), error.read_text(errors="replace"), counted)

    def kill(self) -> None:
        """kill -9 the run, if there is one; its number is not given to another process before the next run."""
        if self._pid is not None and self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks ended"
        return line


def serve() -> None:
    """Read orders, fork, report process number and exit status; ends with its standard input."""
    for module in ("yolo_assets.storage.s3", "yolo_assets.storage.s3_client", "yolo_assets.archive.service.archiver"):
        __import__(module)
    import boto3.session

    import yolo_assets.archive.options
    import yolo_assets.cli.archive
    from yolo_assets.archive.service import loop

    boto3.session.Session("warm", "warm", region_name="us-east-1").client("s3")
    real = yolo_assets.archive.options.ArchiveOptions
    last: int | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if last is not None:
            os.waitpid(last, 0)
        last = os.fork()
        if last == 0:
            # The command makes its options this way when it runs.
            sizes = functools.partial(_sized, real.of, order["whole"])
            real.of = sizes  # type: ignore[method-assign]
            if not order["patient"]:
                bounds = dataclasses.replace(loop.STORE_RETRIES, first_pause=0.001, longest_pause=0.001, jitter=0)
                loop.STORE_RETRIES = bounds
            _child(order)
        print(last, flush=True)
        # Left as a zombie until the next order: whoever kills it late must not hit another process.
        ended = os.waitid(os.P_PID, last, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)


def _sized(of: Callable[..., ArchiveOptions], whole: int, *given: Any, **named: Any) -> ArchiveOptions:
    """The operator's options, but with small parts."""
    return dataclasses.replace(of(*given, **named), part_size=PART, whole=whole)


def _child(order: dict[str, Any]) -> None:
    """The run itself. Never returns."""
    code = 1
    try:
        for number, name in ((0, os.devnull), (1, order["out"]), (2, order["error"])):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, order["limit"])
        os.environ.update(order["env"])
        if order["read_timeout"] is not None:
            from yolo_assets.storage import s3_client

            s3_client.READ_TIMEOUT = order["read_timeout"]
        if order["kill_at"] is not None:
            _watch(order["root"], order["kill_at"], order["calls"])
        from yolo_assets.cli.main import main

        sys.argv = ["yolo-assets", *order["arguments"]]
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(root: str, kill_at: int, counted: str) -> None:
    seen = 0

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.link", "os.remove", "os.truncate") and str(args[0]).startswith(root):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if not kill_at:
                descriptor = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                os.write(descriptor, str(seen).encode())
                os.close(descriptor)

    sys.addaudithook(watch)


if __name__ == "__main__":
    serve()
