"""Runs an agent inside a network namespace without a route and says what tried to leave it. Started by a test.

unshare -rn python -m yolo_assets_tests.edge.no_egress_box CONFIG SECONDS REPORT
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from yolo_assets_tests.support.no_route import Witnesses


def main() -> None:
    config, seconds, report = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    witnesses = Witnesses(report)
    command = [sys.executable, "-m", "yolo_assets.cli.main", "edge", "run", "--json", "--config", str(config)]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, env=witnesses.environment)
    try:
        assert agent.stdout is not None
        url = json.loads(agent.stdout.readline())["url"]
        end, status = time.monotonic() + seconds, {}
        while time.monotonic() < end:
            time.sleep(min(1.0, seconds))
            for path in ("v1/status", "metrics", "openapi.json", ""):
                with urllib.request.urlopen(url + path, timeout=20) as answer:
                    status = json.loads(answer.read()) if path == "v1/status" else status
        agent.send_signal(signal.SIGTERM)
        code = agent.wait(40)
    finally:
        agent.kill()
        agent.wait(10)
    report.write_text(json.dumps({**witnesses.found(), "status": status, "exit": code}))


if __name__ == "__main__":
    main()
