"""Keys, tokens and logins work from the files of a mounted Secret: links, read-only, swapped as a whole."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.edge.config.agent import load_config
from yolo_assets.runtime.credentials import read_secret
from yolo_assets.storage.s3_client import make_client
from yolo_assets_tests.kubernetes.node import mount_like_kubernetes


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A volume with a key pair, a token and credentials in it."""
    signer = Signer.load_or_create(tmp_path / "made" / "archiver")
    files = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    files |= {"edge.token": "a-token-of-the-plant\n", "camera-01.login": "user:password\n"}
    files["aws"] = "[default]\naws_access_key_id = training\naws_secret_access_key = secret\n"
    folder = tmp_path / "secret"
    mount_like_kubernetes(folder, files)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert (folder / "archiver").is_symlink() and signer.key_id
    return folder


def test_a_signing_key_is_read_and_nothing_is_written_beside_it(secret: Path) -> None:
    before = sorted(secret.iterdir())
    signer = Signer.load_or_create(secret / "archiver")
    assert signer.key_id in TrustedKeys.load([secret / "archiver.pub"]).keys
    assert sorted(secret.iterdir()) == before


def test_a_token_is_read_and_follows_a_new_version(secret: Path) -> None:
    assert read_secret("token", secret / "edge.token", None) == "a-token-of-the-plant"
    newer = secret.parent / "newer"
    mount_like_kubernetes(newer, {"edge.token": "another"})
    secret.chmod(0o700)
    (secret / "..data").unlink()
    (secret / "..data").symlink_to(newer / "..data")
    assert read_secret("token", secret / "edge.token", None) == "another"


def test_the_agents_configuration_takes_mounted_files(secret: Path, tmp_path: Path) -> None:
    text = f"""
        device_id: line-a-1
        model: line
        spool: {tmp_path}/spool
        store: {(tmp_path / "store").as_uri()}
        trusted_keys: [{secret}/archiver.pub]
        token_file: {secret}/edge.token
        cameras:
          - {{kind: stream, camera_id: cam1, url: "rtsp://127.0.0.1/s", credentials_file: {secret}/camera-01.login}}
    """
    (tmp_path / "edge.yaml").write_text(text)
    config = load_config(tmp_path / "edge.yaml")
    assert config.token_file is not None and config.token_file.read_text().strip() == "a-token-of-the-plant"


def test_credentials_of_a_vault_agent_are_a_file(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secret / "aws"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = make_client()
    assert client._request_signer._credentials.access_key == "training"
