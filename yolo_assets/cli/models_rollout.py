"""``yolo-assets models rollout`` and ``models approve``: a release in waves, and the people who agree to it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from yolo_assets.cli.common import (
    JsonOption,
    StoreOption,
    emit_json,
    note,
    on_the_trail,
    out,
    settings,
    show_table,
)
from yolo_assets.cli.registries import (
    ChannelOption,
    ModelArgument,
    NameArgument,
    TrustedOption,
    find_version,
    open_promoter,
    open_registry,
)

if TYPE_CHECKING:
    from yolo_assets.contracts.releasing import RolloutRecord
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.models.rollout import Rollouts

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="A release in waves: status, look, pause, resume, abort.",
    epilog="Example: yolo-assets models rollout status --help",
)

ByOption = Annotated[str | None, typer.Option("--by", help="Who decides; by default the login name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the steps of the rollout.")]
_SHOWN = 20


@app.command()
def status(
    name: NameArgument,
    channel: ChannelOption = "stable",
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest rollout of a channel: its wave, who has failed and why, and every step with who and when.

    Example: yolo-assets models rollout status line
    """
    from yolo_assets.models.rollout import read_rollout

    record = read_rollout(open_registry(settings(store=store), trusted_key), name, channel)
    if record is None:
        if as_json:
            emit_json({})
        note(f"{name} was never rolled out in waves on {channel}; plant.yaml's section rollout makes it so")
        return
    _show(record, as_json)


@app.command()
def look(
    name: NameArgument,
    channel: ChannelOption = "stable",
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the present wave by the heartbeats and take the step that follows, as the platform's sensor does.

    Needs the promotion key. Renews the statement of the newest release, too, where plant.yaml has pointer_hours.

    Example: yolo-assets models rollout look line
    """
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.models.fleet_status import read_heartbeats

    located = settings(store=store)
    promoter = open_promoter(located, trusted_key)
    promoter.renew(name, channel, utc_now())
    record = _rollouts(located, name, channel, trusted_key).look(
        read_heartbeats(promoter.registry.store).heartbeats, utc_now()
    )
    if record is None:
        note(f"{name} was never rolled out in waves on {channel}")
        if as_json:
            emit_json({})
        return
    _show(record, as_json)


@app.command()
def pause(
    name: NameArgument,
    reason: ReasonOption,
    channel: ChannelOption = "stable",
    by: ByOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop before the next wave until somebody goes on.

    Example: yolo-assets models rollout pause line --reason "shift change"
    """
    from yolo_assets.contracts.times import utc_now

    located = settings(store=store)
    rollouts = _rollouts(located, name, channel, trusted_key)
    with on_the_trail(located, "models rollout pause", _channel(name, channel), by=by, reason=reason):
        record = rollouts.pause(by or getpass.getuser(), reason, utc_now())
    _show(record, as_json)


@app.command()
def resume(
    name: NameArgument,
    reason: ReasonOption,
    channel: ChannelOption = "stable",
    by: ByOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on after a pause; the devices that failed so far are excused, and the time of the wave begins anew.

    Example: yolo-assets models rollout resume line --reason "edge-07 is in repair"
    """
    from yolo_assets.contracts.times import utc_now

    located = settings(store=store)
    rollouts = _rollouts(located, name, channel, trusted_key)
    with on_the_trail(located, "models rollout resume", _channel(name, channel), by=by, reason=reason):
        record = rollouts.resume(by or getpass.getuser(), reason, utc_now())
    _show(record, as_json)


@app.command()
def abort(
    name: NameArgument,
    reason: ReasonOption,
    channel: ChannelOption = "stable",
    by: ByOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a rollout: every device goes back to what the others kept, as a new release.

    Example: yolo-assets models rollout abort line --reason "misses cracks on wet parts"
    """
    from yolo_assets.contracts.times import utc_now

    located = settings(store=store)
    rollouts = _rollouts(located, name, channel, trusted_key)
    with on_the_trail(located, "models rollout abort", _channel(name, channel), by=by, reason=reason):
        pointer = rollouts.abort(by or getpass.getuser(), reason, utc_now())
    note(f"{name}/{channel} serves {pointer.version} on every device, release {pointer.release}")
    record = rollouts.newest()
    assert record is not None
    _show(record, as_json)


def approve(
    model: ModelArgument,
    key: Annotated[Path, typer.Option("--key", help="Your own private key.", metavar="FILE")],
    meaning: Annotated[
        Literal["reviewed", "approved", "responsible"],
        typer.Option("--meaning", help="What your signature means; it is signed with it and shown everywhere."),
    ] = "approved",
    channel: ChannelOption = "stable",
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a proposed release with your own key, where plant.yaml wants people to agree.

    The signature is over the version's manifest and the release that it replaces: an approval is of one set of bytes,
    once, with the time and what it means. yolo-assets models keygen --person FILE makes a key; plant.yaml names its
    public half under people.

    Example: yolo-assets models approve line/20260102-1a2b3c4d --key anna.key
    """
    from yolo_assets.contracts.errors import UserError
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.contracts.times import format_time
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.models.approvals import Approvals
    from yolo_assets.trail.trail import AuditTrail

    located = settings(store=store)
    registry = open_registry(located, trusted_key)
    name, version = find_version(registry, located, model)
    people = load_plant(located).people
    if people is None:
        raise UserError(f"{located.plant} has no section people: nobody has to approve a release here")
    approvals = Approvals(registry.store, people, registry.trusted)
    person = Signer.load(key)
    target = TrailTarget(model=f"{name}/{version}", channel=channel, names=(f"key {person.key_id}",))
    trail = AuditTrail.of(located, approvals.name_of(person))
    with trail.recording("models approve", target, meaning=meaning) as act:
        status = approvals.approve(name, channel, version, person, meaning)
        act.result = f"done: {len(status.signatures)} of {status.needed} approvals"
    if as_json:
        emit_json(
            {
                "model": f"{name}/{version}",
                "channel": channel,
                "approved_by": list(status.approved_by),
                "signatures": [
                    {"name": one.name, "meaning": one.meaning, "at": format_time(one.at) if one.at else None}
                    for one in status.signatures
                ],
                "needed": status.needed,
                "complete": status.complete,
            }
        )
        return
    missing = status.needed - len(status.approved_by)
    rest = "promote it now" if missing <= 0 else f"{missing} more must approve it"
    out().print(
        f"{name}/{version} for {channel}: approved by {status.in_words()}; {rest}",
        markup=False,
    )


def _channel(name: str, channel: str) -> TrailTarget:
    from yolo_assets.contracts.trail import TrailTarget

    return TrailTarget(model=name, channel=channel)


def _rollouts(located: Settings, name: str, channel: str, trusted_key: list[Path] | None) -> Rollouts:
    from yolo_assets.models.rollout import Rollouts

    return Rollouts(open_promoter(located, trusted_key), name, channel)


def _show(record: RolloutRecord, as_json: bool) -> None:
    from yolo_assets.contracts.releasing import devices_in_words

    if as_json:
        emit_json(record.model_dump(mode="json"))
        return
    facts = {
        "state": record.state,
        "wave": f"{record.wave} of {len(record.waves)}: {devices_in_words(record.devices)}",
        "release": str(record.release),
        "the others keep": record.others.model_version,
        **{f"failed: {device}": reason for device, reason in record.failed.items()},
        "excused": ", ".join(record.excused) or "nobody",
    }
    show_table(["", record.model_version], [[key, value] for key, value in facts.items()])
    rows = [[step.model_dump(mode="json")["at"], step.by, step.what] for step in record.steps[-_SHOWN:]]
    show_table(["when", "who", "what"], rows)
