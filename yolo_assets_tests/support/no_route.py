"""A network namespace without a route: runs a command in it and says what tried to leave.

Two observers: Python's audit events, which name every address and every name that is requested by Python code, and the
kernel's own count of packets of this namespace that found no route, which sees native libraries too. As a control the
witnesses are asked to notice one attempt that is made on purpose, before and apart from the command.

    unshare -rn python -m yolo_assets_tests.support.no_route REPORT COMMAND…
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def _try_to_leave(hooked: str) -> None:
    """One attempt of Python and one of another program: both witnesses must notice."""
    code = hooked + "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"], capture_output=True, check=False, timeout=60)


@dataclass
class Witnesses:
    """Loopback is up, the control was noticed, and every Python process with ``environment`` is heard from now on.

    Attributes:
        report: a path; files beside it are theirs.
        environment: for what is watched.
    """

    report: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __post_init__(self) -> None:
        loopback_up()
        names = (line.strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])
        self._others = [name for name in names if not name.startswith("lo:")]
        control, self._log = self.report.with_suffix(".control"), self.report.with_suffix(".hook")
        start = without_route()
        _try_to_leave(HOOK.format(path=str(control)))
        self._noticed = {"kernel": without_route() - start, "python": control.read_text()}
        hook = self.report.parent / "hook"  # a sitecustomize is read by every Python process that is started, too
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK.format(path=str(self._log)))
        paths = [str(hook), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment["PYTHONPATH"] = os.pathsep.join(paths)
        self._begin = without_route()

    def found(self) -> dict[str, Any]:
        """Other ``interfaces``, what was ``noticed`` on purpose, and since then ``kernel`` and ``python``."""
        return {
            "interfaces": self._others,
            "noticed": self._noticed,
            "kernel": without_route() - self._begin,
            "python": self._log.read_text() if self._log.exists() else None,
        }


def nothing_left(found: dict[str, Any]) -> None:
    """The judgement.

    Raises:
        AssertionError: something tried to leave, or the witnesses slept.
    """
    assert not found["interfaces"], "this is no namespace without a way out"
    # The witnesses are awake: they saw the attempts that were made on purpose.
    assert found["noticed"]["kernel"] >= 2 and "192.0.2.1" in found["noticed"]["python"]
    assert found["python"] == "", f"Python code asked for {found['python']}"
    assert found["kernel"] == 0, f"{found['kernel']} packets wanted to leave this machine"


def main() -> None:
    report = Path(sys.argv[1])
    witnesses = Witnesses(report)
    code = subprocess.run(sys.argv[2:], env=witnesses.environment, check=False).returncode
    report.write_text(json.dumps({**witnesses.found(), "exit": code}))


if __name__ == "__main__":
    main()
