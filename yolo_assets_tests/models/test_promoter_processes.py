"""Real processes: promoters killed at any moment, and promoters that race."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.models import promoter_process
from yolo_assets_tests.models.release_support import promoter_of, write

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(store_url: str, tmp_path: Path, signer: Signer):
    """Starts promoters that wait for a line; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(count: int, *versions: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            promoter_process.__file__,
            store_url,
            str(tmp_path / "keys" / "promotion"),
            str(count),
            *versions,
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


class Agent(threading.Thread):
    """Polls as an edge agent does and keeps everything it saw."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(daemon=True)
        self.registry = registry
        self.releases: list[int] = []
        self.failure: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            while not self.done.is_set():
                pointer = self.registry.channel("line", "stable").pointer()
                if pointer is None:
                    raise AssertionError("the channel is gone")
                self.registry.read_bundle("line", pointer.version, manifest_sha256=pointer.manifest_sha256)
                self.releases.append(pointer.release)
        except BaseException as error:
            self.failure = error

    def finish(self) -> list[int]:
        self.done.set()
        self.join(30)
        if self.failure is not None:
            raise self.failure
        return self.releases


def test_killed_promoters_never_leave_an_agent_without_a_pointer(tmp_path: Path, signer: Signer, trusted: TrustedKeys):
    # The folder kind only: what is killed is our process, and a fresh interpreter a round is cost enough.
    url = (tmp_path / "killed").as_uri()
    store = open_store(url)
    registry = Registry(store, trusted)
    write(store, "1", "2")
    promoter_of(registry, signer).promote(ReleaseRequest("line", "1", "stable", by="test", reason="start"))
    agent = Agent(registry)
    agent.start()
    key = str(tmp_path / "keys" / "promotion")
    chance = random.Random(7)
    for _ in range(6):
        command = [sys.executable, promoter_process.__file__, url, key, "100000", "1", "2"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            go(process)
            for _ in range(3):  # a machine that is busy must not have it killed before it moved anything
                process.stdout.readline()
            time.sleep(chance.uniform(0.02, 0.25))
            process.kill()
    releases = agent.finish()
    assert releases == sorted(releases)
    assert len(set(releases)) > 6
    last = promoter_of(registry, signer).promote(ReleaseRequest("line", "2", "stable", by="test", reason="end"))
    past = registry.channel("line", "stable").history()
    assert past.rejected == {}
    chain = [r.entry.pointer for r in past.releases if r.state != "unconfirmed"]
    assert chain[-1] == last
    assert len(chain) >= len(set(releases))
    assert [p.previous_version for p in chain] == [None, *(p.version for p in chain[:-1])]


def test_racing_promoters_share_no_number_and_none_is_lost_silently(
    store: ObjectStore, start: Start, signer: Signer, trusted: TrustedKeys
):
    versions = ["1", "2", "3", "4"]
    registry = Registry(store, trusted)
    write(store, "0", *versions)
    promoter_of(registry, signer).promote(ReleaseRequest("line", "0", "stable", by="test", reason="start"))
    agent = Agent(registry)
    agent.start()
    processes = [start(12, version) for version in versions]
    go(*processes)
    answers = [process.communicate(timeout=120)[0].split("\n")[:-1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert all(len(lines) == 12 for lines in answers)
    seen = agent.finish()
    assert seen == sorted(seen)

    # Promoting what is served is answered with the release that serves it, so a number may be told twice, but
    # only ever for one version.
    won = {tuple(line.split()[1:]) for lines in answers for line in lines if line.startswith("won")}
    assert len({release for release, _ in won}) == len(won)
    past = registry.channel("line", "stable").history()
    chain = [r.entry.pointer for r in past.releases if r.state != "unconfirmed"]
    assert {(str(p.release), p.version) for p in chain[1:]} == won  # every "won" served, and nothing else
    assert chain[-1].release == max(int(release) for release, _ in won)
    assert [p.previous_version for p in chain] == [None, *(p.version for p in chain[:-1])]
    unconfirmed = sum(r.state == "unconfirmed" for r in past.releases)
    assert unconfirmed <= sum(lines.count("lost") for lines in answers)
