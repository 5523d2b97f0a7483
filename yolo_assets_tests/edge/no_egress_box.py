"""Runs an agent inside a network namespace without a route and says what tried to leave it. Started by a test.

Two observers: Python's audit events, which name every address and every name that is requested by Python code, and the
kernel's own count of packets of this namespace that found no route, which sees native libraries too. As a control the
witnesses are asked to notice one attempt that is made on purpose, before and apart from the agent.

    unshare -rn python no_egress_box.py CONFIG SECONDS REPORT
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HOOK = """
import ipaddress, os, sys
OUT = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
NAMES = {{"localhost", "", None, os.uname().nodename}}
def local(host):
    if isinstance(host, bytes): host = host.decode()
    if host in NAMES: return True
    try: return ipaddress.ip_address(host.split("%")[0]).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError: return False
def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    else:
        return
    if not local(host):
        os.write(OUT, f"{{event}} {{args[0] if event.startswith('socket.get') else args[1]}}\\n".encode())
sys.addaudithook(hook)
"""


def loopback_up() -> None:
    """What ``ip link set lo up`` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(control, 0x8913, request))[1]
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14s", b"lo", flags | 1, b""))


def without_route() -> int:
    """Packets of this namespace that found no route, IPv4 and IPv6."""
    total = 0
    for line in Path("/proc/net/snmp6").read_text().splitlines():
        name, value = line.split()
        total += int(value) if name == "Ip6OutNoRoutes" else 0
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:3] == "Ip:")
    return total + int(values[names.index("OutNoRoutes")])


def try_to_leave(hooked: str) -> None:
    """One attempt of Python and one of another program: both witnesses must notice."""
    code = hooked + "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"], capture_output=True, check=False, timeout=60)


def main() -> None:
    config, seconds, report = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    loopback_up()
    others = [line for line in Path("/proc/net/dev").read_text().splitlines()[2:] if not line.strip().startswith("lo:")]
    control_log, log = report.with_suffix(".control"), report.with_suffix(".hook")
    start = without_route()
    try_to_leave(HOOK.format(path=str(control_log)))
    noticed = {"kernel": without_route() - start, "python": control_log.read_text()}

    hook = report.parent / "hook"  # a sitecustomize is read by every Python process that the agent starts, too
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK.format(path=str(log)))
    environment = os.environ | {"PYTHONPATH": str(hook)}
    begin = without_route()
    command = [sys.executable, "-m", "yolo_assets.cli.main", "edge", "run", "--json", "--config", str(config)]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
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
    found = {
        "interfaces": others,
        "noticed": noticed,
        "kernel": without_route() - begin,
        "python": log.read_text() if log.exists() else None,
        "status": status,
        "exit": code,
    }
    report.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
