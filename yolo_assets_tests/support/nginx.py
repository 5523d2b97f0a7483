"""Debian's nginx with the shipped ``ui.nginx.conf``, on ports and with users of a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from yolo_assets.local.services import LocalService, free_port
from yolo_assets.shipped import shipped_file

_AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_processes 1;
{user}
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/ui.nginx.conf;
}}
"""


def program() -> str | None:
    """Where nginx is; Debian has it outside the PATH of users."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


def write_configuration(
    folder: Path, *, port: int = 0, readers: int = 3001, operators: int = 3000, users: Mapping[str, str] | None = None
) -> Path:
    """Write the shipped file and all that it names into a folder, with a certificate for ``localhost``.

    Args:
        folder: a short path of its own.
        port: for https; 0 keeps one that nobody can bind without rights.
        readers: port of the read-only UI.
        operators: port of the operators' UI.
        users: password by name; names that begin with ``operator`` are operators.

    Returns:
        The configuration, as ``nginx -c`` takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = users or {}
    hashes = {
        name: subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=word, capture_output=True, text=True, check=True
        ).stdout.strip()
        for name, word in users.items()
    }
    (folder / "ui.users").write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()))
    (folder / "ui.operators").write_text("".join(f"{name} 1;\n" for name in users if name.startswith("operator")))
    certificate = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", folder / "ui.key", "-out", folder / "ui.crt"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate, *files]
    subprocess.run(make, capture_output=True, check=True)
    text = shipped_file("plant/ui.nginx.conf").read_text()
    for shipped, own in {
        "/etc/yolo-assets/": f"{folder}/",
        "listen 443 ssl;": f"listen 127.0.0.1:{port or 443} ssl;",
        "listen 80;": f"listen 127.0.0.1:{free_port(0)};",
        "127.0.0.1:3001": f"127.0.0.1:{readers}",
        "127.0.0.1:3000": f"127.0.0.1:{operators}",
        "server_name plant.example;": "server_name localhost;",
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, own)
    text = "".join(line for line in text.splitlines(keepends=True) if "listen [::]" not in line)
    (folder / "ui.nginx.conf").write_text(text)
    around = folder / "nginx.conf"
    around.write_text(_AROUND.format(folder=folder, user="user root;" if os.getuid() == 0 else ""))
    return around


@contextlib.contextmanager
def running(configuration: Path) -> Iterator[LocalService]:
    """nginx for the length of the block."""
    found = program()
    assert found is not None
    command = [found, "-p", str(configuration.parent), "-c", str(configuration)]
    with LocalService("nginx", command, configuration.parent / "output.log") as service:
        yield service
