"""Why our hourly assets pack 72 hours into a run, and do not take Dagster's own range flags."""

import dagster as dg
import pytest
from dagster._cli.asset import execute_materialize_command
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster_shared.check import CheckError
from dagster_shared.cli import PythonPointerOpts

from yolo_assets.contracts.times import Hour
from yolo_assets.definitions import defs
from yolo_assets.defs.partitions import hourly, packed

HALF_A_YEAR = [Hour.from_key("20260101_00").next(number).partition_key for number in range(4320)]


def runs_of(policy: dg.BackfillPolicy) -> int:
    @dg.asset(partitions_def=hourly, backfill_policy=policy)
    def asset() -> None: ...

    graph = dg.Definitions([asset]).resolve_asset_graph()
    wanted = {AssetKeyPartitionKey(dg.AssetKey("asset"), key) for key in HALF_A_YEAR}
    with dg.DagsterInstance.ephemeral() as instance:
        return len(build_run_requests_with_backfill_policies(wanted, graph, instance))


def test_half_a_year_is_60_runs_where_dagsters_flags_would_demand_one() -> None:
    assert (runs_of(packed), runs_of(dg.BackfillPolicy.single_run())) == (60, 1)
    graph = defs().resolve_asset_graph()
    hours = {key for key in graph.executable_asset_keys if graph.get(key).partitions_def == hourly}
    assert len(hours) >= 6 and {graph.get(key).backfill_policy for key in hours} == {packed}


def test_dagsters_own_range_flag_refuses_an_hourly_asset() -> None:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(CheckError, match=r"require all selected assets to have a BackfillPolicy\.single_run\(\) policy"),
    ):
        execute_materialize_command(
            instance=instance,
            select="hourly_archives",
            partition=None,
            partition_range=f"{HALF_A_YEAR[0]}...{HALF_A_YEAR[3]}",
            config=(),
            config_json=None,
            python_pointer_opts=PythonPointerOpts(module_name="yolo_assets.definitions"),
        )
