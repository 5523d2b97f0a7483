"""What the device remembers: only valid changes are accepted, and the file of the version before is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.state import (
    EdgeState,
    Pin,
    PreparedModel,
    PrimaryFields,
    PrimaryState,
    RoleFields,
    RoleState,
    StateFields,
    StateFile,
    read_state,
)
from yolo_assets.edge.serving.slots import Role

V1 = Path(__file__).parent / "state_v1"
"""Files of an agent of commit 8516435 with three cameras, a canary and a light channel, byte by byte."""

ONE, TWO, THREE, FOUR = (
    "b9823d494a9fbb40e9b946d294ec09db2ed93a1e4f5ca06ae7d7e5c1017f7120",
    "5d450a7321e9d1c9e22dc275ed99bb3fe0c846869d6e2088a88b5f79cbd90ab9",
    "3da2f75b7c50740a7eb0a4bf37dceed884800e3c8b90b6a370bc33e069350999",
    "9bab7734efdeec233ce0bf8e70e43978c49171930f1cc90ef35d9106b9431d36",
)


def released(version: str, sha256: str, release: int | None) -> ReleasedModel:
    return ReleasedModel(name="line", version=version, manifest_sha256=sha256, release=release)


def read_v1(name: str) -> EdgeState:
    return read_state((V1 / name).read_bytes(), name)


def test_a_file_of_the_version_before_keeps_its_replay_protection() -> None:
    state = read_v1("all.json")
    assert (state.primary.release, state.primary.manifest_sha256) == (4, ONE)
    assert state.primary.model == released("1", ONE, 4) and state.primary.previous == released("2", TWO, 2)
    assert not state.primary.on_trial and state.primary.attempts == 0 and state.primary.rolled_back is None
    assert state.canary == RoleState(release=1, manifest_sha256=THREE, model=released("3", THREE, 1), attempts=1)
    assert state.light == RoleState(release=1, manifest_sha256=ONE)
    assert state.prepared is None and state.pinned is None
    bad = state.quarantined(FOUR, 3)
    assert bad is not None and bad.version == "4" and "-63%" in bad.reason and len(state.quarantine) == 1


def test_a_trial_and_a_rollback_of_the_version_before_are_kept() -> None:
    trial = read_v1("trial.json").primary
    assert trial.on_trial and trial.attempts == 1 and trial.model == released("2", TWO, 2) and trial.release == 2
    state = read_v1("rolled_back.json")
    assert state.primary.rolled_back == state.primary.previous == released("1", ONE, 4)
    assert state.primary.model == released("2", TWO, 2) and state.primary.release == 4
    assert state.pinned is not None
    assert (state.pinned.version, state.pinned.left_release, state.pinned.by) == ("2", 4, "Ana")


def test_a_file_of_the_version_before_is_written_in_the_new_form(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes((V1 / "all.json").read_bytes())
    file = StateFile(path)
    file.update(lambda state: state.changed(pinned=None))
    assert path.read_bytes() == (V1 / "all.json").read_bytes(), "nothing changed"
    file.update(lambda state: state.with_role("light", attempts=1))
    assert b'"schema_version":2' in path.read_bytes()
    assert StateFile(path).value == read_v1("all.json").with_role("light", attempts=1)


@pytest.mark.parametrize(
    "broken",
    [
        b'{"schema_version":1,"last_release":-1}',
        b'{"schema_version":1,"last_manifest_sha256":"short"}',
        b'{"schema_version":1,"canary_manifest_sha256":"short"}',
        b'{"schema_version":3}',
        b"[]",
        b"",
    ],
)
def test_an_unknown_form_is_refused_by_name(broken: bytes) -> None:
    with pytest.raises(BadInputError, match=r"state\.json"):
        read_state(broken, "state.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.model_copy(update={"cnadidate": None, "last_release": "seven"}),
        lambda state: state.model_copy(update={"pinned": "no"}),
        lambda state: state.changed(cnadidate=None),
        lambda state: state.with_primary(last_release=7),
        lambda state: state.with_primary(release="seven"),
        lambda state: state.with_role("canary", release=-1),
        lambda state: state.with_role("canary", on_trial=True),
        lambda state: state.with_role("light", manifest_sha256="short"),
        lambda state: state.changed(primary=state.primary.model_copy(update={"relaese": 3})),
        lambda state: state.changed(primary=state.primary.model_copy(update={"release": "seven"})),
    ],
)
def test_a_misspelt_field_or_a_wrong_value_changes_nothing(change: Any, tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    file.update(lambda state: state.with_primary(release=7, manifest_sha256=ONE))
    before = (tmp_path / "state.json").read_bytes()
    for happened in (False, True):
        with pytest.raises(BadInputError):
            file.update(change, happened=happened)
        assert file.value.primary.release == 7 and (tmp_path / "state.json").read_bytes() == before


def test_the_typed_changes_name_just_the_fields_that_there_are() -> None:
    assert set(RoleFields.__annotations__) == set(RoleState.model_fields)
    assert set(PrimaryFields.__annotations__) == set(PrimaryState.model_fields)
    assert set(StateFields.__annotations__) == set(EdgeState.model_fields) - {"schema_version"}


models = st.none() | st.builds(
    released, st.sampled_from("123"), st.sampled_from([ONE, TWO, THREE]), st.none() | st.integers(1, 99)
)
role_states = st.builds(
    RoleState,
    release=st.integers(0, 99),
    manifest_sha256=st.none() | st.just(ONE),
    model=models,
    attempts=st.integers(0, 5),
)


@given(role_states, role_states, models, st.booleans(), st.integers(0, 3))
def test_every_state_is_read_back_as_it_was_written(
    canary: RoleState, light: RoleState, model: ReleasedModel | None, on_trial: bool, attempts: int
) -> None:
    prepared = PreparedModel(**model.model_dump(), attempts=attempts) if model else None
    state = EdgeState(canary=canary, light=light, prepared=prepared).with_primary(model=model, on_trial=on_trial)
    state = state.changed(pinned=Pin(version="1", left_release=3, by="Bo", at=utc_now()))
    assert read_state(state.to_json(), "state.json") == state


@given(st.sampled_from(["primary", "canary", "light"]), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_a_role_accepts_only_its_own_releases(role: Role, accepted: int, release: int, same: bool) -> None:
    state = EdgeState().accepting(role, released("1", ONE, accepted))
    model = released("2", ONE if same else TWO, release)
    assert state.role(role).supersedes(model) == (release < accepted or (release == accepted and not same))
    others: list[Role] = [other for other in ("primary", "canary", "light") if other != role]
    assert all(state.role(other).release == 0 for other in others)
    assert not state.role(role).supersedes(released("2", TWO, None)), "asked for by name"


def test_each_channel_counts_its_own_releases() -> None:
    """A device that is given another model takes its first release, and the first model's old ones stay refused."""
    first, second = "line/stable", "press/stable"
    state = EdgeState().following("primary", first)
    state = state.accepting("primary", released("v1", "a" * 64, 57))
    pin = Pin(version="v1", left_release=57, by="operator", at=utc_now())
    moved = state.changed(pinned=pin).following("primary", second)
    assert (moved.primary.release, moved.primary.manifest_sha256, moved.pinned) == (0, None, None)
    moved = moved.accepting("primary", released("v1", "a" * 64, 3))
    back = moved.following("primary", first)
    assert (back.primary.release, back.following("primary", second).primary.release) == (57, 3)
    held = state.changed(pinned=pin.model_copy(update={"hold": True})).following("primary", second)
    assert held.pinned is not None and held.pinned.hold, "an operator's own pin stays"
    older = (
        EdgeState().accepting("primary", released("v1", "a" * 64, 9)).with_primary(model=released("v1", "a" * 64, 9))
    )
    assert older.following("primary", "line/stable").primary.release == 9, "an agent before this one told no channel"
    assert older.following("primary", second).primary.release == 0
