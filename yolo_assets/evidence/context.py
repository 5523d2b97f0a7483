"""What stands beside the frames: manifests of the models that made the records, and the catalog's rows of the archives.

Both come from the store root, which is not write-once. Neither is needed for the proof; both are checked as far as they
can be.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import polars as pl

from yolo_assets.catalog.read import NoCatalogError, ask, open_catalog
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.model import MANIFEST
from yolo_assets.contracts.names import model_key, parse_model_version, signature_key
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.evidence.find import KnownBatches
from yolo_assets.evidence.manifest import CATALOG_CSV, CATALOG_PARQUET, ModelState, Query, model_path
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError

_CHECKED = ("sha256", "md5_checksum", "archive_size", "index_sha256")


def known_batches(store: ObjectStore | None, query: Query) -> tuple[KnownBatches | None, str]:
    """For the receipts that the catalog knows in the range: whether they name the batch; and what to call that."""
    if store is None:
        return None, "the receipts of the archive"
    sql = "SELECT receipt_key, list_contains(batch_ids, ?) AS named FROM archives WHERE hour >= ? AND hour < ?"
    try:
        with open_catalog(store) as connection:
            start = query.start.replace(minute=0, second=0, microsecond=0)
            rows = ask(connection, sql, [query.batch, start, query.end])
    except NoCatalogError:
        return None, "the receipts of the archive"
    known = dict(zip(rows["receipt_key"], rows["named"], strict=True))
    return known, "the catalog, and the receipts of the archives that it does not know"


def model_files(store: ObjectStore | None, versions: Iterable[str]) -> tuple[list[ModelState], dict[str, bytes]]:
    """The manifests of these models with their signatures, as files of the pack."""
    states: list[ModelState] = []
    files: dict[str, bytes] = {}
    for version in sorted(set(versions)):
        try:
            files |= _one_model(store, version)
            signed = model_path(version, signature_key(MANIFEST)) in files
            note = "manifest and signature" if signed else "manifest; it was never signed"
            states.append(ModelState(model_version=version, included=True, note=note))
        except StoreUnavailableError:
            raise
        except UserError as error:
            states.append(ModelState(model_version=version, included=False, note=str(error)))
    return states, files


def _one_model(store: ObjectStore | None, version: str) -> dict[str, bytes]:
    try:
        name, number = parse_model_version(version)
    except BadInputError:
        raise BadInputError("a name of another system; there is no manifest of it here") from None
    if store is None:
        raise BadInputError("there is no store to look it up in")
    try:
        manifest = Registry(store).read_manifest(name, number, signed=False).data
    except ObjectNotFoundError:
        raise BadInputError("not in the store") from None
    files = {model_path(version, MANIFEST): manifest}
    try:
        files[model_path(version, signature_key(MANIFEST))] = store.get(
            model_key(name, number, signature_key(MANIFEST))
        )
    except ObjectNotFoundError:
        pass
    return files


def catalog_files(store: ObjectStore | None, receipts: Sequence[Receipt]) -> tuple[str, dict[str, bytes]]:
    """The catalog's rows of these archives, as CSV and Parquet, each compared with its signed receipt.

    Raises:
        IntegrityError: a row contradicts its receipt.
    """
    if store is None:
        return "there is no store, so there are no rows of a catalog; the receipts tell the same", {}
    by_key = {receipt.archive_key: receipt for receipt in receipts}
    sql = "SELECT * FROM archives WHERE archive_key IN (SELECT unnest(?::VARCHAR[])) ORDER BY archive_key"
    try:
        with open_catalog(store) as connection:
            rows = ask(connection, sql, [sorted(by_key)])
    except NoCatalogError:
        return "there is no catalog in the store; the receipts tell the same", {}
    for row in rows.iter_rows(named=True):
        receipt = by_key[row["archive_key"]]
        if any(row[field] != getattr(receipt, field) for field in _CHECKED):
            raise IntegrityError(
                f"the catalog contradicts the signed receipt of {receipt.archive_key}; "
                "make it anew with: yolo-assets catalog rebuild"
            )
    said = f"{len(rows)} of {len(by_key)} archives are in the catalog; each row agrees with its receipt"
    if not len(rows):
        return said, {}
    parquet = io.BytesIO()
    rows.write_parquet(parquet)
    return said, {CATALOG_CSV: _csv(rows), CATALOG_PARQUET: parquet.getvalue()}


def _csv(rows: pl.DataFrame) -> bytes:
    """As CSV that a spreadsheet may open: lists joined by spaces, and no cell that it would run as a formula."""
    lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    flat = rows.with_columns(pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(" ") for name in lists)
    texts = [name for name, kind in flat.schema.items() if kind == pl.String]
    harmless = flat.with_columns(pl.col(name).str.replace(r"^([=+\-@\t\r])", "'$1") for name in texts)
    return harmless.write_csv().encode()
