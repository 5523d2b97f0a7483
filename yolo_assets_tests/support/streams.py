"""Network cameras for tests, in processes of their own: Debian's ffmpeg, and a small RTSP server in front of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Literal

Kind = Literal["tcp", "mjpeg"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def make_video(path: Path, seconds: int = 4, size: str = "320x240") -> Path:
    source = f"testsrc2=size={size}:rate=25:duration={seconds}"
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", source, *encode, str(path)], check=True)
    return path


class Sender:
    """ffmpeg, playing a file over and over to one client in real time."""

    def __init__(self, video: Path, output: list[str]) -> None:
        command = ["ffmpeg", "-loglevel", "quiet", "-nostdin", "-re", "-stream_loop", "-1", "-i", str(video), *output]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class NetworkCamera:
    """A camera at one port; it accepts one client, and after that client is gone the next."""

    def __init__(self, video: Path, kind: Kind = "tcp") -> None:
        self.port = free_port()
        self._video = video
        if kind == "tcp":
            self.url = f"tcp://127.0.0.1:{self.port}"
            self._output = ["-c", "copy", "-f", "mpegts", f"{self.url}?listen=1"]
        else:
            self.url = f"http://127.0.0.1:{self.port}/cam.mjpg"
            self._output = ["-c:v", "mjpeg", "-q:v", "5", "-f", "mpjpeg", "-listen", "1", self.url]
        self.sender: Sender | None = None
        self._on = False
        self._keeper: threading.Thread | None = None

    def on(self) -> None:
        self._on = True
        self.sender = Sender(self._video, self._output)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def off(self) -> None:
        """As if the power were cut."""
        self._on = False
        if self.sender is not None:
            self.sender.kill()
        if self._keeper is not None:
            self._keeper.join(5)
        if self.sender is not None:
            self.sender.kill()

    def _keep(self) -> None:
        while self._on:
            if self.sender is not None and self.sender.process.poll() is not None and self._on:
                self.sender = Sender(self._video, self._output)
            time.sleep(0.02)


class SilentServer:
    """Accepts, and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self.accepted.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()
        for client in self.accepted:
            client.close()


class GuardedServer:
    """Asks for a password over HTTP (Basic), and refuses every one."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[str] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        refusal = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"\r\nContent-Length: 0\r\n'
        while True:
            try:
                with self._listener.accept()[0] as client:
                    self.requests.append(client.recv(4096).decode())
                    client.sendall(refusal + b"Connection: close\r\n\r\n")
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


class RtspCamera:
    """RTSP with the pictures in the same connection (RFC 2326, interleaved). ffmpeg makes the RTP packets."""

    def __init__(self, video: Path, folder: Path) -> None:
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp.bind(("127.0.0.1", 0))
        self._rtp.settimeout(0.2)
        sdp = folder / "camera.sdp"
        target = f"rtp://127.0.0.1:{self._rtp.getsockname()[1]}?pkt_size=1400"
        self.sender = Sender(video, ["-c", "copy", "-f", "rtp", "-sdp_file", str(sdp), target])
        end = time.monotonic() + 15
        while not (sdp.exists() and "sprop" in sdp.read_text()):
            assert time.monotonic() < end, "ffmpeg wrote no description of its stream"
            time.sleep(0.02)
        lines = [line for line in sdp.read_text().splitlines() if line and not line.startswith("SDP:")]
        lines = ["m=video 0 RTP/AVP 96" if line.startswith("m=video") else line for line in lines]
        self._sdp = "\r\n".join([*lines, "a=control:track1", ""])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/stream1"
        self.requests: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.sender.kill()
        self._rtp.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as lines:
                while request := self._read(lines):
                    method, sequence = request
                    self.requests.append(method)
                    body = self._sdp if method == "DESCRIBE" else ""
                    head = [
                        "RTSP/1.0 200 OK",
                        f"CSeq: {sequence}",
                        "Session: 1",
                        "Public: DESCRIBE, SETUP, PLAY, TEARDOWN",
                    ]
                    if method == "SETUP":
                        head.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
                    if body:
                        head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
                    client.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
                    if method == "PLAY":
                        threading.Thread(target=self._play, args=(client,), daemon=True).start()
        except OSError:
            return

    @staticmethod
    def _read(lines) -> tuple[str, str] | None:  # type: ignore[no-untyped-def]
        first = lines.readline()
        while first[:1] == b"$":  # a report of the client between its requests
            rest = first[4:]
            size = int.from_bytes(first[2:4], "big")
            lines.read(max(0, size - len(rest)))
            first = lines.readline()
        if not first:
            return None
        sequence = "0"
        while (line := lines.readline().decode().strip()) != "":
            if line.lower().startswith("cseq:"):
                sequence = line.partition(":")[2].strip()
        return first.split()[0].decode(), sequence

    def _play(self, client: socket.socket) -> None:
        while True:
            try:
                packet = self._rtp.recv(65536)
                client.sendall(b"$\x00" + len(packet).to_bytes(2, "big") + packet)
            except TimeoutError:
                continue
            except OSError:
                return
