"""``yolo-assets keys``: fingerprints are compared, what does not count is told, archivers change their key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys, fingerprint
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import clean_env, refused
from yolo_assets_tests.cli.conftest import Call
from yolo_assets_tests.support.records import frame_record

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "keys.md"


@contextmanager
def an_agent(device: Signer) -> Iterator[str]:
    """Answers ``/v1/status`` like the agent box1."""
    audit = {"public_key": device.public_pem().decode()}
    body = json.dumps({"device_id": "box1", "audit": audit}).encode()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_key_from_the_network_counts_by_its_fingerprint_alone(call: Call, tmp_path: Path) -> None:
    home, device, other = (tmp_path / name for name in ("home", "device", "other"))
    Signer.load_or_create(home / "keys" / "promotion")
    key, wrong = (Signer.load_or_create(path) for path in (device, other))
    right = fingerprint(key.private.public_key())
    with an_agent(key) as url:
        shown = refused(
            call("keys", "enroll", "box1", "--agent", url, home=home, cwd=home), right, "--fingerprint", code=2
        )
        assert "edge status there" in shown
        false = fingerprint(wrong.private.public_key())
        refused(
            call("keys", "enroll", "box1", "--agent", url, "--fingerprint", false, home=home, cwd=home), f"not {false}"
        )
        refused(
            call("keys", "enroll", "box2", "--agent", url, "--fingerprint", right, home=home, cwd=home),
            "is box1, not box2",
        )
        spelt = ":".join(re.findall("..", right.upper()))
        done = call("keys", "enroll", "box1", "--agent", url, "--fingerprint", spelt, "--json", home=home, cwd=home)
    assert json.loads(done.stdout)["new"] is True


def test_a_statement_that_does_not_count_is_told(call: Call, tmp_path: Path) -> None:
    Signer.load_or_create(tmp_path / "keys" / "promotion")
    key = Signer.load_or_create(tmp_path / "device")
    assert call("keys", "enroll", "box1", "--key", tmp_path / "device.pub", home=tmp_path, cwd=tmp_path).returncode == 0
    stored = tmp_path / "store" / "keys" / "devices" / f"{key.key_id}.json"
    stored.write_bytes(stored.read_bytes().replace(b"A", b"B", 1))
    done = call("keys", "ls", "--json", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 1 and f"key {key.key_id}: " in done.stderr
    assert json.loads(done.stdout)["devices"][0]["state"] == "does not count"


def archived(home: Path, hour: str) -> None:
    """One hour of a foreign producer, archived with the key that the home has now."""
    settings, at = Settings(home=home), Hour.from_key(hour)
    folder = home / "spool" / "cam1" / hour
    folder.mkdir(parents=True)
    (folder / f"{hour}0000_000.jpg").write_bytes(b"a picture")
    signer = Signer.load(settings.archiver_key)
    archive = Archive(open_store(settings.archive_url), TrustedKeys.of(signer))
    assert archive_hour(SpoolHour.of(home / "spool", "cam1", at), archive, signer).status == "archived"


def test_receipts_survive_a_change_of_the_archivers_key(call: Call, tmp_path: Path) -> None:
    old = Signer.load_or_create(tmp_path / "keys" / "archiver")
    archived(tmp_path, "20260101_00")
    part = HOW_TO.read_text().split("## An archiver's key")[1].split("##")[0]
    commands = "\n".join(line[4:] for line in part.splitlines() if line.startswith("    "))
    script = f'yolo-assets() {{ "{sys.executable}" -m yolo_assets.cli.main "$@"; }}\nset -e\n{commands}'
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=clean_env(tmp_path), check=True, capture_output=True)
    new = Signer.load(tmp_path / "keys" / "archiver")
    assert new.key_id != old.key_id
    archived(tmp_path, "20260101_01")
    listed = call("archive", "ls", "--json", home=tmp_path, cwd=tmp_path)
    assert listed.returncode == 0 and [row["hour"] for row in json.loads(listed.stdout)] == [
        "20260101_00",
        "20260101_01",
    ]
    keys = TrustedKeys.load(Settings(home=tmp_path).archiver_public_keys())
    with pytest.raises(SignatureError, match="counted until"):
        keys.open_document(old.seal(b'{"verified_at":"2099-01-01T00:00:00Z"}', "receipt").to_json(), "receipt", "it")
    trusted = json.loads(call("keys", "ls", "--json", home=tmp_path, cwd=tmp_path).stdout)["trusted"]
    until = {row["key_id"]: row["not_after"] for row in trusted if row["role"] == "archiver"}
    assert until[old.key_id] is not None and until[new.key_id] is None


def test_ls_and_verify_say_whose_key_sealed(call: Call, tmp_path: Path) -> None:
    archiver, device = (Signer.load_or_create(tmp_path / name) for name in ("keys/archiver", "device"))
    Signer.load_or_create(tmp_path / "keys" / "promotion")
    hour = Hour.from_key("20260101_00")
    archive = Archive(open_store((tmp_path / "archive").as_uri()), TrustedKeys.of(archiver))
    record = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})
    with SpoolWriter(tmp_path / "spool", "cam1", "box1", signer=device) as writer:
        writer.write(hour.start, record, b"picture")
        writer.seal(hour)
    assert archive_hour(SpoolHour.of(tmp_path / "spool", "cam1", hour), archive, archiver).status == "archived"

    def states() -> list[str]:
        shown = [call("archive", which, "--json", home=tmp_path, cwd=tmp_path).stdout for which in ("ls", "verify")]
        return [json.loads(text)[0]["sealed"] for text in shown]

    assert states() == ["not checked"] * 2, "there is no store yet"
    for change, state in (
        (("enroll", "other", "--key", tmp_path / "keys" / "archiver.pub"), "not enrolled"),
        (("enroll", "box1", "--key", tmp_path / "device.pub", "--from", "2020-01-01T00:00Z"), "enrolled"),
        (("revoke", device.key_id, "--from", "2026-01-01T00:00Z"), "revoked"),
    ):
        assert call("keys", *change, home=tmp_path, cwd=tmp_path).returncode == 0
        assert states() == [state] * 2
    shown = call("archive", "verify", home=tmp_path, cwd=tmp_path).stdout
    assert "seal: revoked" in shown and f"key {device.key_id} of box1 is revoked from 2026-01-01" in shown
