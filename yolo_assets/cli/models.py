"""``yolo-assets models``: list, verify and import bundles, and move release channels by hand."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

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
    valid,
)
from yolo_assets.cli.models_export import export, keygen
from yolo_assets.cli.models_import import average_models, build_model, import_model_file
from yolo_assets.cli.models_rollout import app as rollout_app
from yolo_assets.cli.models_rollout import approve
from yolo_assets.cli.models_validation import validation
from yolo_assets.cli.models_verdict import compare, test_facts, threshold_words, why
from yolo_assets.cli.registries import (
    ChannelOption,
    ModelArgument,
    NameArgument,
    TrustedOption,
    check_spelling,
    find_version,
    model_name,
    open_promoter,
    open_registry,
    readable_registry,
)

if TYPE_CHECKING:
    from yolo_assets.contracts.model import ChannelPointer, ModelManifest
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.models.gated_release import Release
    from yolo_assets.models.promotion import Promoter
    from yolo_assets.models.registry import Registry

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.command("export")(export)
app.command("keygen")(keygen)
app.command("import")(import_model_file)
app.command("build")(build_model)
app.command("why")(why)
app.command("compare")(compare)
app.command("average")(average_models)
app.command("approve")(approve)
app.command("validation")(validation)
app.add_typer(rollout_app, name="rollout")

ByOption = Annotated[str | None, typer.Option("--by", help="Who moves the channel; by default the login name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the channel's history.")]


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this model.", parser=model_name)] = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Registered versions: whether they are signed, what the gate said, and which channels serve them.

    Example: yolo-assets models list line
    """
    from yolo_assets.contracts.times import format_time

    registry = readable_registry(settings(store=store), trusted_key)
    entries = registry.list_bundles(name)
    serving = {model: _channels_of(registry, model) for model in {entry.name for entry in entries}}
    rows = [
        {
            "name": entry.name,
            "version": entry.version,
            "written_at": format_time(entry.written_at),
            "signature": _signature_state(registry, entry.name, entry.version),
            "gate": _gate_state(registry, entry.name, entry.version),
            **_served_by(serving[entry.name], entry.version),
        }
        for entry in entries
    ]
    for broken in (c for channels in serving.values() for c in channels if "error" in c):
        note(f"warning: {broken['error']}")
    if as_json:
        emit_json(rows)
    elif not rows:
        note(f"no models in {registry.store.url}")
    else:
        show_table(["version", "written", "signature", "gate", "channels"], [
            [f"{row['name']}/{row['version']}", row["written_at"], row["signature"], row["gate"], _served_words(row)]
            for row in rows
        ])  # fmt: skip


@app.command()
def show(
    model: ModelArgument, store: StoreOption = None, trusted_key: TrustedOption = None, as_json: JsonOption = False
) -> None:
    """One version: manifest, signature, the gate's decision, figures on test frames, channels that serve it.

    Example: yolo-assets models show line/20260102-1a2b3c4d
    """
    from yolo_assets.models.gate_status import gate_status, newest_evaluation

    located = settings(store=store)
    registry = readable_registry(located, trusted_key)
    name, version = find_version(registry, located, model)
    stored = registry.read_manifest(name, version, signed=False)
    manifest = stored.manifest
    status = gate_status(registry, manifest) if registry.trusted.keys else None
    report, gate = (status.report, status.summary) if status else (None, "signatures are not checked")
    evaluation = newest_evaluation(registry, manifest)
    signature = _signature_state(registry, name, version)
    channels = [c for c in _channels_of(registry, name) if c.get("version") == version]
    if as_json:
        emit_json(
            {
                "manifest": manifest.model_dump(mode="json"),
                "manifest_sha256": stored.sha256,
                "signature": signature,
                "gate": gate,
                "gate_state": status.state if status else "not checked",
                "gate_report": report.model_dump(mode="json") if report else None,
                "evaluation": evaluation.candidate.model_dump(mode="json") if evaluation else None,
                "channels": channels,
            }
        )
        return
    size = sum(entry.size for entry in manifest.files.values())
    facts = {
        "version": manifest.model_version,
        "created": manifest.model_dump(mode="json")["created_at"],
        "manifest SHA-256": stored.sha256,
        "signature": signature,
        "gate": f"{status.state}: {gate}" if status else gate,
        "channels": ", ".join(map(_release_words, channels)) or "none",
        "classes": ", ".join(manifest.class_names),
        "thresholds": threshold_words(manifest.thresholds),
        "input": "×".join(map(str, manifest.input_shape)),
        "output": manifest.output_layout,
        "files": f"{len(manifest.files)}, {size:,} bytes",
        "parent": manifest.parent_version or "none",
        "dataset": manifest.dataset_sha256 or "unknown",
        "training run": manifest.training_fingerprint or "unknown",
        **_import_facts(manifest),
        **_build_facts(manifest),
        **(test_facts(evaluation.candidate) if evaluation else {}),
        **{key: _metric(value) for key, value in sorted(manifest.metrics.items())},
    }
    show_table(["", model], [[key, value] for key, value in facts.items()])


@app.command()
def verify(
    model: ModelArgument, store: StoreOption = None, trusted_key: TrustedOption = None, as_json: JsonOption = False
) -> None:
    """Check the signature and the SHA-256 of every file of a version, weights included.

    Example: yolo-assets models verify line/20260102-1a2b3c4d
    """
    located = settings(store=store)
    check_spelling(model)
    registry = open_registry(located, trusted_key)
    stored = registry.verify_bundle(*find_version(registry, located, model))
    model = stored.manifest.model_version
    if as_json:
        emit_json({"model": model, "verified": True, "files": len(stored.manifest.files), "sha256": stored.sha256})
    else:
        out().print(f"{model}: signature and {len(stored.manifest.files)} files verified, manifest {stored.sha256}")


@app.command()
def promote(
    model: ModelArgument,
    reason: ReasonOption,
    channel: ChannelOption = "stable",
    by: ByOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Promote although the gate refused it or could not tell, or its classes changed."),
    ] = False,
    unjudged: Annotated[
        bool, typer.Option("--unjudged", help="Promote although no gate judged it, or it was blocked before the gate.")
    ] = False,
    replace_untrusted: Annotated[
        bool,
        typer.Option("--replace-untrusted", help="Replace a pointer whose signature cannot be verified."),
    ] = False,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="To every device at once, although plant.yaml rolls out in waves.")
    ] = False,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a channel serve a version, by hand. Needs the promotion key; shows the gate's decision.

    The exported file is opened first, and must be what its manifest promises; nothing overrides that. What the gate
    did not pass needs --force or --unjudged, and the pointer says so to everyone who sees the model. Where plant.yaml
    has a section rollout, stable moves in waves, and this begins the first; where it has people, they approve first.

    Example: yolo-assets models promote line/20260102-1a2b3c4d --channel canary --reason "trial on line A"
    """
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.models.gated_release import promote_by_hand
    from yolo_assets.models.promotion import ReleaseRequest

    located = settings(store=store)
    check_spelling(model)
    promoter = open_promoter(located, trusted_key)
    name, version = find_version(promoter.registry, located, model)
    request = ReleaseRequest(
        name=name,
        version=version,
        channel=channel,
        by=by or getpass.getuser(),
        reason=reason,
        replace_untrusted=replace_untrusted,
    )
    in_waves = None if at_once else _in_waves(located, promoter)
    target = TrailTarget(model=f"{name}/{version}", channel=channel)
    with on_the_trail(located, "models promote", target, by=by, reason=reason) as act:
        released = promote_by_hand(promoter, request, force=force, unjudged=unjudged, release=in_waves)
        act.result = _moved(released.pointer)
    _announce(located, released.pointer)
    note(f"gate: {released.gate}")
    _show_pointer(released.pointer, as_json)


def _in_waves(located: Settings, promoter: Promoter) -> Release | None:
    """How a release goes out where the plant rolls out in waves; None where it does not."""
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.models.rollout import release_in_waves

    rollout = load_plant(located).rollout
    return release_in_waves(promoter, rollout) if rollout is not None else None


@app.command()
def rollback(
    name: NameArgument,
    reason: ReasonOption,
    channel: ChannelOption = "stable",
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="An earlier version of the channel.", parser=valid(check_spelling)
        ),
    ] = None,
    by: ByOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a channel serve an earlier version again: by default the one before, further back each time.

    Example: yolo-assets models rollback line --channel stable --reason "misses cracks on wet parts"
    """
    from yolo_assets.contracts.names import version_of
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.models.promotion import RollbackRequest

    request = RollbackRequest(
        name=name,
        channel=channel,
        by=by or getpass.getuser(),
        reason=reason,
        to_version=version_of(to, name) if to else None,
    )
    located = settings(store=store)
    promoter = open_promoter(located, trusted_key)
    target = TrailTarget(model=f"{name}/{request.to_version}" if request.to_version else name, channel=channel)
    with on_the_trail(located, "models rollback", target, by=by, reason=reason) as act:
        pointer = promoter.roll_back(request)
        act.result = _moved(pointer)
    _announce(located, pointer)
    _show_pointer(pointer, as_json)


@app.command()
def history(
    name: NameArgument,
    channel: ChannelOption = "stable",
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every release of a channel: which version, when, who, why.

    Example: yolo-assets models history line --channel stable
    """
    past = open_registry(settings(store=store), trusted_key).channel(name, channel).history()
    for key, reason in past.rejected.items():
        note(f"warning: not counted: {key}: {reason}")
    rows = [{**_pointer_row(r.entry.pointer), "kind": r.entry.kind, "state": r.state} for r in past.releases]
    if as_json:
        emit_json(rows)
    elif not rows:
        note(f"{name} has no channel {channel} yet")
    else:
        keys = ["release", "kind", "version", "state", "moved_at", "moved_by", "reason"]
        show_table(
            [*(key.replace("_", " ") for key in keys), "gate"],
            [[*(str(row[key]) for key in keys), _flag_words(row)] for row in rows],
        )


def _signature_state(registry: Registry, name: str, version: str) -> str:
    """``none``, ``good``, ``not checked`` or ``bad: <reason>``."""
    from yolo_assets.contracts.errors import UserError
    from yolo_assets.contracts.model import MANIFEST
    from yolo_assets.contracts.names import model_key, signature_files

    if all(registry.store.head(model_key(name, version, file)) is None for file in signature_files(MANIFEST)):
        return "none"
    if not registry.trusted.keys:
        return "not checked"
    try:
        registry.read_manifest(name, version)
    except UserError as error:
        return f"bad: {error}"
    return "good"


def _channels_of(registry: Registry, name: str) -> list[dict[str, Any]]:
    """The pointers of a model as JSON objects; one that cannot be verified holds ``channel`` and ``error``."""
    from yolo_assets.contracts.errors import BadInputError, SignatureError

    rows: list[dict[str, Any]] = []
    for channel in registry.channel_names(name) if registry.trusted.keys else []:
        try:
            pointer = registry.channel(name, channel).pointer()
        except (BadInputError, SignatureError) as error:
            rows.append({"channel": channel, "error": str(error)})
            continue
        if pointer is not None:
            rows.append(_pointer_row(pointer))
    return rows


def _gate_state(registry: Registry, name: str, version: str) -> str:
    """A ``GateState``, or ``not checked`` without a key."""
    from yolo_assets.contracts.errors import UserError
    from yolo_assets.models.gate_status import gate_status

    if not registry.trusted.keys:
        return "not checked"
    try:
        return gate_status(registry, registry.read_manifest(name, version, signed=False).manifest).state
    except UserError as error:
        return f"unknown: {error}"


def _pointer_row(pointer: ChannelPointer) -> dict[str, Any]:
    """A pointer as JSON, its flags written out."""
    return {**pointer.model_dump(mode="json"), "forced": pointer.forced, "unjudged": pointer.unjudged}


def _release_words(row: dict[str, Any]) -> str:
    """A channel with its release, and why that needed more than the gate."""
    return f"{row['channel']} (release {', '.join(filter(None, [str(row['release']), _flag_words(row)]))})"


def _served_by(pointers: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """The channels that serve a version, and whether one of them needed more than the gate."""
    serving = [pointer for pointer in pointers if pointer.get("version") == version]
    flags = {flag: any(pointer[flag] for pointer in serving) for flag in ("forced", "unjudged")}
    return {"channels": [pointer["channel"] for pointer in serving], **flags}


def _served_words(row: dict[str, Any]) -> str:
    """Channels for people, with why a release needed more than the gate."""
    flags = _flag_words(row)
    return ", ".join(row["channels"]) + (f" ({flags})" if flags else "")


def _flag_words(row: dict[str, Any]) -> str:
    """Why a release needed more than the gate, for people; empty when it did not."""
    return ", ".join(word for word in ("forced", "unjudged") if row[word])


def _import_facts(manifest: ModelManifest) -> dict[str, str]:
    """Where an imported version came from; empty for one that was trained here."""
    from yolo_assets.contracts.times import format_time

    brought = manifest.imported
    if brought is None:
        return {}
    return {
        "imported from": f"{brought.file}, SHA-256 {brought.source_sha256}",
        "imported by": f"{brought.by}, {format_time(brought.at)}" + (f": {brought.note}" if brought.note else ""),
        "rewritten": "; ".join(brought.changes) or "nothing",
    }


def _build_facts(manifest: ModelManifest) -> dict[str, str]:
    """How a build was made; empty for a version that is none."""
    from yolo_assets.contracts.times import format_time

    built = manifest.built
    if built is None:
        return {}
    how = f"{built.precision} by {built.tool} on {built.pictures} pictures"
    return {"built from": built.of, "built as": how, "built by": f"{built.by}, {format_time(built.at)}"}


def _metric(value: Any) -> str:
    """A metric of a manifest, with its interval when it has one."""
    return f"{value:.4g}" if isinstance(value, float) else f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"


def _moved(pointer: ChannelPointer) -> str:
    """What the audit trail says of a channel that was moved."""
    flags = _flag_words(_pointer_row(pointer))
    return f"done: {pointer.channel} serves {pointer.version}, release {pointer.release}{f', {flags}' if flags else ''}"


def _announce(configured: Settings, pointer: ChannelPointer) -> None:
    """Tell agents that listen; the others poll."""
    from yolo_assets.events.announcer import announcer_of, moved

    with announcer_of(configured, note) as announcer:
        announcer.announce(moved(pointer))


def _show_pointer(pointer: ChannelPointer, as_json: bool) -> None:
    """What a channel serves after it was moved."""
    if as_json:
        emit_json(_pointer_row(pointer))
    else:
        flags = _flag_words(_pointer_row(pointer))
        said = f"{pointer.name}/{pointer.channel} serves {pointer.version}, release {pointer.release}"
        out().print(f"{said}, {flags}" if flags else said)
