"""An S3 server for programs that are no tests: Ceph started for the occasion, or the one that the environment names."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.session import Session

from yolo_assets.storage.s3_client import client_config

SCRIPT = Path(__file__).with_name("ceph_rgw.sh")


@dataclass(frozen=True)
class Bucket:
    """A bucket of our own.

    Attributes:
        env: the AWS variables that reach it.
        endpoint: of its server.
        name: of the bucket.
    """

    env: dict[str, str]
    endpoint: str
    name: str

    @property
    def url(self) -> str:
        """An archive root in it."""
        return f"s3://{self.name}/root"


@contextmanager
def bucket(server: str, room: int = 4 << 30) -> Iterator[Bucket]:
    """A fresh bucket, gone with all in it at the end.

    Args:
        server: ``ceph``: started here, in memory; ``environment``: that of ``AWS_ENDPOINT_URL_S3``.
        room: bytes that the started server must hold.
    """
    if server == "ceph":
        folder = Path(tempfile.gettempdir()) / f"s3-{uuid.uuid4().hex[:8]}"
        try:
            started = subprocess.run(
                [SCRIPT, "start", folder, str(os.getpid())],
                env={**os.environ, "CEPH_BYTES": str(room)},
                capture_output=True,
                text=True,
                check=False,
            )
            if started.returncode:
                raise SystemExit(f"error: no S3 server: {started.stderr.strip()}")
            env = dict(line.split("=", 1) for line in started.stdout.splitlines())
            yield _fresh(env)
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=False)
            shutil.rmtree(folder, ignore_errors=True)
        return
    env = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    if "AWS_ENDPOINT_URL_S3" not in env:
        raise SystemExit("error: set AWS_ENDPOINT_URL_S3 and credentials, or take --s3-server ceph")
    made = _fresh(env)
    try:
        yield made
    finally:
        client = _client(env)
        for upload in client.list_multipart_uploads(Bucket=made.name).get("Uploads", ()):
            client.abort_multipart_upload(Bucket=made.name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=made.name):
            for entry in page.get("Contents", ()):
                client.delete_object(Bucket=made.name, Key=entry["Key"])
        client.delete_bucket(Bucket=made.name)


def _fresh(env: dict[str, str]) -> Bucket:
    name = f"benchmark-{uuid.uuid4().hex[:12]}"
    _client(env).create_bucket(Bucket=name)
    return Bucket(env, env["AWS_ENDPOINT_URL_S3"], name)


def _client(env: dict[str, str]) -> Any:
    session = Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    return session.client(
        "s3", endpoint_url=env["AWS_ENDPOINT_URL_S3"], config=client_config(env["AWS_ENDPOINT_URL_S3"])
    )
