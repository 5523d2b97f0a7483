"""``yolo-assets edge audit``: verifies the audit log of an edge device."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli import common
from yolo_assets.contracts.errors import IntegrityError, UsageError
from yolo_assets.contracts.names import check_id

if TYPE_CHECKING:
    from yolo_assets.edge.audit.verify import LogReport

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Audit log of every model change: verify.",
    epilog="Example: yolo-assets edge audit verify --help",
)


@app.callback()
def _group() -> None:
    """Keeps ``verify`` a subcommand."""


@app.command()
def verify(
    state: Annotated[
        Path | None, typer.Option("--state", help="State folder of the agent, to verify the log on the device.")
    ] = None,
    store: common.StoreOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Device whose copy in the store is verified.",
            parser=common.valid(partial(check_id, what="device id")),
        ),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            help="Public key of the device, state/audit/device.key.pub, kept elsewhere. Without it the key in "
            "the log itself is used, which reveals every change except a log that was rewritten as a whole.",
            metavar="PUB",
        ),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Find every changed, removed, inserted or moved line of a device's audit log; exit 1 if there is one.

    With --state and --device together, the log on the device is also compared with its copy in the store.

    Example: yolo-assets edge audit verify --store s3://plant-store/yolo --device lineA_box1
    """
    from yolo_assets.contracts.names import check_id
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.edge.audit.verify import DeviceCopies, compare, verify_device
    from yolo_assets.storage.open import folder_of, open_store

    if store is not None and device is None:
        raise UsageError("--store needs --device, the device_id of the agent's configuration")
    if state is None and device is None:
        raise UsageError("give what to check: --state DIR, --store URL with --device ID, or both")
    keys = TrustedKeys.load(key) if key else None
    local: list[LogReport] = []
    stored: list[LogReport] = []
    differences: list[str] = []
    if state is not None:
        local = verify_device(state / "audit", keys)
    if device is not None:
        check_id(device, "device id")
        url = common.settings(store=store).store_url
        folder = folder_of(url)
        if folder is not None and not folder.is_dir():
            raise UsageError(f"there is no store at {folder}; correct --store, or mount it")
        stored = DeviceCopies.read(open_store(url), device).verify(keys)
    if state is not None and device is not None:
        differences = compare(local, stored)
    reports = [*local, *stored]
    findings = [f"{report.place}: log {report.log_id}: {text}" for report in reports for text in report.findings]
    findings += differences
    if as_json:
        common.emit_json({"ok": not findings, "findings": findings, "logs": [_document(report) for report in reports]})
    else:
        _show(reports, differences)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise IntegrityError(f"the audit log is not as it was written: {findings[0]}{more}")


def _document(report: LogReport) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(report).items() if name != "digests"}


def _show(reports: list[LogReport], differences: list[str]) -> None:
    out = common.out()
    for report in reports:
        result = "DIFFERS" if report.findings else "good"
        span = f"lines {report.first} to {report.last}" if report.lines else "no lines"
        out.print(
            f"{report.place:<6} {report.device_id} log {report.log_id}: {span}, {result}", markup=False, soft_wrap=True
        )
        for text in report.findings:
            out.print(f"       wrong: {text}", markup=False, soft_wrap=True)
        for text in report.notes:
            out.print(f"       note: {text}", markup=False, soft_wrap=True)
    for text in differences:
        out.print(f"wrong: {text}", markup=False, soft_wrap=True)
