"""``yolo-assets models``: list and verify bundles, and move release channels by hand."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from yolo_assets.cli.common import JsonOption, StoreOption, emit_json, note, out, settings
from yolo_assets.cli.models_view import (
    channels_of,
    metric,
    open_promoter,
    open_registry,
    readable_registry,
    show_pointer,
    show_table,
    signature_state,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

ModelArgument = Annotated[str, typer.Argument(metavar="NAME/VERSION", help="A version, like line/20260102-1a2b3c4d.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A model, like line.")]
ChannelOption = Annotated[str, typer.Option("--channel", help="Release channel.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who moves the channel; by default the login name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the channel's history.")]
TrustedOption = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Further public key to trust, for releases signed before a key was changed."),
]


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this model.")] = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Registered versions, whether they are signed, and which channels serve them.

    Example: yolo-assets models list line
    """
    from yolo_assets.contracts.times import format_time

    registry = readable_registry(settings(store=store), trusted_key)
    entries = registry.list_bundles(name)
    serving = {model: channels_of(registry, model) for model in {entry.name for entry in entries}}
    rows = [
        {
            "name": entry.name,
            "version": entry.version,
            "written_at": format_time(entry.written_at),
            "signature": signature_state(registry, entry.name, entry.version),
            "channels": [c["channel"] for c in serving[entry.name] if c.get("version") == entry.version],
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
        show_table(["version", "written", "signature", "channels"], [
            [f"{row['name']}/{row['version']}", row["written_at"], row["signature"], ", ".join(row["channels"])]
            for row in rows
        ])  # fmt: skip


@app.command()
def show(
    model: ModelArgument, store: StoreOption = None, trusted_key: TrustedOption = None, as_json: JsonOption = False
) -> None:
    """One version: its manifest, its signature, the gate's decision, the channels that serve it.

    Example: yolo-assets models show line/20260102-1a2b3c4d
    """
    from yolo_assets.contracts.errors import BadInputError, SignatureError
    from yolo_assets.contracts.names import parse_model_version
    from yolo_assets.models.gated_release import read_gate_report

    name, version = parse_model_version(model)
    registry = readable_registry(settings(store=store), trusted_key)
    stored = registry.read_manifest(name, version, signed=False)
    manifest = stored.manifest
    report, gate = None, "signatures are not checked"
    if registry.trusted.keys:
        try:
            report = read_gate_report(registry, manifest)
            gate = report.summary if report else "no report"
        except (BadInputError, SignatureError) as error:
            gate = f"the report cannot be trusted: {error}"
    signature = signature_state(registry, name, version)
    channels = [c for c in channels_of(registry, name) if c.get("version") == version]
    if as_json:
        emit_json(
            {
                "manifest": manifest.model_dump(mode="json"),
                "manifest_sha256": stored.sha256,
                "signature": signature,
                "gate": gate,
                "gate_report": report.model_dump(mode="json") if report else None,
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
        "gate": gate,
        "channels": ", ".join(f"{c['channel']} (release {c['release']})" for c in channels) or "none",
        "classes": ", ".join(manifest.class_names),
        "input": "×".join(map(str, manifest.input_shape)),
        "output": manifest.output_layout,
        "files": f"{len(manifest.files)}, {size:,} bytes",
        "parent": manifest.parent_version or "none",
        "dataset": manifest.dataset_sha256 or "unknown",
        "training run": manifest.training_fingerprint or "unknown",
        **{key: metric(value) for key, value in sorted(manifest.metrics.items())},
    }
    show_table(["", model], [[key, value] for key, value in facts.items()])


@app.command()
def verify(
    model: ModelArgument, store: StoreOption = None, trusted_key: TrustedOption = None, as_json: JsonOption = False
) -> None:
    """Check the signature and the SHA-256 of every file of a version, weights included.

    Example: yolo-assets models verify line/20260102-1a2b3c4d
    """
    from yolo_assets.contracts.names import parse_model_version

    registry = open_registry(settings(store=store), trusted_key)
    stored = registry.verify_bundle(*parse_model_version(model))
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
    force: Annotated[bool, typer.Option("--force", help="Although the gate refused it.")] = False,
    replace_untrusted: Annotated[
        bool,
        typer.Option("--replace-untrusted", help="Move on from a pointer whose signature cannot be verified."),
    ] = False,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a channel serve a version, by hand. Needs the promotion key; shows the gate's decision.

    Example: yolo-assets models promote line/20260102-1a2b3c4d --channel canary --reason "trial on line A"
    """
    from yolo_assets.contracts.names import parse_model_version
    from yolo_assets.models.gated_release import promote_by_hand
    from yolo_assets.models.promotion import ReleaseRequest

    name, version = parse_model_version(model)
    request = ReleaseRequest(
        name=name,
        version=version,
        channel=channel,
        by=by or getpass.getuser(),
        reason=reason,
        replace_untrusted=replace_untrusted,
    )
    released = promote_by_hand(open_promoter(settings(store=store), trusted_key), request, force=force)
    note(f"gate: {released.gate}")
    show_pointer(released.pointer, as_json)


@app.command()
def rollback(
    name: NameArgument,
    reason: ReasonOption,
    channel: ChannelOption = "stable",
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="A version that it served.")] = None,
    by: ByOption = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a channel serve an earlier version again: by default the one before, further back each time.

    Example: yolo-assets models rollback line --channel stable --reason "misses cracks on wet parts"
    """
    from yolo_assets.models.promotion import RollbackRequest

    request = RollbackRequest(
        name=name,
        channel=channel,
        by=by or getpass.getuser(),
        reason=reason,
        to_version=to.removeprefix(f"{name}/") if to else None,
    )
    show_pointer(open_promoter(settings(store=store), trusted_key).roll_back(request), as_json)


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
    for key, why in past.rejected.items():
        note(f"warning: not counted: {key}: {why}")
    rows = [{**r.entry.pointer.model_dump(mode="json"), "kind": r.entry.kind, "state": r.state} for r in past.releases]
    if as_json:
        emit_json(rows)
    elif not rows:
        note(f"{name} has no channel {channel} yet")
    else:
        keys = ["release", "kind", "version", "state", "moved_at", "moved_by", "reason"]
        show_table([key.replace("_", " ") for key in keys], [[str(row[key]) for key in keys] for row in rows])


@app.command()
def export(
    model: ModelArgument,
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; it must not exist.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version as a folder, every file verified against its manifest.

    Example: yolo-assets models export line/20260102-1a2b3c4d --out line-model
    """
    from yolo_assets.contracts.names import parse_model_version
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store

    registry = Registry(open_store(settings(store=store).store_url))
    registry.export_bundle(*parse_model_version(model), out_folder, signed=False)
    if as_json:
        emit_json({"model": model, "folder": str(out_folder)})
    else:
        out().print(f"{model} is in {out_folder}")


@app.command()
def keygen(as_json: JsonOption = False) -> None:
    """Make the archiver's and the promotion's key pairs; a key that is there is never overwritten.

    Example: yolo-assets models keygen
    """
    from yolo_assets.contracts.signing import create_key_pairs

    where = settings()
    pairs = create_key_pairs([where.archiver_key, where.promotion_key])
    if as_json:
        emit_json([{"path": str(p.path), "key_id": p.key_id, "created": p.created} for p in pairs])
        return
    for pair in pairs:
        out().print(f"{pair.path} (key {pair.key_id}) {'made' if pair.created else 'exists already and is kept'}")
    note(f"give {where.promotion_key}.pub to every agent as a trusted key; keep the private keys where they are")
