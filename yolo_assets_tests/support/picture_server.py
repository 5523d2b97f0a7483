"""Debian's lighttpd as a camera that gives one picture a request: ETag, Last-Modified, Basic and Digest logins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from yolo_assets_tests.edge.plant import until
from yolo_assets_tests.support.streams import free_port

Login = Literal["none", "basic", "digest"]
USER, PASSWORD = "operator", "s3cret:geheim#1"

_CONFIGURATION = """
server.modules = ("mod_accesslog", "mod_auth", "mod_authn_file", "mod_redirect")
server.document-root = "{folder}/pictures"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{folder}/error.log"
accesslog.filename = "{folder}/access.log"
accesslog.format = "%m %U %s"
mimetype.assign = (".jpg" => "image/jpeg", ".html" => "text/html; charset=utf-8")
url.redirect = ("^/moved.jpg$" => "http://elsewhere.example/now.jpg")
"""
_LOGIN = """
auth.backend = "htdigest"
auth.backend.htdigest.userfile = "{folder}/users"
auth.require = ("/" => ("method" => "{login}", "realm" => "camera", "require" => "valid-user"))
"""


class PictureServer:
    """One process, which can be killed and started again at the same address."""

    def __init__(self, folder: Path, login: Login = "none") -> None:
        program = shutil.which("lighttpd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            if os.environ.get("CI"):
                pytest.fail("CI must have lighttpd")
            pytest.skip("lighttpd is not installed")
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}/now.jpg"
        (folder / "pictures").mkdir(parents=True)
        digest = hashlib.md5(f"{USER}:camera:{PASSWORD}".encode()).hexdigest()
        (folder / "users").write_text(f"{USER}:camera:{digest}\n")
        text = _CONFIGURATION + (_LOGIN if login != "none" else "")
        (folder / "lighttpd.conf").write_text(text.format(folder=folder, port=self._port, login=login))
        self._command = [program, "-D", "-f", str(folder / "lighttpd.conf")]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def show(self, data: bytes, name: str = "now.jpg") -> None:
        """Another picture, at once: the next request gets it whole."""
        file = self._folder / "pictures" / name
        file.with_suffix(".part").write_bytes(data)
        file.with_suffix(".part").rename(file)

    def answers(self, ending: str) -> int:
        """How many requests had this answer, like ``now.jpg 304``; only after its `end`."""
        return sum(line.endswith(ending) for line in (self._folder / "access.log").read_text().splitlines())

    def end(self) -> None:
        """As an administrator ends it: its log is written."""
        self._process.terminate()
        self._process.wait(10)
        until(lambda: (self._folder / "access.log").exists(), 5)

    close = kill
