"""``receipt_checkpoint``: every day all receipts are signed as one, and held against what was signed before."""

import time

import dagster as dg

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.defs.archive.checks import (
    CHECKPOINT_VOUCHED_FOR,
    HISTORY_UNBROKEN,
    checkpoint_vouched_for,
    history_unbroken,
)
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.metadata import counted
from yolo_assets.defs.resources import Locations


@dg.asset(
    deps=["archive_catalog"],
    check_specs=[HISTORY_UNBROKEN, CHECKPOINT_VOUCHED_FOR],
    pool="receipt_checkpoint",
    group_name="archive",
    kinds={"s3"},
    owners=["team:quality"],
    code_version=code_version("transparency"),
    description=(
        "A signed checkpoint of all receipts, under checkpoints/ of the archive: what was archived by when cannot be "
        "changed later unseen. `yolo-assets archive verify --history` shows it."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def receipt_checkpoint(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Sign what the catalog has, have it stamped, take over co-signatures, and compare all of it with the log."""
    from yolo_assets.catalog.read import NoCatalogError, open_catalog, receipt_hashes
    from yolo_assets.storage import open_store
    from yolo_assets.trail.trail import AuditTrail
    from yolo_assets.transparency.checkpointing import make_checkpoint, stamp_checkpoint
    from yolo_assets.transparency.held import others_of
    from yolo_assets.transparency.log import KnownReceipt
    from yolo_assets.transparency.verification import verify_history
    from yolo_assets.transparency.witness import collect_cosignatures

    archive, settings, started = locations.archive(), locations.settings, time.monotonic()
    receipts: list[KnownReceipt] = []
    try:
        with open_catalog(locations.store(), cache=settings.home / "cache" / "catalog") as connection:
            receipts = [KnownReceipt(*row) for row in receipt_hashes(connection)]
    except NoCatalogError as error:
        context.log.info(str(error))
    if not receipts:
        return dg.MaterializeResult(
            metadata={"summary": "there is no receipt yet"},
            check_results=[history_unbroken([]), checkpoint_vouched_for([])],
        )
    trail = AuditTrail(locations.store()).head()
    made = make_checkpoint(archive, locations.archiver(), receipts, utc_now(), trail)
    trouble: list[str] = []
    try:
        if settings.timestamp_authority is not None:
            stamp_checkpoint(archive, made.stored, settings.timestamp_authority)
    except UserError as error:
        trouble.append(str(error))
    try:
        if settings.cosigned is not None:
            collect_cosignatures(archive, open_store(settings.cosigned, remember=False))
    except UserError as error:
        trouble.append(str(error))
    history = verify_history(archive, receipts, others_of(settings), utc_now())
    for finding in history.findings:
        context.log.error(finding.text)
    stated = made.stored.checkpoint
    return dg.MaterializeResult(
        metadata={
            "summary": f"checkpoint {made.stored.number}: {counted(stated.size, 'receipt')}, {made.added} of them new",
            "checkpoint": made.stored.number,
            "at": format_time(made.stored.signed.at),
            "receipts": stated.size,
            "added": made.added,
            "root": stated.root.hex(),
            "key": made.stored.key,
            "untrusted": len(made.untrusted),
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(stated.root.hex()),
        check_results=[history_unbroken(history.findings), checkpoint_vouched_for(trouble)],
    )


checkpoint_daily = dg.ScheduleDefinition(
    name="checkpoint_daily",
    target=dg.AssetSelection.assets("receipt_checkpoint"),
    tags=run_tags(["receipt_checkpoint"], (), utc_now(), "the daily checkpoint"),
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="All receipts of the day before are signed, with everything before them.",
)
