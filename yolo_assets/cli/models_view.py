"""Shared by the ``models`` commands: opening the registry and the promoter, and printing what they return."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_assets.cli.common import emit_json, note, out

if TYPE_CHECKING:
    from yolo_assets.contracts.model import ChannelPointer
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.models.promotion import Promoter
    from yolo_assets.models.registry import Registry


def open_registry(where: Settings, further: list[Path] | None) -> Registry:
    """The registry of the settings, with its keys.

    Raises:
        SignatureError: there is no public key to verify with.
    """
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store

    return Registry(open_store(where.store_url), _promotion_keys(where, further))


def readable_registry(where: Settings, further: list[Path] | None) -> Registry:
    """As ``open_registry``, for commands that only read: without a key too, with a note on what is not shown then."""
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store

    opened = open_store(where.store_url)
    try:
        return Registry(opened, _promotion_keys(where, further))
    except SignatureError as error:
        if further:
            raise
        note(f"signatures are not checked and channels not shown: {error}")
        return Registry(opened)


def open_promoter(where: Settings, further: list[Path] | None) -> Promoter:
    """The registry with the promotion key.

    Raises:
        SignatureError: a key is missing.
    """
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.models.promotion import Promoter

    signer = Signer.load(where.promotion_key)
    return Promoter(open_registry(where, further), signer)


def _promotion_keys(where: Settings, further: list[Path] | None) -> TrustedKeys:
    """The promotion key, never the archiver's: a key that may sign receipts may not release models."""
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.contracts.signing import TrustedKeys

    own = where.promotion_key.with_name(where.promotion_key.name + ".pub")
    paths = [*([own] if own.exists() else []), *(further or [])]
    if not paths:
        raise SignatureError(f"no public key at {own}; name one with --trusted-key, or run: yolo-assets models keygen")
    return TrustedKeys.load(paths)


def signature_state(registry: Registry, name: str, version: str) -> str:
    """``none``, ``good``, ``not checked`` or ``bad: <reason>``."""
    from yolo_assets.contracts.errors import UserError
    from yolo_assets.contracts.model import MANIFEST
    from yolo_assets.contracts.names import model_key, signature_key

    if registry.store.head(model_key(name, version, signature_key(MANIFEST))) is None:
        return "none"
    if not registry.trusted.keys:
        return "not checked"
    try:
        registry.read_manifest(name, version)
    except UserError as error:
        return f"bad: {error}"
    return "good"


def channels_of(registry: Registry, name: str) -> list[dict[str, Any]]:
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
            rows.append(pointer.model_dump(mode="json"))
    return rows


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
