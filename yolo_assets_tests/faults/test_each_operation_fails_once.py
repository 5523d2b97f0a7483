"""Every asset, sensor and schedule's target over stores in which each operation fails once: all succeeds, once.

The assets come from the definitions, in the order of the graph: a new one takes part by itself. Faults lie below the
retrying store, before an operation took effect, or after it, when only the answer is lost.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets_tests.faults.conftest import MakeLoop
from yolo_assets_tests.support.faulty_stores import FaultOrder, faulty_stores
from yolo_assets_tests.support.plant_loop import PlantLoop

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))


def run_every_asset(loop: PlantLoop) -> set[str]:
    """Each executable asset in turn, and what people and sensors do between them. Returns those that ran."""
    loop.record_hour(NIGHT)
    graph = loop.daemon.definitions.resolve_asset_graph()
    ran: set[str] = set()
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(level & graph.executable_asset_keys):
            asset = key.to_user_string()
            if asset in ran:
                continue
            if asset == "annotation_batch":
                assert loop.ask(NIGHT), asset
                loop.label()
                assert loop.daemon.tick_sensors() == [], loop.daemon.failed_ticks
                ran.add(asset)
                continue
            together = sorted(other.to_user_string() for other in graph.get(key).execution_set_asset_keys) or [asset]
            partition = NIGHT.partition_key if graph.get(key).partitions_def is not None else None
            assert loop.daemon.run(*together, partition=partition), f"{together}: {loop.daemon.last_error()}"
            ran.update(together)
    assert loop.daemon.tick_sensors() == [], loop.daemon.failed_ticks
    return ran


@pytest.mark.timeout(600)
def test_every_asset(make_loop: MakeLoop, tmp_path: Path) -> None:
    sound = make_loop(tmp_path / "sound")
    everything = run_every_asset(sound)
    executable = sound.daemon.definitions.resolve_asset_graph().executable_asset_keys
    assert everything == {key.to_user_string() for key in executable}
    assert sound.everything_comes_back() == []
    assert any("channels/" in key for key in sound.shape()), "the loop ends with a release"
    for effect in ("before", "after"):
        loop = make_loop(tmp_path / effect)
        with faulty_stores(FaultOrder(each_once=effect)) as log:
            assert run_every_asset(loop) == everything
        operations = {operation for operation, _ in log.faults()}
        assert {"get", "head", "list", "put", "put_if_absent", "compare_and_swap"} <= operations
        assert not [ran for ran in loop.daemon.runs if not ran.success]
        assert loop.daemon.step_retries() == 0, "the store retries, not the step"
        assert loop.everything_comes_back() == []
        assert loop.shape() == sound.shape(), f"lost or done twice, with faults {effect} the effect"
