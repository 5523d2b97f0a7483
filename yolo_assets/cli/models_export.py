"""``yolo-assets models export`` and ``keygen``: a version as a folder, also for others, and the keys that sign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.common import (
    ActorOption,
    JsonOption,
    StoreOption,
    WhyOption,
    emit_json,
    need,
    note,
    on_the_trail,
    out,
    settings,
)
from yolo_assets.cli.registries import ChannelOption, ModelArgument, TrustedOption, find_version, open_registry
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.models.registry import Registry


def export(
    model: ModelArgument,
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to make; it must not exist.", parser=location_folder)
    ],
    oms: Annotated[
        bool,
        typer.Option(
            "--oms", help="For others: with an OpenSSF signature, in-toto statements, and a bill of materials."
        ),
    ] = False,
    channel: ChannelOption = "stable",
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    by: ActorOption = None,
    reason: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write a version as a folder, every file verified against its manifest.

    With --oms the folder can be checked by anybody with tools of others, as its VERIFY.txt says: model.sig (OpenSSF
    model signing), model.intoto.jsonl (how it was made, and the gate's verdict), bom.cdx.json (CycloneDX). They are
    signed with the home's key keys/export, which is made when there is none; give keys/export.pem to who checks. The
    approvals and releases told are those of --channel.

    Example: yolo-assets models export line/20260102-1a2b3c4d --out line-model --oms
    """
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store

    located = settings(store=store)
    registry = open_registry(located, trusted_key) if oms else Registry(open_store(located.store_url))
    name, version = find_version(registry, located, model)
    model = f"{name}/{version}"
    row: dict[str, Any] = {"model": model, "folder": str(out_folder)}
    target = TrailTarget(model=model, out=str(out_folder.absolute()))
    with on_the_trail(located, "models export", target, by=by, reason=reason):
        if oms:
            row |= _export_for_others(located, registry, name, version, out_folder, channel)
        else:
            registry.export_bundle(name, version, out_folder, signed=False)
    if as_json:
        emit_json(row)
    else:
        out().print(f"{model} is in {out_folder}")


def _export_for_others(
    located: Settings, registry: Registry, name: str, version: str, folder: Path, channel: str
) -> dict[str, Any]:
    """Write it with statements; what the JSON says of them."""
    need("model_signing", "OpenSSL")
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.models.approvals import Approvals
    from yolo_assets.provenance.export import export_signed
    from yolo_assets.provenance.export_key import ExportKey

    people = load_plant(located).people
    approvals = Approvals(registry.store, people, registry.trusted) if people is not None else None
    key = ExportKey.load_or_create(located.export_key)
    written = export_signed(registry, name, version, folder, key, channel=channel, approvals=approvals)
    for gap in written.making.gaps:
        note(f"not shown: {gap}")
    made = "made now, " if key.created else ""
    note(f"signed with {key.path} ({made}SHA-256 of its .pem {key.fingerprint}); give {key.public_path} to who checks")
    return {
        "public_key": str(key.public_path),
        "key_sha256": key.fingerprint,
        "statements": written.statements,
        "gaps": list(written.making.gaps),
    }


def keygen(
    person: Annotated[
        Path | None,
        typer.Option("--person", help="Make a person's own pair in this file instead.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the key pairs of archiver, promotion and export; a key that is there is never overwritten.

    Example: yolo-assets models keygen
    """
    from yolo_assets.contracts.signing import KeyPair, create_key_pairs
    from yolo_assets.provenance.export_key import ExportKey

    configured = settings()
    pairs = create_key_pairs([person] if person is not None else [configured.archiver_key, configured.promotion_key])
    if person is None:
        export_key = ExportKey.load_or_create(configured.export_key)
        pairs.append(KeyPair(export_key.path, export_key.fingerprint[:16], export_key.created))
    if as_json:
        emit_json([{"path": str(p.path), "key_id": p.key_id, "created": p.created} for p in pairs])
        return
    for pair in pairs:
        out().print(f"{pair.path} (key {pair.key_id}) {'made' if pair.created else 'exists already and is kept'}")
    if person is not None:
        note(f"name {person}.pub under people in plant.yaml; nobody but its owner needs {person}")
        return
    note(f"give {configured.promotion_key}.pub to every agent as a trusted key; keep the private keys where they are")
