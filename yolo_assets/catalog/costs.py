"""What the archive costs, from a price table that the operator writes: by month here, over years in ``outlook``.

Belongs here: prices and arithmetic. Does not belong here: how much there is (``read.stats``). Tiers follow from the age
of an hour (0-7, 8-90, 91 days and more), or from the store's own listing.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Literal, get_args

import polars as pl
from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Record, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ARCHIVES
from yolo_assets.storage.base import ObjectStore

Tier = Literal["standard", "infrequent", "cold"]
TIERS: tuple[Tier, ...] = get_args(Tier)

GIB = 2**30
_EXAMPLE = Path(__file__).with_name("prices.toml")


class TierPrice(Record):
    """What one tier costs; what a table leaves out costs nothing.

    Attributes:
        per_gib_month: storage of 2^30 bytes for a month.
        storage_classes: what a store calls the tier in a listing.
        per_thousand_writes: requests that put an object into it or move one there.
        retrieval_per_gib: reading 2^30 bytes back, on top of what the line costs.
    """

    per_gib_month: float = Field(ge=0, allow_inf_nan=False)
    storage_classes: tuple[str, ...] = ()
    per_thousand_writes: float = Field(default=0, ge=0, allow_inf_nan=False)
    retrieval_per_gib: float = Field(default=0, ge=0, allow_inf_nan=False)


class Prices(Record):
    """A price table; ``label`` names whose prices, where and when. ``second_copy`` is the place of a replica."""

    label: str = Field(min_length=1)
    currency: str = Field(min_length=1)
    standard: TierPrice
    infrequent: TierPrice
    cold: TierPrice
    second_copy: TierPrice = TierPrice(per_gib_month=0)

    def of(self, tier: Tier) -> TierPrice:
        """The price of a tier."""
        price: TierPrice = getattr(self, tier)
        return price

    def monthly(self, size: int, tier: Tier) -> float:
        """What ``size`` bytes cost a month in a tier."""
        return size / GIB * self.of(tier).per_gib_month

    def tier_of(self, storage_class: str | None) -> Tier | None:
        """The tier that a store's storage class belongs to; None when the table does not name it."""
        return next((tier for tier in TIERS if storage_class in self.of(tier).storage_classes), None)


def load_prices(path: Path | None = None) -> Prices:
    """Read a price table; the example that is shipped without a path.

    Raises:
        BadInputError: no such file, not TOML, or not such a table.
    """
    try:
        return Prices.model_validate(tomllib.loads((path or _EXAMPLE).read_text()))
    except OSError as error:
        raise BadInputError(f"the price table {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"the price table {path} is not TOML: {error}") from None
    except ValidationError as error:
        raise BadInputError(f"the price table {path} is not complete: {one_line(error)}") from None


def with_costs(table: pl.DataFrame, prices: Prices) -> pl.DataFrame:
    """``table`` with ``cost_per_month``, from its columns ``standard, infrequent, cold`` or ``tier, bytes``."""
    if "tier" in table.columns:
        costs = [
            None if tier is None else prices.monthly(size, tier)
            for tier, size in table.select("tier", "bytes").iter_rows()
        ]
    else:
        costs = [
            sum(prices.monthly(size, tier) for tier, size in zip(TIERS, sizes, strict=True))
            for sizes in table.select(TIERS).iter_rows()
        ]
    return table.with_columns(pl.Series("cost_per_month", costs, pl.Float64).round(2))


def listed_classes(archive: ObjectStore, prices: Prices) -> pl.DataFrame:
    """Where the store has really put the archives; one request per thousand of them.

    Returns:
        ``storage_class, tier, archives, bytes``. A store without storage classes lists them as null, and a class that
        the prices do not name has no tier.
    """
    totals: dict[str | None, list[int]] = defaultdict(lambda: [0, 0])
    for info in archive.list(ARCHIVES):
        totals[info.storage_class][0] += 1
        totals[info.storage_class][1] += info.size
    rows = [(name, prices.tier_of(name), count, size) for name, (count, size) in totals.items()]
    schema = {"storage_class": pl.String, "tier": pl.String, "archives": pl.Int64, "bytes": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("storage_class", nulls_last=True)
