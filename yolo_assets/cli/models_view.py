"""What the ``models`` commands share: which store and keys they look with, and how they show what they found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_assets.cli.common import emit_json, note, out

if TYPE_CHECKING:
    from yolo_assets.contracts.model import ChannelPointer
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.storage.base import ObjectStore


def opened_store(where: Settings) -> ObjectStore:
    """The store of the settings."""
    from yolo_assets.storage.open import open_store

    return open_store(where.store_url)


def trusted_keys(where: Settings, further: list[Path] | None) -> TrustedKeys:
    """The promotion key, never the archiver's: who may sign receipts may not release models."""
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.contracts.signing import TrustedKeys

    own = where.promotion_key.with_name(where.promotion_key.name + ".pub")
    paths = [*([own] if own.exists() else []), *(further or [])]
    if not paths:
        raise SignatureError(f"no public key at {own}; name one with --trusted-key, or run: yolo-assets models keygen")
    return TrustedKeys.load(paths)


def for_looking(where: Settings, further: list[Path] | None) -> tuple[ObjectStore, TrustedKeys | None]:
    """For looking only: without a key it works too, and says what is missing."""
    from yolo_assets.contracts.errors import SignatureError

    opened = opened_store(where)
    try:
        return opened, trusted_keys(where, further)
    except SignatureError as error:
        if further:
            raise
        note(f"signatures are not checked and channels not shown: {error}")
        return opened, None


def signature_state(store: ObjectStore, name: str, version: str, trusted: TrustedKeys | None) -> str:
    """``none``, ``good``, ``not checked`` or ``bad: why``."""
    from yolo_assets.contracts.errors import UserError
    from yolo_assets.contracts.model import MANIFEST
    from yolo_assets.contracts.names import model_key, signature_key
    from yolo_assets.models.registry import read_stored_manifest

    if store.head(model_key(name, version, signature_key(MANIFEST))) is None:
        return "none"
    if trusted is None:
        return "not checked"
    try:
        read_stored_manifest(store, name, version, trusted)
    except UserError as error:
        return f"bad: {error}"
    return "good"


def channels_of(store: ObjectStore, name: str, trusted: TrustedKeys | None) -> list[dict[str, Any]]:
    """The pointers of a model as JSON objects; one that cannot be verified holds ``channel`` and ``error``."""
    from yolo_assets.contracts.errors import BadInputError, SignatureError
    from yolo_assets.models.channels import list_channels, read_pointer

    found: list[dict[str, Any]] = []
    for channel in list_channels(store, name) if trusted is not None else []:
        try:
            pointer = read_pointer(store, name, channel, trusted) if trusted else None
        except (BadInputError, SignatureError) as error:
            found.append({"channel": channel, "error": str(error)})
            continue
        if pointer is not None:
            found.append(pointer[0].model_dump(mode="json"))
    return found


def metric(value: Any) -> str:
    """A metric of a manifest, with its interval when it has one."""
    return f"{value:.4g}" if isinstance(value, float) else f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"


def show_pointer(pointer: ChannelPointer, as_json: bool) -> None:
    """What a channel serves after it was moved."""
    if as_json:
        emit_json(pointer.model_dump(mode="json"))
    else:
        out().print(f"{pointer.name}/{pointer.channel} serves {pointer.version}, release {pointer.release}")


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """Columns on standard output; one line a row when that is not a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")  # a cut hash or reason is of no use
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = out()
    if not console.is_terminal:
        console.width = max(80, 4 + sum(max(len(row[i]) for row in [columns, *rows]) + 2 for i in range(len(columns))))
    console.print(table)
