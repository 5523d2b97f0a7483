"""What we wrote is read by programs that are not ours: GNU tar, gzip, Python's tarfile, the AWS command line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yolo_assets_tests.support.archive_case import CAMERA, HOUR, ArchiveCase
from yolo_assets_tests.support.archiver import Archiver

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

pytestmark = pytest.mark.s3


def installed(program: str) -> str:
    """Its path; without it the test is skipped, under CI=true it fails."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed; run .ci/install-test-services.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def ran(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


@pytest.mark.parametrize("whole", [0, 1 << 30], ids=["in parts", "in one put"])
def test_others_read_what_we_wrote(s3_bucket: S3Bucket, archiver: Archiver, tmp_path: Path, whole: int) -> None:
    aws, tar, gzip = installed("aws"), installed("tar"), installed("gzip")
    case = ArchiveCase(tmp_path / "case", s3_bucket.url, archiver, lambda: s3_bucket.env)
    case.fill(7, 900_000)
    long = f"{'a name of more than a hundred characters, ' * 4}ä.json"
    (case.hour.path / long).write_bytes(b'{"detections": []}')
    case.must[long] = b'{"detections": []}'
    assert case.run(whole=whole).code == 0
    receipt = case.receipts()[0]

    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", **s3_bucket.env}
    file = tmp_path / "out.tar.gz"
    ran(aws, "s3", "cp", "--only-show-errors", f"{s3_bucket.url}/{receipt.archive_key}", file, env=env)
    data = file.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (receipt.archive_size, receipt.sha256)
    assert hashlib.md5(data).hexdigest() == receipt.md5_checksum

    ran(gzip, "-t", file)
    ran(tar, "xzf", file, cwd=tmp_path, env=env)
    folder = tmp_path / CAMERA / HOUR.key
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == case.must

    with tarfile.open(file) as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert set(members) == {f"{CAMERA}/{HOUR}/{name}" for name in case.must}
        for name, member in members.items():
            stream = archive.extractfile(member)
            assert member.isfile() and stream is not None
            assert stream.read() == case.must[Path(name).name]
            assert (member.mode, member.uid, member.gid) == (0o644, 0, 0)
            assert member.mtime == int(HOUR.start.timestamp())
