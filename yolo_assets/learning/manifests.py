"""A dataset's manifest in the store: a small head in JSON, and beside it a row an image in Parquet.

datasets/<sha256 of the head>/items.parquet    the images, those that are in no split too; written first
datasets/<sha256 of the head>/manifest.json    the head, with the hash of the rows: the commit point

Any tool reads the rows without this project. A version of 0.1 is one JSON document, and read as before. Does not belong
here: which version is the newest, how one is built (``dataset``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import orjson
import polars as pl

from yolo_assets.contracts.base import is_json_object
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import dataset_key
from yolo_assets.learning.records import ArchiveRef, DatasetHead, DatasetItem, DatasetManifest
from yolo_assets.storage import AlreadyExistsError, ObjectStore

HEAD = "manifest.json"
ITEMS = "items.parquet"

_BOX = pl.Struct({"bbox": pl.List(pl.Float64), "class": pl.String})
_SCHEMA = pl.Schema(
    {
        "image_path": pl.String(),
        "sha256": pl.String(),
        "split": pl.String(),
        "group": pl.String(),
        "width": pl.Int64(),
        "height": pl.Int64(),
        "boxes": pl.List(_BOX),
        "camera_id": pl.String(),
        "captured_at": pl.Datetime("ms", "UTC"),
        "archive_key": pl.String(),
        "member": pl.String(),
        "file_name": pl.String(),
        "dhash": pl.String(),
        "hard": pl.List(pl.String()),
        "object_ids": pl.List(pl.String()),
        "batch_id": pl.String(),
        "golden": pl.Boolean(),
        "excluded": pl.String(),
    }
)
_OF_ITEM = [name for name in _SCHEMA.names() if name not in ("boxes", "archive_key", "member", "excluded")]
_ROWS_A_GROUP = 8_192


@dataclass(frozen=True)
class ManifestFiles:
    """The bytes of a manifest.

    Attributes:
        head: JSON; its SHA-256 is the name of the version.
        items: Parquet.
    """

    head: bytes
    items: bytes

    @property
    def sha256(self) -> str:
        """The version's name."""
        return hashlib.sha256(self.head).hexdigest()


def manifest_files(manifest: DatasetManifest) -> ManifestFiles:
    """What is written of a manifest; the same manifest always gives the same bytes."""
    items = _items_file(manifest)
    facts = manifest.model_dump(include=set(DatasetHead.model_fields) - {"schema_version", "excluded"})
    head = DatasetHead(
        **facts,
        items_sha256=hashlib.sha256(items).hexdigest(),
        images=len(manifest.items),
        excluded=len(manifest.excluded),
    )
    return ManifestFiles(head.to_json(), items)


def read_manifest(head: bytes, items: Callable[[], bytes], source: str) -> DatasetManifest:
    """The manifest in what was written.

    Args:
        head: of either form; a document of 0.1 holds the images itself.
        items: fetches the rows of the other form.
        source: what errors name.

    Raises:
        BadInputError: not a manifest.
        IntegrityError: the rows are not those that the head names.
    """
    if _is_whole(head):
        return DatasetManifest.from_json(head, source)
    facts = DatasetHead.from_json(head, source)
    data = items()
    if hashlib.sha256(data).hexdigest() != facts.items_sha256:
        raise IntegrityError(f"{ITEMS} beside {source} was changed; restore it, or build the dataset again")
    rows = pl.read_parquet(BytesIO(data))
    inside = rows.filter(pl.col("split").is_not_null())
    excluded = rows.filter(pl.col("split").is_null()).select("image_path", "excluded")
    return DatasetManifest(
        **facts.model_dump(include=set(DatasetManifest.model_fields) - {"schema_version", "excluded"}),
        items=tuple(_item(row) for row in inside.iter_rows(named=True)),
        excluded=dict(excluded.iter_rows()),
    )


def read_head(store: ObjectStore, sha256: str) -> DatasetHead:
    """What is known of a stored version besides its images; of one of 0.1 the whole document is read.

    Raises:
        ObjectNotFoundError: no such version.
        IntegrityError: its bytes are not those of its name.
    """
    data, key = _stored(store, sha256)
    if not _is_whole(data):
        return DatasetHead.from_json(data, key)
    return DatasetHead.from_json(manifest_files(DatasetManifest.from_json(data, key)).head, key)


def read_stored(store: ObjectStore, sha256: str) -> DatasetManifest:
    """The manifest of a stored version.

    Raises:
        ObjectNotFoundError: no such version.
        IntegrityError: its bytes are not those of its name.
    """
    data, key = _stored(store, sha256)
    return read_manifest(data, lambda: store.get(dataset_key(sha256, ITEMS)), key)


def write_stored(store: ObjectStore, manifest: DatasetManifest) -> str:
    """Write a version, rows first; returns its name. The same manifest again changes nothing."""
    files = manifest_files(manifest)
    for name, data in ((ITEMS, files.items), (HEAD, files.head)):
        try:
            store.put_if_absent(dataset_key(files.sha256, name), data)
        except AlreadyExistsError:
            pass  # the same inputs gave the same version before
    return files.sha256


def _stored(store: ObjectStore, sha256: str) -> tuple[bytes, str]:
    key = dataset_key(sha256, HEAD)
    data = store.get(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(
            f"{key} is not what its name promises; it was changed. Restore it, or build the dataset again"
        )
    return data, key


def _is_whole(head: bytes) -> bool:
    try:
        document = orjson.loads(head)
    except orjson.JSONDecodeError:
        return True  # and refused as such
    return not is_json_object(document) or "items_sha256" not in document


def _items_file(manifest: DatasetManifest) -> bytes:
    columns = {name: [getattr(item, name) for item in manifest.items] for name in _OF_ITEM}
    columns |= {
        "archive_key": [item.source.archive_key if item.source else None for item in manifest.items],
        "member": [item.source.member if item.source else None for item in manifest.items],
    }
    schema = {name: kind for name, kind in _SCHEMA.items() if name in columns}
    inside = pl.DataFrame(columns, schema=schema).with_columns(_boxes(manifest.items))
    outside = pl.DataFrame(
        {"image_path": list(manifest.excluded), "excluded": list(manifest.excluded.values())},
        schema={name: _SCHEMA[name] for name in ("image_path", "excluded")},
    )
    rows = pl.concat([inside, outside.sort("image_path")], how="diagonal").select(_SCHEMA.names())
    buffer = BytesIO()
    rows.write_parquet(buffer, compression="zstd", row_group_size=_ROWS_A_GROUP)
    return buffer.getvalue()


def _boxes(items: Sequence[DatasetItem]) -> pl.Series:
    """The column of boxes, from flat columns: a dictionary for each box would take longer than all else."""
    counts = [len(item.boxes) for item in items]
    corners = np.array([box.bbox for item in items for box in item.boxes], np.float64).reshape(-1, 4)
    flat = pl.DataFrame(
        {
            "row": np.repeat(np.arange(len(items)), counts),
            "bbox": pl.Series(corners, dtype=pl.Array(pl.Float64, 4)).cast(pl.List(pl.Float64)),
            "class": pl.Series([box.class_name for item in items for box in item.boxes], dtype=pl.String),
        }
    )
    found = flat.select("row", pl.struct("bbox", "class").alias("boxes")).group_by("row", maintain_order=True).all()
    every = pl.DataFrame({"row": np.arange(len(items))}).join(found, "row", how="left", maintain_order="left")
    none = pl.lit([], dtype=pl.List(_BOX))
    boxes = pl.when(pl.col("boxes").is_null()).then(none).otherwise(pl.col("boxes"))
    return every.select(boxes.alias("boxes"))["boxes"].rechunk()


def _item(row: dict[str, object]) -> DatasetItem:
    archive_key, member = row.pop("archive_key"), row.pop("member")
    del row["excluded"]
    source = ArchiveRef.model_validate({"archive_key": archive_key, "member": member}) if archive_key else None
    return DatasetItem.model_validate({**row, "source": source})
