"""``storage doctor`` and ``storage init`` on buckets: what they say, what they ask, and that what they advise helps."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.storage.admin.lifecycle import compile_lifecycle
from yolo_assets.storage.admin.profiles import GENERIC
from yolo_assets_tests.cli.command_line import clean_env, refused
from yolo_assets_tests.cli.conftest import Call
from yolo_assets_tests.conftest import S3Server


@pytest.fixture
def run(call: Call, ministack: S3Server, tmp_path: Path) -> Any:
    """The command line on ministack, on a terminal of 80 columns."""

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return call(*argv, home=tmp_path / "home", cwd=tmp_path, env={**ministack.env, "COLUMNS": "80"})

    return run


@pytest.fixture
def client(ministack: S3Server) -> Any:
    return ministack.client()


def new_url() -> str:
    return f"s3://plant-{uuid.uuid4().hex[:12]}/root"


def bucket_of(url: str) -> str:
    return url.removeprefix("s3://").partition("/")[0]


def buckets(client: Any) -> set[str]:
    return {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}


def test_doctor_shows_one_root_when_the_other_is_missing_and_its_advice_helps(run: Any) -> None:
    archive, store = new_url(), new_url()
    done = run("storage", "doctor", "--archive", archive, "--store", store)
    assert done.returncode == 1
    advised = [line.partition("; ")[2] for line in done.stderr.splitlines()]
    assert advised == [
        f"yolo-assets storage init --archive {archive} --retention-days 183 --create --apply",
        f"yolo-assets storage init --store {store} --create --apply",
    ]
    assert run(*shlex.split(advised[0])[1:]).returncode == 0
    done = run("storage", "doctor", "--archive", archive, "--store", store)
    assert "deleting a version under retention" in " ".join(done.stdout.split()), "what was tried is shown"
    assert f"error: reach, but bucket {bucket_of(store)} does not exist" in done.stderr
    assert run(*shlex.split(advised[1])[1:]).returncode == 0
    done = run("storage", "doctor", "--archive", archive, "--store", store, "--json")
    assert (done.returncode, json.loads(done.stdout)["unsafe"]) == (0, [])


def test_doctor_says_everything_once_and_fits_80_columns(run: Any, client: Any) -> None:
    archive, store = new_url(), new_url()
    client.create_bucket(Bucket=bucket_of(archive))
    client.create_bucket(Bucket=bucket_of(store), ObjectLockEnabledForBucket=True)
    done = run("storage", "doctor", "--archive", archive, "--store", store)
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    sentences = [part for line in lines for part in line.partition(": ")[2].split("; ") if len(part) > 40]
    assert len(sentences) == len(set(sentences)), sentences
    rows = [line for line in lines if line.split(" ")[0] in ("ok", "note", "warn", "unsafe") or line.startswith("   ")]
    assert len(rows) > 20 and max(map(len, rows)) <= 80
    assert len(rows) < 2.2 * len([row for row in rows if not row.startswith(" ")]), "not in shreds"


def test_doctor_names_dangerous_rules_and_the_command_that_removes_them(run: Any, client: Any) -> None:
    archive = new_url()
    client.create_bucket(Bucket=bucket_of(archive))
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
    rules = [theirs, *compile_lifecycle(GENERIC, "root", 183).rules]
    client.put_bucket_lifecycle_configuration(Bucket=bucket_of(archive), LifecycleConfiguration={"Rules": rules})
    done = run("storage", "doctor", "--archive", archive, "--archive-only")
    assert "rule yolo-assets-expire-archives" in done.stdout and "theirs" not in done.stdout
    line = refused(done, "rules of an earlier storage init delete what nothing holds")
    assert run(*shlex.split(line.rpartition("; ")[2])[1:]).returncode == 0
    assert run("storage", "doctor", "--archive", archive, "--archive-only").returncode == 0
    left = client.get_bucket_lifecycle_configuration(Bucket=bucket_of(archive))["Rules"]
    assert {rule["ID"] for rule in left} == {"theirs", "yolo-assets-abandoned-uploads"}


@pytest.mark.parametrize("days", [3, 60])
def test_doctor_tells_expiry_within_the_retention(run: Any, client: Any, days: int) -> None:
    archive = new_url()
    client.create_bucket(Bucket=bucket_of(archive), ObjectLockEnabledForBucket=True)
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}}
    where = {"Bucket": bucket_of(archive)}
    client.put_bucket_lifecycle_configuration(**where, LifecycleConfiguration={"Rules": [theirs]})
    found = json.loads(run("storage", "doctor", "--archive", archive, "--archive-only", "--json").stdout)
    verdicts = {finding["question"]: finding["verdict"] for finding in found["roots"][0]["findings"]}
    assert (verdicts["rule theirs"], found["unsafe"]) == ("warn", [])
    done = run("storage", "init", "--archive", archive, "--retention-days", "30", "--apply")
    assert ("the rule theirs, which is not ours, hides what lies there" in done.stderr) == (days < 30)


def test_a_bucket_without_lock_is_made_only_when_that_is_wanted(run: Any, client: Any) -> None:
    url = new_url()
    create = ("storage", "init", "--archive", url, "--create")
    done = run(*create, "--apply")
    *_, last = done.stderr.splitlines()
    assert done.returncode == 2 and last.startswith("error: ")
    for words in ("without object lock", "can ever be held against deletion", "--retention-days 183", "--yes"):
        assert words in last
    done = run(*create, "--dry-run")
    assert done.returncode == 0 and "without object lock" in done.stderr
    assert bucket_of(url) not in buckets(client)
    assert run(*create, "--apply", "--yes").returncode == 0
    assert bucket_of(url) in buckets(client)
    assert run("storage", "init", "--archive", url, "--apply").returncode == 0, "one that is there is not asked about"


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_it_asks(answer: bytes, code: int, client: Any, ministack: S3Server, tmp_path: Path) -> None:
    url = new_url()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "yolo_assets.cli.main", "storage", "init", "--archive", url, "--create", "--apply"]
    os.write(ours, answer)
    done = subprocess.run(
        command, env=clean_env(tmp_path, ministack.env), stdin=theirs, capture_output=True, text=True, timeout=60
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code and "Make it all the same?" in done.stderr, done
    assert (bucket_of(url) in buckets(client)) == (code == 0)


def test_init_of_a_store_root_takes_no_options_of_archives(run: Any) -> None:
    for more in (("--retention-days", "9"), ("--archiver", "arn:x"), ("--archive", new_url()), ("--class", "cold=X")):
        refused(run("storage", "init", "--store", new_url(), "--dry-run", *more), "--store sets up", code=2)
    line = refused(run("storage", "init", "--store", "s3://not-there/root", "--apply"), "does not exist")
    assert "yolo-assets storage init --store s3://not-there/root --create --apply" in line
