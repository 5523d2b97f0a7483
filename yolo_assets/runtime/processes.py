"""A child process from its start to its end: what it inherits, how it is ended, how it ended, what it printed last.

Belongs here: one process and the signals around it. Does not belong here: how parent and child communicate
(sockets, shared memory, lines on standard output), and when a child is started again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from yolo_assets.contracts.errors import UserError

_PR_SET_PDEATHSIG = 1
_FAMILY_SECONDS = 5.0


class ChildStartError(UserError):
    """No process could be started."""


class ChildProcess:
    """One running child. It must be ended with `end`, or by its own work.

    Attributes:
        name: for messages.
        stdout: what it prints, when ``output`` is ``PIPE``.
    """

    PIPE = subprocess.PIPE

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        output: Path | int | None = None,
        errors: Path | int | None = None,
        end_with_parent: signal.Signals | None = None,
        new_session: bool = False,
    ) -> None:
        """Start it, with nothing on its standard input.

        Args:
            name: for messages, such as ``the edge agent``.
            command: program and arguments.
            environment: all of it; None: this process's.
            pass_fds: descriptors that it inherits; all others are closed.
            output: its standard output: a file to append to, ``PIPE``, ``subprocess.DEVNULL``, None for this process's.
            errors: its standard error, likewise; the same file as ``output`` is opened once.
            end_with_parent: the signal that the kernel sends it when the thread that started it ends, however that
                happens. Only from a process without other threads that hold locks: code runs between fork and exec.
            new_session: whether Ctrl-C on the terminal reaches this process alone.

        Raises:
            ChildStartError: the system refuses.
        """
        self.name = name
        try:
            with contextlib.ExitStack() as files:
                stdout = _stream(output, files)
                stderr = subprocess.STDOUT if errors is not None and errors == output else _stream(errors, files)
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=None if environment is None else dict(environment),
                    pass_fds=tuple(pass_fds),
                    start_new_session=new_session,
                    preexec_fn=None if end_with_parent is None else lambda: _set_death_signal(end_with_parent),
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise ChildStartError(f"cannot start {name}: {error}") from None
        self.stdout: IO[bytes] | None = self._process.stdout

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; returns whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def how_it_ended(self, seconds: float = 0.0) -> str | None:
        """``by SIGKILL`` or ``with exit status 3``; None when it has not ended after so many seconds."""
        if not self.wait(seconds):
            return None
        status = self._process.returncode
        return f"by {signal_name(-status)}" if status < 0 else f"with exit status {status}"

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def end(self, grace_s: float, *, ask: signal.Signals | None = signal.SIGTERM, descendants: bool = False) -> None:
        """End it: ask, give it time, kill it, and wait until it is gone. Calling it twice is no error.

        Args:
            grace_s: seconds to finish in.
            ask: the signal; None when the caller has asked in another way, by closing a socket for example.
            descendants: also end everything that it had started; a process that had ended by itself is not looked into.
        """
        if self.exit_status is None:
            with _ended_after(self.pid) if descendants else contextlib.nullcontext():
                if ask is not None:
                    self._process.send_signal(ask)
                if not self.wait(grace_s):
                    self.kill()
        if self.stdout is not None:
            self.stdout.close()


def _stream(target: Path | int | None, files: contextlib.ExitStack) -> IO[bytes] | int | None:
    if not isinstance(target, Path):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    return files.enter_context(target.open("ab"))


@contextlib.contextmanager
def _ended_after(pid: int) -> Generator[None]:
    """End what a process has started by now, once the block, in which it ends itself, is over."""
    import psutil  # of the edge and local extras

    family = psutil.Process(pid).children(recursive=True)
    yield
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        _, family = psutil.wait_procs(family, timeout=_FAMILY_SECONDS)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; ``signal 64`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def environment_of(names: Iterable[str], prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """This process's environment, cut to an allow-list: the secrets of the store are no business of a decoder.

    Args:
        names: variables to keep.
        prefixes: variables that begin so are kept too.
    """
    allowed = frozenset(names)
    return {name: value for name, value in os.environ.items() if name in allowed or name.startswith(prefixes)}


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Called by a child: end when the parent ends, however that ends and even while this process is stopped.

    Args:
        parent: its process id, as the parent itself gave it.
        number: the signal that the kernel sends.
    """
    _set_death_signal(number)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(0)


def _set_death_signal(number: signal.Signals) -> None:
    # Linux only, as the product is.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, for a message about its writer."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")
