"""``yolo-assets models validation``: what an assessor asks of a version, as a signed folder; and checking one."""

from __future__ import annotations

import getpass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.common import JsonOption, StoreOption, emit_json, need, note, out, settings, valid
from yolo_assets.cli.registries import TrustedOption, check_spelling, find_version, open_registry
from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.locations import location_folder
from yolo_assets.contracts.names import check_id

if TYPE_CHECKING:
    from yolo_assets.validation.content import ValidationRecord


def validation(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME/VERSION", help="A version, with its name or without.", parser=valid(check_spelling)
        ),
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder to make; it must not exist.", parser=location_folder),
    ] = None,
    use: Annotated[
        str | None, typer.Option("--use", metavar="TEXT", help="Intended use: what it is for, and what not.")
    ] = None,
    channel: Annotated[
        str,
        typer.Option(
            "--channel",
            metavar="CHANNEL",
            help="Whose approvals and releases are told.",
            parser=valid(partial(check_id, what="channel")),
        ),
    ] = "stable",
    by: Annotated[str | None, typer.Option("--by", help="Who makes it; by default the login name.")] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="DIR", help="Check a pack instead of making one.", parser=location_folder),
    ] = None,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the validation pack of a version: intended use, data, limits, results, approvals; PDF and JSON, signed.

    It quotes the gate's signed report, measures how far the test pictures are from the others, gives each recall an
    exact interval, and names what is not on record. Needs the promotion key. --check verifies a pack with a key that
    you got in another way.

    Example: yolo-assets models validation line/20260102-1a2b3c4d --out pack --use "cracks and pores on welds of line A"
    """
    need("fpdf", "fontTools", "PIL", "scipy")
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.models.approvals import Approvals
    from yolo_assets.validation.content import collect
    from yolo_assets.validation.pack import verify_pack, write_pack

    if check is not None:
        if not trusted_key:
            raise UsageError("give --trusted-key with the key of promotion; one out of the pack itself proves nothing")
        record = verify_pack(check, TrustedKeys.load(trusted_key, pack=check))
        _show(record, check, as_json)
        return
    if model is None or out_folder is None or use is None:
        raise UsageError("give a version, --out and --use; or --check with the folder of a pack")
    located = settings(store=store)
    signer = Signer.load(located.promotion_key)
    registry = open_registry(located, trusted_key)
    name, version = find_version(registry, located, model)
    stored = registry.read_manifest(name, version, signed=False)
    people = load_plant(located).people
    record = collect(
        registry,
        stored.manifest,
        stored.sha256,
        intended_use=use,
        by=by or getpass.getuser(),
        channel=channel,
        approvals=Approvals(registry.store, people, registry.trusted) if people is not None else None,
    )
    write_pack(registry, stored, record, signer, channel, out_folder)
    _show(record, out_folder, as_json)


def _show(record: ValidationRecord, folder: Path, as_json: bool) -> None:
    if as_json:
        emit_json({"folder": str(folder), **record.model_dump(mode="json")})
        return
    verdict = "never judged" if record.results is None else "passed" if record.results.passed else "refused"
    out().print(f"{record.model_version}: {verdict}; the pack is in {folder}", markup=False)
    for gap in record.gaps:
        note(f"not shown: {gap}")
