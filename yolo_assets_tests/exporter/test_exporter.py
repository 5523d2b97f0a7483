"""What the exporter says of runs, partitions, spool, catalog, fleet and releases is what is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from fastapi.testclient import TestClient
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from yolo_assets.archive.service.metrics import FiguresCollector
from yolo_assets.cli.main import app
from yolo_assets.contracts.archiver_figures import ArchiverFigures
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import UPLOADED, fleet_key, spool_hour
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.partitions import hourly
from yolo_assets.edge.agent import Agent
from yolo_assets.exporter.archiving import backlog_families
from yolo_assets.exporter.instance import Runs, partition_families
from yolo_assets.exporter.releases import Releases, fleet_families
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.metrics_page import MetricsPage
from yolo_assets.storage import open_store
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.edge.plant import Plant
from yolo_assets_tests.models.release_support import byte_bundle, promoter_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
HOURS = ("2026-03-01-01:00", "2026-03-01-02:00", "2026-03-01-03:00")
broken: set[str] = set()


@dg.asset(partitions_def=hourly)
def tables(context: dg.AssetExecutionContext) -> None:
    assert context.partition_key not in broken


@dg.asset
def whole() -> None:
    assert "whole" not in broken


DEFS = dg.Definitions(assets=[tables, whole])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    broken.clear()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def values(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("yolo_platform_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, partition: str | None = None) -> None:
    job = DEFS.resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        instance=instance,
        asset_selection=[asset.key],
        partition_key=partition,
        raise_on_error=False,
        run_config=QUIET,
    )


def test_a_failed_partition_counts_until_it_is_made(instance: dg.DagsterInstance) -> None:
    graph = DEFS.get_repository_def().asset_graph
    broken.update({HOURS[1], "whole"})
    for hour in HOURS:
        run(instance, tables, hour)
    run(instance, whole)
    found = values(partition_families(instance, graph))
    assert (found["failed_partitions", "tables"], found["materialized_partitions", "tables"]) == (1, 2)
    assert (found["failed_partitions", "whole"], found["materialized_partitions", "whole"]) == (1, 0)
    assert found["materialized_timestamp_seconds", "tables"] == pytest.approx(utc_now().timestamp(), abs=60)
    broken.clear()
    run(instance, tables, HOURS[1])
    run(instance, whole)
    found = values(partition_families(instance, graph))
    assert (found["failed_partitions", "tables"], found["materialized_partitions", "tables"]) == (0, 3)
    assert (found["failed_partitions", "whole"], found["materialized_partitions", "whole"]) == (0, 1)


def test_runs_are_counted_by_result_and_the_queue_by_age(instance: dg.DagsterInstance) -> None:
    broken.add(HOURS[1])
    run(instance, tables, HOURS[0])  # before the exporter started
    runs = Runs(instance)
    for hour in HOURS:
        run(instance, tables, hour)
    job = DEFS.resolve_implicit_global_asset_job_def()
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository").get_job_origin(job.name)
    waiting = instance.create_run_for_job(job, status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin)
    for _ in range(2):  # a second reading counts nothing twice
        found = values(runs.families())
        assert [found["runs_ended_total", result] for result in ("success", "failure", "canceled")] == [2, 1, 0]
        assert (found["runs", "queued"], found["runs", "running"]) == (1, 0)
        assert 0 < found["queue_oldest_seconds",] < 60
    instance.delete_run(waiting.run_id)
    assert values(runs.families())["queue_oldest_seconds",] == 0


def test_the_backlog_is_what_has_no_marker(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert list(backlog_families(settings, NOW)) == []  # no spool: not the same as one in which nothing waits
    settings.spool.mkdir()
    assert values(backlog_families(settings, NOW))["backlog_age_seconds",] == 0
    old, archived, open_hour = Hour.of(NOW).next(-5), Hour.of(NOW).next(-4), Hour.of(NOW)
    for hour in (old, archived, open_hour):
        write_hour(settings.spool, "cam1", hour, 1)
    (spool_hour(settings.spool, "cam1", archived) / UPLOADED).write_text("{}")
    spool_hour(settings.spool, "cam1", Hour.of(NOW).next(-3)).mkdir()  # an empty folder waits for nothing
    found = values(backlog_families(settings, NOW))
    assert (found["spool_folders",], found["backlog_folders",]) == (4, 1)
    assert found["backlog_age_seconds",] == 4 * 3600


def test_devices_are_counted_by_state_and_channel(tmp_path: Path) -> None:
    store, signer = open_store((tmp_path / "store").as_uri()), Signer.load_or_create(tmp_path / "promotion")
    registry = Registry(store, TrustedKeys.of(signer))
    registry.write_bundle(*byte_bundle("1"))
    promoter_of(registry, signer).promote(
        ReleaseRequest("line", "1", "stable", by="test", reason="first", unjudged=True)
    )
    releases = Releases(registry, "line")
    for device, model, age, channel in (
        ("box1", "line/1", 1, "stable"),
        ("box2", "line/0", 1, "stable"),
        ("box3", "line/1", 600, "stable"),
        ("box4", "line/0", 1, "canary"),
    ):
        beat = Heartbeat(
            device_id=device,
            at=NOW - timedelta(seconds=age),
            started_at=NOW,
            agent_version="9",
            engine="openvino",
            model_version=model,
            channel=channel,
        )
        store.put(fleet_key(device), beat.to_json())
    store.put(fleet_key("box5"), b"{half")
    found = values(fleet_families(store, releases.pointers(), NOW))
    states = {name[1]: value for name, value in found.items() if name[0] == "devices"}
    assert states == {"current": 1, "behind": 1, "silent": 1, "no_release": 1, "pinned": 0, "no_model": 0}
    assert found["device_info", "box2", "behind", "stable", "line/0", "9", "openvino"] == 1
    assert found["device_heartbeat_timestamp_seconds", "box3"] == NOW.timestamp() - 600
    assert found["unreadable_heartbeats",] == 1

    found = values(releases.families())
    assert found["release_info", "stable", "line/1", "false", "true"] == 1
    assert found["gate_newest_info", "line/1", "not_judged"] == 1
    assert (found["gate_versions", "not_judged"], found["untrusted_channels",]) == (1, 0)
    stranger = Registry(store, TrustedKeys.of(Signer.load_or_create(tmp_path / "stranger")))
    assert values(Releases(stranger, "line").families())["untrusted_channels",] == 1


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command prints for a plant of two cameras: an hour archived, one waiting, one camera never seen."""
    home = tmp_path_factory.mktemp("plant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_ASSETS_HOME", str(home))
        patch.setenv("YOLO_ASSETS_GRACE_SECONDS", "0")
        patch.setenv("DAGSTER_HOME", str(prepare_dagster_home(home)))
        patch.setenv("YOLO_ASSETS_ARCHIVE_COPY", (home / "copy").as_uri())
        (home / "plant.yaml").write_text("cameras: [cam1, cam2, cam9]\n")
        past = Hour.of(utc_now()).next(-4)
        for camera, hour in (("cam1", past), ("cam2", past), ("cam1", past.next(2))):
            write_hour(home / "spool", camera, hour, 2)
        (home / "copy").mkdir()
        copied = ["archive", "replicate", "--to", (home / "copy").as_uri(), "--json"]
        for words in (["archive", "run", "--json"], ["catalog", "rebuild", "--json"], copied):
            app(words, standalone_mode=False)
        write_hour(home / "spool", "cam2", past.next(2), 2)
        command = [sys.executable, "-m", "yolo_assets.cli.main", "exporter", "--once"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_command_shows_every_subject(printed: str) -> None:
    found = values(text_string_to_metric_families(printed))
    subjects = {name[1]: value for name, value in found.items() if name[0] == "exporter_success"}
    every = ("runs", "partitions", "spool", "archiver", "catalog", "copy", "fleet", "releases")
    assert subjects == dict.fromkeys(every, 1.0)
    assert found["backlog_folders",] == 1 and 3600 <= found["backlog_age_seconds",] < 3 * 3600
    assert found["catalog_archives",] == 3
    assert (found["gaps", "no_data"], found["cameras_never_seen",]) == (1, 1)
    ends = {name[1]: value for name, value in found.items() if name[0] == "camera_archived_through_timestamp_seconds"}
    assert ends["cam1"] - ends["cam2"] == 2 * 3600
    assert found["yolo_assets_archive_archives_total", "cam1"] == 2


def test_promtool_accepts_the_exporters_figures(printed: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: package prometheus)")
    ours = "\n".join(line for line in printed.splitlines() if "yolo_platform_" in line) + "\n"
    done = subprocess.run([promtool, "check", "metrics"], input=ours, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_without_an_instance_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    command = [sys.executable, "-m", "yolo_assets.cli.main", "exporter", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and "DAGSTER_HOME" in done.stderr


@pytest.fixture(scope="module")
def exported(printed: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels of every series that exporter, archiver and agent have; an unlabelled or empty one has none."""
    plant = Plant(tmp_path_factory.mktemp("agent"))
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    output = {"kind": "webhook", "name": "mes", "url": "http://127.0.0.1:9/"}
    agent = Agent(plant.config([camera], outputs=[output]))
    try:
        with TestClient(agent.app, "http://127.0.0.1:8080", client=("127.0.0.1", 50000)) as client:
            agents = client.get("/metrics").text
    finally:
        agent.stop()
    figures = ArchiverFigures(disk_full_at=NOW, last_success_at=NOW, last_round_at=NOW)
    page = MetricsPage(FiguresCollector(lambda: figures)).render().decode()
    found: dict[str, set[str]] = {}
    for text in (printed, page, agents):
        for family in text_string_to_metric_families(text):
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
            for ending in endings:  # there, whether it has a series yet or not
                found.setdefault(family.name + ending, set())
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def unknown(expr: str, exported: dict[str, set[str]]) -> set[str]:
    """Metrics and labels in an expression that nothing exports. Names of labels count where the metric has a series."""
    names = re.findall(r"\byolo_\w+|\bprocess_\w+", re.sub(r'"[^"]*"', "", expr))
    wrong = {name for name in names if name not in exported}
    for name, selector in re.findall(r"\b(yolo_\w+)\{([^}]*)\}", expr):
        labels = exported.get(name) or set()
        if labels:
            wrong |= {f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*[!=]=?~?", selector)} - {
                f"{name}{{{label}}}" for label in (*labels, "job", "instance")
            }
    return wrong


def test_rules_and_dashboards_name_what_is_exported(exported: dict[str, set[str]]) -> None:
    monitoring = Path(__file__).parents[2] / "deploy" / "monitoring"
    rules = yaml.safe_load((monitoring / "rules.yaml").read_text())
    exprs = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    for path in (monitoring / "dashboards").glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        exprs += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert {name for expr in exprs for name in unknown(expr, exported)} == set()
    assert len({name for expr in exprs for name in re.findall(r"yolo_\w+", expr)}) > 40
    renamed = {name: labels for name, labels in exported.items() if name != "yolo_edge_ready"}
    assert {name for expr in exprs for name in unknown(expr, renamed)} == {"yolo_edge_ready"}
    other = exported | {"yolo_platform_runs": {"status"}}
    assert {name for expr in exprs for name in unknown(expr, other)} == {"yolo_platform_runs{state}"}
