"""On Ceph, whose lifecycle day lasts ten seconds here: the sequence that once lost an archive keeps it."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.conftest import S3Server

pytestmark = pytest.mark.s3
DAY_SECONDS = 10
"""``rgw lc debug interval`` of ``ceph_rgw.sh``."""


def hour(spool: Path) -> ArchiveName:
    folder = spool / "cam1" / "20260102_03"
    folder.mkdir(parents=True)
    (folder / "20260102_030001_000.jpg").write_bytes(b"\xff\xd8 a picture \xff\xd9")
    return ArchiveName("cam1", Hour.from_key("20260102_03"))


@pytest.mark.timeout(240)
def test_a_set_up_that_fails_leaves_the_original_of_what_was_overwritten(s3_server: S3Server, tmp_path: Path) -> None:
    bucket, client = f"plant-{uuid.uuid4().hex[:12]}", s3_server.client()
    url, home = f"s3://{bucket}/root", tmp_path / "home"

    def run(*argv: str) -> Any:
        return cli(*argv, "--archive", url, home=home, cwd=tmp_path, env=s3_server.env)

    assert run("storage", "init", "--create", "--apply").returncode == 2, "it says what that bucket can never become"
    made = run("storage", "init", "--create", "--apply", "--yes")
    assert made.returncode == 0, made.stderr
    key = f"root/{hour(tmp_path / 'spool').receipt_key}"
    archived = run("archive", "run", "--spool", str(tmp_path / "spool"), "--grace", "0")
    assert archived.returncode == 0, archived.stderr
    original = client.get_object(Bucket=bucket, Key=key)
    version, data = original["VersionId"], original["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=b"forged")
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]

    failed = run("storage", "init", "--retention-days", "183", "--apply")
    assert failed.returncode == 1 and failed.stderr.splitlines()[-1].startswith("error: object lock: off")
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    doctor = run("storage", "doctor", "--archive-only")
    assert doctor.returncode == 0, doctor.stderr

    # With the rules of then, the original was gone after the first "day".
    for _ in range(4):
        time.sleep(DAY_SECONDS)
        assert client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read() == data
