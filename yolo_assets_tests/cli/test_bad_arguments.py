"""Arguments that make no sense: refused in one line before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import cli, contents, refused
from yolo_assets_tests.cli.conftest import Call
from yolo_assets_tests.models.release_support import promoter_of
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_bundle_files

TIMES = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")
TRAIL = ("store/audit/trail/", "store/.yolo_store/locks/")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with keys, an empty archive, and a published catalog without archives."""
    home = tmp_path_factory.mktemp("plant")
    for command in (("models", "keygen"), ("catalog", "rebuild")):
        (home / "archive").mkdir(exist_ok=True)
        assert cli(*command, home=home).returncode == 0
    (home / "spool").mkdir()
    return home


def but_the_trail(folder: Path) -> dict[str, str]:
    """What lies in a plant, but for the audit trail: an attempt that was refused is noted there."""
    return {name: found for name, found in contents(folder).items() if not name.startswith(TRAIL)}


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ((), 2, ""),
        (("archive", "run", "--grace", "nan"), 2, ("--grace nan", "0 closes")),
        (("archive", "run", "--grace", "-1"), 2, ("--grace -1",)),
        (("archive", "run", "--hour", "20269902_03"), 2, ("is not an hour that exists",)),
        (("archive", "ls", "--date", "yesterday"), 2, ("'yesterday' is not a day; write it like",)),
        (("archive", "ls", "--date", "2026-02-30"), 2, ("'2026-02-30' is not a day",)),
        (("archive", "ls", "--camera", "a/b"), 2, ("'a/b' is not a camera id",)),
        (("archive", "show", "../../etc/passwd"), 1, ("is not an archive; expected a name like",)),
        (("archive", "show", "yolo_cam1_20260102_03"), 1, ("nothing is archived in", "yet")),
        (("archive", "verify", "nonsense"), 1, ("'nonsense' is not an archive",)),
        (("archive", "ls", "--date", "2026-01-02", "--to", TIMES[1]), 2, ("give either --date",)),
        (("archive", "verify", "--sample", "31/30"), 2, ("--sample", "write it like 1/30")),
        (("archive", "verify", "--sample", "1/30", "--coverage"), 2, ("give only one of",)),
        (("archive", "cat", "--camera", "c", "--at", TIMES[1], "--hour", "20260102_03"), 2, ("--hour needs --frame",)),
        (("restore", *TIMES, "--out", "o", "--tier", "fast"), 2, ("use expedited, standard or bulk",)),
        (("archive", "cat", "--camera", "c", "--frame", "../../etc/passwd"), 2, ("is not the name of a frame",)),
        (("archive", "ls", "--archive", "s3://"), 2, ("does not name a bucket",)),
        (("archive", "ls", "--archive", "s3://key:secret@host/x"), 2, ("neither credentials nor a host",)),
        (("restore", "--camera", "c", "--from", "2026-01-02T03:00", "--to", "x", "--out", "o"), 2, ("add Z for UTC",)),
        (("restore", "--camera", "c", *TIMES, "--out", "o", "--min-confidence", "7"), 2, ("--min-confidence",)),
        (("restore", "--camera", "c", *TIMES[2:], "--from", TIMES[3], "--out", "o"), 2, ("--to must be later",)),
        (("catalog", "query", "SELEC 1"), 1, ("cannot be answered: Parser Error",)),
        (("catalog", "query", "SELECT * FROM nothing"), 1, ("nothing does not exist",)),
        (("catalog", "query", "DROP TABLE archives"), 1, ("the catalog is only read",)),
        (("catalog", "query", "SELECT 1; SELECT 2"), 1, ("give one SELECT",)),
        (("catalog", "query", ""), 1, ("give one SELECT",)),
        (("catalog", "query", "SELECT * FROM read_csv('/etc/passwd')"), 1, ("Cannot access file",)),
        (("catalog", "query", "SELECT INTERVAL 3 DAY"), 1, ("cast that column to VARCHAR",)),
        (("models", "verify", "li ne"), 2, ("is not a model version",)),
        (("models", "history", "line", "--channel", "../x"), 2, ("'../x' is not a channel",)),
        (("models", "rollback", "line", "--reason", "x"), 1, ("line has no channel stable",)),
        (("edge", "run"), 2, ("Missing option '--config'",)),
        (("edge", "status", "--url", "file:///etc/passwd"), 2, ("is not the address of an agent",)),
        (("edge", "status", "--url", "http://a b/"), 1, ("does not lead to an agent",)),
        (("simulate",), 2, ("Missing option '--out'",)),
        (("simulate", "--out", "q", "--cameras", "100"), 2, ("less than or equal to 99",)),
        (("simulate", "--out", "q", "--hours", "0"), 2, ("greater than or equal to 1",)),
        (("simulate", "--out", "q", "--cameras", "x"), 2, ("--cameras",)),
        (("simulate", "--out", "q", "--hours", "99999999"), 1, ("use fewer hours",)),
        (("simulate", "--out", "q", "--fps", "nan"), 2, ("nan frames per second",)),
        (("simulate", "--out", "q", "--seed", "-5"), 2, ("greater than or equal to 0",)),
        (("simulate", "--out", "q", "--start", "20990101_00"), 1, ("are not over yet; start at",)),
        (("simulate", "--out", "q", "--change-at", "noon"), 2, ("'noon' is not a time",)),
        (("simulate", "--out", "q", "--truth", "q/truth"), 1, ("lies inside the spool",)),
        (("up", "--cameras", "0"), 2, ("--cameras",)),
    ],
)
def test_nonsense_is_one_line_and_touches_nothing(
    argv: tuple[str, ...], code: int, words: tuple[str, ...], plant: Path, call: Call
) -> None:
    before = but_the_trail(plant)
    done = call(*argv, home=plant, cwd=plant)
    if argv:
        refused(done, *words, code=code)
    else:  # called with nothing: the help, where it does not get into a pipe
        assert (done.returncode, done.stdout) == (code, "") and "Commands:" in done.stderr
    assert but_the_trail(plant) == before
    assert not (plant / "q").exists()


@pytest.mark.parametrize("name", ["YOLO_ASSETS_GRACE_SECONDS", "YOLO_ASSETS_HOT_HOURS"])
def test_a_variable_that_is_no_number_is_one_line(name: str, plant: Path, call: Call) -> None:
    refused(call("archive", "ls", home=plant, cwd=plant, env={name: "soon"}), f"{name}='soon' is not a number", code=2)


def test_a_class_list_that_differs_is_not_promoted_by_accident(tmp_path: Path, call: Call) -> None:
    store = open_store((tmp_path / "store").as_uri())
    assert call("models", "keygen", home=tmp_path, cwd=tmp_path).returncode == 0
    signer = Signer.load(tmp_path / "keys" / "promotion")
    registry = Registry(store, TrustedKeys.of(signer))
    for version, names in (("1", CLASS_NAMES), ("2", CLASS_NAMES[::-1]), ("3", CLASS_NAMES[:2])):
        registry.write_bundle(*tiny_bundle_files(name="line", version=version, class_names=names))
    promoter_of(registry, signer).promote(ReleaseRequest("line", "1", "stable", by="test", reason="first"))
    before = but_the_trail(tmp_path)
    by_hand = ("--reason", "trial", "--by", "anna")
    done = call("models", "promote", "line/2", *by_hand, home=tmp_path, cwd=tmp_path)
    refused(done, "class list differs from line/1: another order", "agents would refuse the swap", "--force")
    refused(call("models", "promote", "line/3", *by_hand, home=tmp_path, cwd=tmp_path), "missing spatter, undercut")
    assert but_the_trail(tmp_path) == before
    done = call(
        "models", "promote", "line/2", *by_hand, "--channel", "other", "--unjudged", home=tmp_path, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr  # a channel that serves nothing yet
    done = call("models", "promote", "line/2", *by_hand, "--force", "--unjudged", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pointer = registry.channel("line", "stable").pointer()
    assert pointer is not None and pointer.reason == "trial (by hand, gate overridden)"
    assert (pointer.forced, pointer.unjudged) == (True, True)


@pytest.mark.parametrize("damage", ["changed model", "no model", "half a manifest", "no signature"])
def test_a_registered_bundle_that_was_damaged_is_named(damage: str, tmp_path: Path, call: Call) -> None:
    store = open_store((tmp_path / "store").as_uri())
    assert call("models", "keygen", home=tmp_path, cwd=tmp_path).returncode == 0
    signer = Signer.load(tmp_path / "keys" / "promotion")
    registry = Registry(store, TrustedKeys.of(signer))
    registry.write_bundle(*tiny_bundle_files(name="line", version="1"))
    if damage != "no signature":
        promoter_of(registry, signer).promote(ReleaseRequest("line", "1", "stable", by="test", reason="first"))
    model = next((tmp_path / "store").rglob("model.onnx"))
    manifest = model.with_name("manifest.json")
    for path in (model, manifest):
        path.chmod(0o644)
    if damage == "changed model":
        model.write_bytes(model.read_bytes()[:-1] + b"x")
    elif damage == "no model":
        model.unlink()
    elif damage == "half a manifest":
        manifest.write_bytes(manifest.read_bytes()[:100])
    line = refused(call("models", "verify", "line/1", home=tmp_path, cwd=tmp_path))
    assert {
        "changed model": "model.onnx has another SHA-256",
        "no model": "model.onnx",
        "half a manifest": "manifest.json",
        "no signature": "is not signed",
    }[damage] in line
