"""One child process: how it ends, how that is reported, and that nothing of it remains. Real processes, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from yolo_assets.runtime.processes import (
    ChildProcess,
    ChildStartError,
    environment_of,
    last_line,
    signal_name,
)

SLEEP = "import time; time.sleep(600)"


def child(program: str, *arguments: str, **options) -> ChildProcess:
    return ChildProcess("the helper", [sys.executable, "-c", program, *arguments], **options)


def wait_for(path: Path) -> str:
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.01)
    return path.read_text().strip()


def gone(pid: int, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("program", "words", "status"),
    [
        ("raise SystemExit(3)", "with exit status 3", 3),
        ("pass", "with exit status 0", 0),
        ("import os; os.kill(os.getpid(), 9)", "by SIGKILL", -9),
        ("import os; os.abort()", "by SIGABRT", -6),
    ],
)
def test_how_it_ended_is_reported_by_name(program: str, words: str, status: int) -> None:
    process = child(program)
    assert process.how_it_ended(60) == words
    assert process.exit_status == status
    process.end(0)


def test_while_it_runs_it_has_not_ended() -> None:
    process = child(SLEEP)
    assert process.how_it_ended() is None and process.exit_status is None and not process.wait(0.05)
    process.kill()
    assert process.how_it_ended() == "by SIGKILL"


def test_it_is_asked_first_and_killed_when_it_does_not_listen(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    listens = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "pathlib.Path(sys.argv[1]).write_text('x\\n'); time.sleep(600)"
    )
    process = child(listens, str(ready))
    wait_for(ready)
    process.end(30)
    assert process.exit_status == 7
    ready.unlink()
    deaf = listens.replace("lambda *_: sys.exit(7)", "signal.SIG_IGN")
    process = child(deaf, str(ready))
    wait_for(ready)
    process.end(0.2)
    process.end(0.2)
    assert process.exit_status == -signal.SIGKILL


def test_a_stopped_child_is_ended_too() -> None:
    process = child(SLEEP)
    os.kill(process.pid, signal.SIGSTOP)
    until = time.monotonic() + 20
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED and time.monotonic() < until:
        time.sleep(0.01)
    process.end(0.2)
    assert process.exit_status == -signal.SIGKILL


def test_it_may_be_asked_by_other_means_than_a_signal() -> None:
    read, write = os.pipe()
    process = child("import os, sys; os.read(int(sys.argv[1]), 1); raise SystemExit(5)", str(read), pass_fds=[read])
    os.close(read)
    os.close(write)
    process.end(60, ask=None)
    assert process.exit_status == 5


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "grandchild"
    program = (
        "import pathlib, subprocess, sys, time\n"
        f"found = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        "pathlib.Path(sys.argv[1]).write_text(f'{found.pid}\\n'); time.sleep(600)"
    )
    process = child(program, str(file))
    grandchild = int(wait_for(file))
    process.end(5, descendants=True)
    assert gone(process.pid) and gone(grandchild)


@pytest.mark.parametrize("by", ["the parent", "the child"])
def test_it_ends_when_its_parent_is_killed(tmp_path: Path, by: str) -> None:
    file = tmp_path / "pid"
    asks = "from yolo_assets.runtime.processes import die_with_parent; import sys; die_with_parent(int(sys.argv[1])); "
    program = (
        "import os, pathlib, signal, sys, time; from yolo_assets.runtime.processes import ChildProcess\n"
        f"started = {{'end_with_parent': signal.SIGKILL}} if {by == 'the parent'} else {{}}\n"
        f"code = {SLEEP!r} if started else {asks + 'print(1, flush=True); ' + SLEEP!r}\n"
        "command = [sys.executable, '-c', code, str(os.getpid())]\n"
        "process = ChildProcess('it', command, output=ChildProcess.PIPE, **started)\n"
        "started or process.stdout.readline()\n"
        "pathlib.Path(sys.argv[1]).write_text(f'{process.pid}\\n'); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(file)])
    pid = int(wait_for(file))
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    assert gone(pid)


def test_output_goes_to_its_log_and_the_last_line_is_reported(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "helper.log"
    assert last_line(log) == "no log"
    process = child("import sys; print('one'); print('two', file=sys.stderr)", output=log, errors=log)
    assert process.wait(60) and sorted(log.read_text().split()) == ["one", "two"]
    process = child("print('three'); print()", output=log, errors=log)
    assert process.wait(60) and last_line(log) == "three"
    log.write_text("\n \n")
    assert last_line(log) == "nothing was printed"


def test_lines_come_through_a_pipe_that_is_closed_at_the_end() -> None:
    process = child("print('a'); print('b')", output=ChildProcess.PIPE, errors=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readlines() == [b"a\n", b"b\n"]
    process.end(60, ask=None)
    assert process.exit_status == 0 and process.stdout.closed


def test_only_allowed_variables_are_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STORE_SECRET", "hidden")
    monkeypatch.setenv("LC_TEST", "seen")
    environment = environment_of(["PATH", "NOT_SET"], ("LC_", "PYTHON"))
    assert "STORE_SECRET" not in environment and environment["LC_TEST"] == "seen"
    log = tmp_path / "log"
    process = child("import os; print(sorted(os.environ))", environment=environment, output=log)
    assert process.wait(60)
    assert "LC_TEST" in log.read_text() and "STORE_SECRET" not in log.read_text()


def test_no_descriptor_is_inherited_that_was_not_passed(tmp_path: Path) -> None:
    kept, passed = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(kept, True)
    log = tmp_path / "log"
    process = child("import os; print(os.listdir('/proc/self/fd'))", pass_fds=[passed], output=log)
    assert process.wait(60)
    os.close(kept)
    os.close(passed)
    assert f"'{passed}'" in log.read_text() and f"'{kept}'" not in log.read_text()


def test_a_program_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ChildStartError, match=r"cannot start the helper: .*no-such-program"):
        ChildProcess("the helper", ["/no-such-program"])


def test_signals_have_names() -> None:
    assert signal_name(15) == "SIGTERM" and signal_name(99) == "signal 99"
