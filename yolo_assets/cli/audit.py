"""``yolo-assets audit``: who did what to a model, a camera or an hour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.archive.options import given
from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    camera_id,
    emit_json,
    note,
    settings,
    show_table,
    valid,
)
from yolo_assets.cli.registries import check_spelling
from yolo_assets.contracts.errors import IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import check_id

if TYPE_CHECKING:
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.trail import TrailHead
    from yolo_assets.trail.who import Deed


def _check_model(text: str) -> None:
    """A version with its name, or a name alone."""
    if "/" in text:
        check_spelling(text)
    else:
        check_id(text, "model name")


def audit(
    model: Annotated[
        str | None,
        typer.Option(metavar="V", help="A model: name/version, or a name alone.", parser=valid(_check_model)),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="C", help="Acts on this camera's pictures.", parser=camera_id)
    ] = None,
    hour: Annotated[str | None, typer.Option(metavar="YYYYMMDD_HH", help="Acts on pictures of this hour.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only acts of this person.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only what was done from then on, UTC.")] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PUB", help="Further public keys to trust, of archivers or of promotion."),
    ] = None,
    archive: ArchiveOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who exported, restored, released or changed what, when, why, and with what result.

    Joins the audit trail of the centre, the releases of every channel and the audit logs that devices ship, and
    verifies each. Exit 1 when something in them was changed, cut off or put back.

    Example: yolo-assets audit --model line/20260102-1a2b3c4d --since 2026-01-01T00:00Z
    """
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.contracts.times import Hour, parse_time
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import folder_of, open_store
    from yolo_assets.trail.trail import AuditTrail, public_keys
    from yolo_assets.trail.who import AuditQuestion, who_did_what

    where = settings(archive=archive, store=store)
    question = AuditQuestion(
        model, camera, given(Hour.from_key, hour, "--hour"), by, given(parse_time, since, "--since")
    )
    folder = folder_of(where.store_url)
    if folder is not None and not folder.is_dir():
        raise UserError(f"there is no store at {folder}; correct --store, or mount it")
    opened = open_store(where.store_url, memory=where.known_stores, remember=False)
    files = [*public_keys(where), *(key or [])]
    trusted = TrustedKeys.load(files) if files else TrustedKeys.of()
    ends, unread, broken = _signed_ends(where, named=archive is not None)
    answer = who_did_what(question, AuditTrail(opened, trusted=trusted), Registry(opened, trusted), ends)
    if unread:
        answer.notes.append(f"the end of the audit trail was held against no checkpoint: {unread}")
    if broken:
        answer.findings.append(f"checkpoints of the archive: {broken}")
    if as_json:
        emit_json(
            {
                "ok": not answer.findings,
                "acts": [_document(deed) for deed in answer.deeds],
                "findings": answer.findings,
                "notes": answer.notes,
            }
        )
    else:
        show_table(
            ["when", "who", "what", "to what", "result", "meaning", "why", "said by"],
            [_row(deed) for deed in answer.deeds],
            titles=3,
        )
        for text in [*answer.notes, *(f"CHANGED: {finding}" for finding in answer.findings)]:
            note(text)
    if answer.findings:
        more = f" (and {len(answer.findings) - 1} more)" if len(answer.findings) > 1 else ""
        raise IntegrityError(f"what is on record is not as it was written: {answer.findings[0]}{more}")
    if not answer.deeds and not as_json:
        note("nobody did anything of that kind, as far as it is on record")


def _signed_ends(where: Settings, *, named: bool) -> tuple[list[tuple[str, TrailHead]], str, str]:
    """The ends of the trail that checkpoints of the archive hold.

    Args:
        where: the locations.
        named: the archive was named, so it must be there.

    Returns:
        The ends, each with what to call it; why there are none; what is wrong with the log of checkpoints.
    """
    from yolo_assets.cli.archive.options import open_to_read
    from yolo_assets.contracts.times import format_time
    from yolo_assets.transparency.log import ReceiptLog

    try:
        stored = list(ReceiptLog(open_to_read(where, None)).checkpoints())
    except (IntegrityError, SignatureError) as error:
        return [], "", str(error)
    except UserError as error:
        if named:
            raise
        return [], str(error), ""
    held = [(f"checkpoint {one.number} of {format_time(one.signed.at)}", one.trail) for one in stored]
    found = [(label, head) for label, head in held if head is not None]
    none = f"none in {where.archive_url} names it; make one with: yolo-assets archive checkpoint"
    return found, "" if found else none, ""


def _document(deed: Deed) -> dict[str, Any]:
    from dataclasses import asdict

    from yolo_assets.contracts.times import format_time

    return {**asdict(deed), "at": format_time(deed.at)}


def _row(deed: Deed) -> list[str]:
    from yolo_assets.contracts.times import format_time

    who = f"{deed.who} ({deed.role})" if deed.role else deed.who
    return [
        *(format_time(deed.at), who, deed.what, deed.target, deed.result, deed.meaning, deed.reason),
        f"{deed.source}: {deed.place}, {deed.proof}",
    ]
