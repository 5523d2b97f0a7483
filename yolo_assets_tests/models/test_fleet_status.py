from datetime import UTC, datetime, timedelta

import pytest

from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.names import fleet_key
from yolo_assets.models.fleet_status import SILENT_AFTER, FleetHeartbeats, fleet_status, read_heartbeats

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POINTER = ChannelPointer(
    name="line", channel="stable", version="v2", manifest_sha256="0" * 64, release=2,
    moved_at=NOW, moved_by="t", reason="t",
)  # fmt: skip


def beat(model: str | None, *, age: float = 1, pinned: str | None = None, channel: str = "stable") -> Heartbeat:
    return Heartbeat(
        device_id="box01", at=NOW - timedelta(seconds=age), started_at=NOW, agent_version="1", engine="openvino",
        model_version=model, pinned=pinned, channel=channel,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("heartbeat", "state"),
    [
        (beat("line/v2"), "current"),
        (beat("line/v1"), "behind"),
        (beat("line/v1", pinned="line/v1"), "pinned"),
        (beat(None), "no_model"),
        (beat("line/v1", age=SILENT_AFTER.total_seconds() + 1), "silent"),
    ],
)
def test_each_device_is_compared_with_the_channel(heartbeat: Heartbeat, state: str) -> None:
    fleet = fleet_status(FleetHeartbeats((heartbeat,)), POINTER, NOW)
    assert [device.state for device in fleet.devices] == [state]
    assert fleet.waiting() == (["box01"] if state in ("behind", "no_model") else [])


def test_devices_on_other_channels_are_skipped() -> None:
    assert fleet_status(FleetHeartbeats((beat("line/v1", channel="canary"),)), POINTER, NOW).devices == ()


def test_a_damaged_heartbeat_is_reported_and_hides_no_other(store) -> None:
    good = beat("line/v2")
    store.put(fleet_key(good.device_id), good.to_json())
    store.put(fleet_key("box02"), b"{half")
    fleet = read_heartbeats(store)
    assert fleet.heartbeats == (good,)
    assert len(fleet.unreadable) == 1 and "box02" in fleet.unreadable[0]
