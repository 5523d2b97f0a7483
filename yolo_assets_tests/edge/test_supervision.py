"""What systemd is told: ready, keep-alive only while results advance, stopping; and the unit that expects it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.edge.supervision import Pulse, StallDetector, Supervisor
from yolo_assets_tests.edge.plant import Plant, until

UNIT = Path(__file__).parents[2] / "deploy" / "edge" / "yolo-assets-edge.service"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
LIMIT = 10.0


class Listener:
    """Stands where systemd listens."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + path[1:] if path[0] == "@" else path)
        self._socket.setblocking(False)
        self.lines: list[str] = []

    def read(self) -> list[str]:
        while True:
            try:
                self.lines.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.lines

    def close(self) -> None:
        self._socket.close()


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5), st.booleans(), st.booleans()), max_size=40))
def test_the_keep_alive_is_withheld_only_for_work_without_results(steps: list[tuple[float, int, bool, bool]]) -> None:
    """Against a plain reading: for more than LIMIT there was always work and a model, and never a fresh result."""
    progress, now, captured, result_at = StallDetector(LIMIT), 0.0, 0, None
    since: float | None = None
    for gap, frames, serves, result in steps:
        now += gap
        captured += frames
        result_at = now if result and serves else result_at
        age = now - result_at if result_at is not None else None
        alive = progress.advances(Pulse(captured, 0, serves, age), now)
        if not serves or not frames or (age is not None and age <= LIMIT):
            since = None
        elif since is None:
            since = now
        assert alive == (since is None or now - since <= LIMIT)


def test_dead_cameras_a_missing_model_and_hung_frames() -> None:
    dead, hung, bare = StallDetector(LIMIT), StallDetector(LIMIT), StallDetector(LIMIT)
    for second in range(0, 1000, 5):
        assert dead.advances(Pulse(100, 0, True, 1.0 * second), second)
        assert bare.advances(Pulse(second, 0, False, None), second)
        assert hung.advances(Pulse(7, 3, True, None), second) == (second <= LIMIT)
    for phase in range(15):  # the last picture came just before a sign of life was due, or long before
        last = StallDetector(LIMIT)
        ends = 30 + phase
        assert all(
            last.advances(Pulse(min(at, ends) * 10, 0, True, float(max(0, at - ends))), at) for at in range(0, 900, 15)
        )
    never = StallDetector(LIMIT)
    assert all(never.advances(Pulse(0, 0, True, None), second) for second in range(100))


@pytest.mark.parametrize("abstract", [False, True])
def test_what_systemd_is_told_and_when(tmp_path: Path, abstract: bool) -> None:
    address = f"@yolo-assets-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    now, age = 0.0, 1.0
    listener = Listener(address)
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid())}
    reasons = ["camera cam1: no\nresult"]
    supervisor = Supervisor(lambda: Pulse(0, 1, True, age), lambda: reasons, LIMIT, environment, lambda: now)
    supervisor.ready()
    for now in (0.0, 1.0, 2.0, 3.9, 4.0):  # noqa: B007 - the clock
        supervisor.tick()
    said = listener.read()
    assert said == ["READY=1", "STATUS=camera cam1: no result", *["WATCHDOG=1"] * 3]
    age = 100.0
    for second in range(5, 60):
        now = float(second)
        supervisor.tick()
    assert 3 < listener.read().count("WATCHDOG=1") <= 3 + LIMIT / 2 + 1
    supervisor.stopping()
    assert listener.read()[-1] == "STOPPING=1"
    listener.close()
    supervisor.stopping()  # nobody listens any more, and nobody minds


def test_without_systemd_nothing_is_sent() -> None:
    for environment in ({}, {"WATCHDOG_USEC": "8000000"}):
        quiet = Supervisor(lambda: pytest.fail("asked"), lambda: pytest.fail("asked"), LIMIT, environment)
        quiet.ready()
        quiet.tick()
        quiet.stopping()


def test_an_agent_stops_its_keep_alive_when_inference_hangs(plant: Plant) -> None:
    plant.register("1")
    plant.promote("1")
    listener = Listener(str(plant.root / "notify"))
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 3)), "loop": True, "fps": 20}
    config = plant.config_file([camera | {"pace": "realtime", "policy": "latest"}], ready_seconds=1.0)
    environment = os.environ | {"NOTIFY_SOCKET": str(plant.root / "notify"), "WATCHDOG_USEC": "800000"}
    environment.pop("WATCHDOG_PID", None)
    hang = plant.root / "hang"
    code = (
        "import sys, time, pathlib; from yolo_assets.vision.model import Model; real = Model.predict_many\n"
        "def predict_many(self, *a, **k):\n"
        f"    while pathlib.Path({str(hang)!r}).exists(): time.sleep(0.05)\n"
        "    return real(self, *a, **k)\n"
        "Model.predict_many = predict_many\n"
        "from yolo_assets.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "edge", "run", "--config", str(config)]
    agent = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        until(lambda: "STATUS=every live camera has results" in listener.read(), 60)
        assert listener.lines[0] == "READY=1"
        count = listener.read().count("WATCHDOG=1")
        until(lambda: listener.read().count("WATCHDOG=1") > count + 5)
        hang.touch()
        until(lambda: any("no result for" in line for line in listener.read()))
        time.sleep(1.5)
        count = listener.read().count("WATCHDOG=1")
        time.sleep(1.5)
        assert listener.read().count("WATCHDOG=1") == count  # systemd would restart it now
        hang.unlink()
        until(lambda: listener.read().count("WATCHDOG=1") > count + 5)  # and not when it came back by itself
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(40) == 0
        assert "STOPPING=1" in listener.read()
    finally:
        agent.kill()
        agent.wait(10)
        listener.close()


def test_the_unit_expects_what_the_agent_sends() -> None:
    text = UNIT.read_text()
    for line in ("Type=notify", "NotifyAccess=main", "Restart=always", "StartLimitIntervalSec=0"):
        assert re.search(rf"(?m)^{re.escape(line)}$", text), line
    assert re.search(r"(?m)^WatchdogSec=\d+$", text)


@needs_systemd
def test_systemd_accepts_the_edge_unit_without_a_warning(tmp_path: Path) -> None:
    text, count = re.subn(r"(?m)^ExecStart=/opt/yolo-assets/bin/yolo-assets ", "ExecStart=/bin/true ", UNIT.read_text())
    assert count == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text)  # the command is not installed where this test runs
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-400:]
