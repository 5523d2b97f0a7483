"""``yolo-assets keys``: whose keys count: devices are enrolled, get other keys, and are revoked."""

from __future__ import annotations

import getpass
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import given
from yolo_assets.cli.common import (
    JsonOption,
    StoreOption,
    emit_json,
    note,
    on_the_trail,
    out,
    settings,
    show_table,
    valid,
)
from yolo_assets.contracts.errors import BadInputError, SignatureError, UsageError, UserError
from yolo_assets.contracts.names import check_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from yolo_assets.contracts.device_keys import DeviceKey
    from yolo_assets.contracts.trusted_key import TrustedKey
    from yolo_assets.custody.enrolment import Registrar
    from yolo_assets.trail.trail import Act

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Device id.", parser=valid(partial(check_id, what="device id")))
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key", help="The device's public key: state/audit/device.key.pub on the device.", metavar="PUB"),
]
AgentOption = Annotated[
    str | None,
    typer.Option("--agent", help="Take the key that the running agent at this address shows.", metavar="URL"),
]
FingerprintOption = Annotated[
    str | None,
    typer.Option("--fingerprint", help="SHA-256 of the key as it was read on the device itself.", metavar="HEX"),
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; by default the login name.", metavar="NAME")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the statement.")]


@app.command()
def ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the keys that count: of devices, of archivers, of promotion; and devices that run with one that does not.

    Exit 1 when a statement in the store does not count.

    Example: yolo-assets keys ls
    """
    from yolo_assets.cli.registries import promotion_keys
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.custody.enrolment import enrolled_devices, keys_in_use
    from yolo_assets.storage.open import open_store

    configured = settings(store=store)
    opened = open_store(configured.store_url)
    try:
        promotion = promotion_keys(configured, None)
    except SignatureError as error:
        note(f"no enrolment can be checked: {error}")
        promotion = TrustedKeys({})
    devices = enrolled_devices(opened, promotion)
    rows = [
        _row(key) for key in sorted(devices.keys.values(), key=lambda key: (key.device_id, key.statements[0].since))
    ]
    rows += [
        {"device_id": device, "key_id": key_id, "state": "not enrolled"}
        for device, key_id in sorted(keys_in_use(opened).items())
        if key_id not in devices.keys and key_id not in devices.problems
    ]
    rows += [{"key_id": key_id, "state": "does not count", "problem": why} for key_id, why in devices.problems.items()]
    archivers = configured.archiver_public_keys()
    trusted = [
        {"role": role, "name": key.purpose, "key_id": key_id, **_times(key)}
        for role, keys in (
            ("archiver", TrustedKeys.load(archivers) if archivers else TrustedKeys({})),
            ("promotion", promotion),
        )
        for key_id, key in keys.keys.items()
    ]
    if as_json:
        emit_json({"devices": rows, "trusted": trusted})
    else:
        heads = ("key", "of", "state", "from", "until", "revoked from")
        shown = [[row["key_id"], f"device {row.get('device_id', '?')}", row["state"], *_cells(row)] for row in rows]
        shown += [[row["key_id"], f"{row['role']} {row['name']}", "trusted", *_cells(row)] for row in trusted]
        show_table(heads, shown, titles=3)
    for key_id, why in devices.problems.items():
        note(f"key {key_id}: {why}")
    if devices.problems:
        raise UserError(f"{len(devices.problems)} keys of devices do not count; inspect keys/devices/ of the store")


@app.command()
def enroll(
    device: DeviceArgument,
    key: KeyFileOption = None,
    agent: AgentOption = None,
    fingerprint: FingerprintOption = None,
    start: Annotated[
        str | None, typer.Option("--from", help="From when on its seals count; now by default.", metavar="TIME")
    ] = None,
    by: ByOption = None,
    reason: ReasonOption = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign that a key is that of a device: its seals count from then on. Again, it changes nothing.

    The key comes from its file, or from the running agent if the fingerprint is given that was read on the device:
    sha256sum of the last 32 bytes of the key, or what yolo-assets edge status shows there.

    Example: yolo-assets keys enroll box1 --key device.key.pub --reason "put up on line A"
    """
    from yolo_assets.contracts.times import parse_time

    public, since = _public_key(device, key, agent, fingerprint), given(parse_time, start, "--from")
    registrar = _registrar(store, by)
    with _noted("keys enroll", device, by, reason, store) as act:
        known, new = registrar.enroll(device, public, since=since, reason=reason)
        act.result = f"done: key {known.key_id}"
    if as_json:
        emit_json({**_row(known), "new": new})
        return
    _say(known, "is enrolled" if new else "is enrolled already")


@app.command()
def rotate(
    device: DeviceArgument,
    key: KeyFileOption = None,
    agent: AgentOption = None,
    fingerprint: FingerprintOption = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="The old key counts until then, the new one from then on; now.", metavar="TIME"),
    ] = None,
    by: ByOption = None,
    reason: ReasonOption = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enrol a device's new key and end the one that it had. What the old key sealed until then stays good.

    On the device: stop the agent, move state/audit/device.key and device.key.pub away, start it: it makes a new pair.

    Example: yolo-assets keys rotate box1 --key device.key.pub --reason "new disk"
    """
    from yolo_assets.contracts.times import parse_time

    public, moment = _public_key(device, key, agent, fingerprint), given(parse_time, at, "--at")
    registrar = _registrar(store, by)
    with _noted("keys rotate", device, by, reason, store) as act:
        fresh, ended = registrar.rotate(device, public, at=moment, reason=reason)
        act.result = f"done: key {fresh.key_id} for {', '.join(one.key_id for one in ended) or 'none'}"
    if as_json:
        emit_json({"key": _row(fresh), "ended": [_row(one) for one in ended]})
        return
    _say(fresh, "is enrolled")
    for one in ended:
        _say(one, "has ended")


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="KEY|DEVICE", help="A key id, or a device: all its keys.")],
    start: Annotated[
        str | None,
        typer.Option("--from", help="From when on somebody else may have had it; now by default.", metavar="TIME"),
    ] = None,
    by: ByOption = None,
    reason: ReasonOption = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key that somebody else may have: only seals that an archiver's receipt held before still count.

    For good: give the device a new key and enrol that. A later call can only name an earlier time.

    Example: yolo-assets keys revoke box1 --from 2026-03-01T06:00Z --reason "stolen"
    """
    from yolo_assets.contracts.times import parse_time

    since, registrar = given(parse_time, start, "--from"), _registrar(store, by)
    devices = registrar.devices()
    chosen = [which] if which in devices.keys else [key.key_id for key in devices.of_device(which)]
    if not chosen:
        raise BadInputError(f"{which!r} is neither an enrolled key nor a device with one; see: yolo-assets keys ls")
    with _noted("keys revoke", which, by, reason, store) as act:
        closed = [registrar.close(key_id, "revoked", since=since, reason=reason) for key_id in chosen]
        act.result = f"done: {', '.join(chosen)}"
    if as_json:
        emit_json([{**_row(known), "new": new} for known, new in closed])
        return
    for known, new in closed:
        _say(known, "is revoked" if new else "is revoked already")


def _noted(what: str, whose: str, by: str | None, reason: str, store: str | None) -> AbstractContextManager[Act]:
    from yolo_assets.contracts.trail import TrailTarget

    return on_the_trail(settings(store=store), what, TrailTarget(names=(whose,)), by=by, reason=reason)


def _public_key(device: str, file: Path | None, agent: str | None, expected: str | None) -> Ed25519PublicKey:
    """The device's key, its fingerprint compared."""
    from yolo_assets.contracts.signing import fingerprint
    from yolo_assets.contracts.trusted_key import TrustedKey

    if (file is None) == (agent is None):
        raise UsageError("give the device's public key: --key PUB, or --agent URL with --fingerprint HEX")
    public = TrustedKey.load(file).public if file is not None else _shown_by(agent or "", device)
    found = fingerprint(public)
    wanted = None if expected is None else "".join(expected.replace(":", "").split()).lower()
    if wanted is None and agent is not None:
        raise UsageError(
            f"the agent at {agent} shows a key with the fingerprint {found}; read it on the device itself (yolo-assets "
            "edge status there) and give it with --fingerprint HEX"
        )
    if wanted is not None and wanted != found:
        raise BadInputError(
            f"the key has the fingerprint {found}, not {expected}; it is another device's, or was swapped"
        )
    return public


def _shown_by(agent: str, device: str) -> Ed25519PublicKey:
    import orjson

    from yolo_assets.cli.edge import read_agent
    from yolo_assets.contracts.device_keys import public_key_in

    document = orjson.loads(read_agent(agent.rstrip("/") + "/v1/status"))
    if document["device_id"] != device:
        raise BadInputError(f"the agent at {agent} is {document['device_id']}, not {device}")
    if "public_key" not in document["audit"]:
        raise BadInputError(f"the agent at {agent} is too old to show its key; take state/audit/device.key.pub from it")
    return public_key_in(document["audit"]["public_key"])


def _registrar(store: str | None, by: str | None) -> Registrar:
    from yolo_assets.cli.registries import promotion_keys
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.custody.enrolment import Registrar
    from yolo_assets.storage.open import open_store

    configured = settings(store=store)
    signer = Signer.load(configured.promotion_key)
    return Registrar(
        open_store(configured.store_url), signer, promotion_keys(configured, None), by or getpass.getuser()
    )


def _times(key: TrustedKey) -> dict[str, str | None]:
    from yolo_assets.contracts.times import format_time

    times = {"not_before": key.not_before, "not_after": key.not_after, "revoked_at": key.revoked_at}
    return {name: None if moment is None else format_time(moment) for name, moment in times.items()}


def _row(key: DeviceKey) -> dict[str, Any]:
    from yolo_assets.contracts.times import format_time

    last = key.statements[-1]
    return {
        "device_id": key.device_id,
        "key_id": key.key_id,
        "fingerprint": key.fingerprint,
        "state": "revoked" if key.key.revoked_at else "ended" if key.key.not_after else "enrolled",
        **_times(key.key),
        "by": last.by,
        "at": format_time(last.at),
        "reason": last.reason,
        "replaces": key.statements[0].replaces,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [row.get(name) or "" for name in ("not_before", "not_after", "revoked_at")]


def _say(key: DeviceKey, what: str) -> None:
    times = _row(key)
    told = [("from", "not_before"), ("until", "not_after"), ("revoked from", "revoked_at")]
    span = ", ".join(f"{word} {times[name]}" for word, name in told if times[name])
    out().print(f"key {key.key_id} of {key.device_id} {what}: {span}\n  fingerprint {key.fingerprint}", markup=False)
