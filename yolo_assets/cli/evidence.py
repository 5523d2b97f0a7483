"""``yolo-assets evidence``: packs for auditors, made from the archive and verified without it."""

from __future__ import annotations

import dataclasses
import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from yolo_assets.cli.archive.options import EnrolledByOption, KeyOption, given, open_to_read
from yolo_assets.cli.class_names import other_names
from yolo_assets.cli.common import (
    ArchiveOption,
    JsonOption,
    StoreOption,
    camera_id,
    emit_json,
    need,
    note,
    on_the_trail,
    out,
    progress,
    settings,
)
from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.evidence.history import HistoryTrust
    from yolo_assets.evidence.manifest import PackManifest

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def make(
    start: Annotated[str, typer.Option("--from", help="First moment, UTC.", metavar="TIME")],
    end: Annotated[str, typer.Option("--to", help="First moment after the range, UTC.", metavar="TIME")],
    folder: Annotated[
        Path, typer.Option("--out", help="Folder of the pack; new or empty.", metavar="DIR", parser=location_folder)
    ],
    camera: Annotated[str | None, typer.Option(help="Camera id.", metavar="C", parser=camera_id)] = None,
    batch: Annotated[str | None, typer.Option(help="Production batch, of one or of all cameras.", metavar="B")] = None,
    part_id: Annotated[str | None, typer.Option(help="Workpiece, of one or of all cameras.", metavar="P")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Only frames with this class.", metavar="K")] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Lowest confidence of a detection that counts.", min=0, max=1, metavar="X"),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the question is asked; printed in the report.")] = "",
    by: Annotated[str | None, typer.Option("--by", help="Who asks; by default the login name.", metavar="NAME")] = None,
    max_frames: Annotated[int, typer.Option(help="Make no pack when more frames match.", min=1, metavar="N")] = 1000,
    lang: Annotated[
        Literal["en", "zh"] | None,
        typer.Option("--lang", help="Language of the report; by default the setting YOLO_ASSETS_LANG.", metavar="L"),
    ] = None,
    archive: ArchiveOption = None,
    store: StoreOption = None,
    key: KeyOption = None,
    enrolled_by: EnrolledByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question with a signed folder: frames, records, receipts, hashes, and a report as HTML and PDF.

    Exit 1 when an archive of the range cannot be read: the pack is kept, signed, and says that it is incomplete.
    Chinese, Japanese and other scripts are printed with the fonts of the machine, or those of YOLO_ASSETS_FONTS.

    Example: yolo-assets evidence make --camera lineA_cam01 --from 2026-03-01T09:00Z --to 2026-03-01T10:00Z
    --class crack --min-confidence 0.8 --reason "Audit 2026-17" --by "A. Berg" --out evidence-2026-17
    """
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.contracts.times import parse_time
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.evidence.manifest import Query
    from yolo_assets.storage.fallback import PROCESS_READS
    from yolo_assets.storage.open import folder_of, open_store

    first, after = given(parse_time, start, "--from"), given(parse_time, end, "--to")
    if first is None or after is None or after <= first:
        raise UsageError("--to must be later than --from")
    if camera is None and batch is None and part_id is None:
        raise UsageError("give what to look for: --camera C, --batch B, --part-id P or several of them")
    need("cv2", "polars", "duckdb", "supervision", "fpdf", "uharfbuzz", "jinja2")
    from yolo_assets.evidence.make import Request, make_pack
    from yolo_assets.evidence.wording import many

    where = settings(archive=archive, store=store)
    opened = open_to_read(where, key)
    signer = Signer.load(where.archiver_key)
    # A store that does not exist yet is no reason to refuse evidence, and must not be created by reading it.
    store_folder = folder_of(where.store_url)
    is_there = store_folder is None or store_folder.is_dir()
    store_root = open_store(where.store_url) if is_there else None
    query = Query(
        camera_id=camera,
        batch=batch,
        part_id=part_id,
        start=first,
        end=after,
        class_name=class_name,
        also_called=other_names(where, class_name) if class_name is not None else (),
        min_confidence=min_confidence,
    )
    enrolling = enrolled_by or where.promotion_public_keys()
    enrolled = TrustedKeys.load(enrolling) if enrolling else None
    request = Request(query, by or getpass.getuser(), reason, max_frames, lang or where.language)
    about = tuple(f"{name} {value}" for name, value in (("batch", batch), ("part", part_id)) if value is not None)
    target = TrailTarget(camera_id=camera, start=first, end=after, names=about, out=str(folder.absolute()))
    with (
        on_the_trail(where, "evidence make", target, by=by, reason=reason) as act,
        progress("collecting") as advance,
    ):
        pack = make_pack(
            opened, store_root, signer, request, folder, enrolled_by=enrolled, fonts=where.fonts, report=advance
        )
        act.result = f"done: {pack.counts.frames} frames from {pack.counts.archives} archives"
    if as_json:
        emit_json(
            {
                **pack.model_dump(mode="json", exclude={"files"}),
                "complete": pack.complete,
                "out": str(folder),
                "from_copy": PROCESS_READS.count,
            }
        )
    else:
        counts = pack.counts
        totals = (many(counts.frames, "frame"), many(counts.records, "record"), many(counts.detections, "detection"))
        out().print(
            f"{', '.join(totals)} from {many(counts.archives, 'archive')} in {folder}, signed by key {pack.signed_by}",
            markup=False,
        )
    for line in _told(pack):
        note(line)
    if not pack.complete:
        unavailable = [hour for hour in pack.hours if hour.state == "unavailable"]
        raise UserError(
            f"the pack in {folder} is incomplete and says so: {many(len(unavailable), 'camera-hour')} could not be "
            f"read, the first: {unavailable[0].reason}"
        )


def _told(pack: PackManifest) -> Iterator[str]:
    """What a person who made a pack should know of it at once; the report names each."""
    from yolo_assets.evidence.wording import PackWording, many

    counts, unread = pack.counts, sum(hour.unread for hour in pack.hours)
    if unread:
        yield f"{many(unread, 'record')} could not be read and count for nothing; the report names them"
    if counts.not_drawable:
        yield f"{many(counts.not_drawable, 'frame')} could not be read as a picture and drawn; the report names them"
    if counts.other_size:
        yield (
            f"boxes of {many(counts.other_size, 'frame')} are not drawn: their record is of a picture of another size; "
            "the report names them"
        )
    if pack.history is not None and pack.history.problem is not None:
        yield f"there is no proof of the log of receipts in it: {pack.history.problem}"
    if pack.unprinted:
        yield PackWording("en").letters(pack.unprinted)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the pack.", metavar="DIR")],
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            help="Public key that you trust, got by another way than this pack: of the pack, of receipts, of model "
            "releases and enrolments of devices. May be given several times.",
            metavar="PUB",
        ),
    ] = None,
    witness_key: Annotated[
        list[Path] | None,
        typer.Option(help="Key of a witness who must have co-signed (witness.vkey), got likewise.", metavar="FILE"),
    ] = None,
    timestamp_roots: Annotated[
        Path | None,
        typer.Option(help="Certificates (PEM) of the time-stamp authority that must have stamped.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a pack against public keys, offline; exit 1 on any difference.

    Example: yolo-assets evidence verify evidence-2026-17 --key archiver.pub
    """
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.evidence.verify import verify_pack

    trusted = TrustedKeys.load(key, pack=folder) if key else None
    done = verify_pack(folder, trusted, _history_trust(witness_key or [], timestamp_roots))
    first = done.first_difference
    if as_json:
        summary = None if done.manifest is None else done.manifest.model_dump(mode="json", exclude={"files", "hours"})
        emit_json({"ok": first is None, "checks": [dataclasses.asdict(c) for c in done.checks], "pack": summary})
    else:
        for check in done.checks:
            out().print(f"{check.name:<10} {check.verdict:<12} {check.detail}", markup=False)
    if first is not None:
        raise UserError(f"{folder} must not be trusted: {first.name}: {first.detail}")
    if not as_json:
        out().print("the pack is what was signed, and its frames and records are what was archived", markup=False)


def _history_trust(witness_keys: list[Path], timestamp_roots: Path | None) -> HistoryTrust:
    from yolo_assets.contracts.checkpoint import VerifierKey
    from yolo_assets.evidence.history import HistoryTrust

    roots = None
    if timestamp_roots is not None:
        from yolo_assets.transparency.timestamps import load_roots

        roots = load_roots(timestamp_roots)
    return HistoryTrust([VerifierKey.load(path) for path in witness_keys], roots)
