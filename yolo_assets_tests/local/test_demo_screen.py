"""The demo's bars on a real terminal, while Dagster keeps standard output for its logs."""

import os
import pty
import select
import subprocess
import sys
import time

PROGRAM = """
import os, time
from yolo_assets.local.demo.screen import Screen
screen = Screen()
with screen.bar("training", 1.0) as bar:
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # as Dagster does with the output of a step
    for epoch in range(1, 6):
        bar.to(epoch / 5, f"epoch {epoch}/5")
        time.sleep(0.15)
    os.dup2(kept, 1)
"""


def test_a_bar_moves_while_standard_output_is_caught() -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    seen, until = b"", time.monotonic() + 30
    try:
        while time.monotonic() < until:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
        assert child.wait(timeout=30) == 0, child.stderr.read() if child.stderr else ""
    finally:
        child.kill()
        os.close(ours)
    assert b"epoch 3/5" in seen and b"epoch 4/5" in seen
