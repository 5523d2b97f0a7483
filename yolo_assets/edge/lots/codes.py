"""Batch and part out of codes in a picture: DataMatrix and QR, by zxing-cpp.

What a code says comes from whoever printed it: it is cut, matched with the configured patterns and checked like every
other name. A picture in which two codes name different parts names none.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

import zxingcpp

from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.config.codes import Codes
from yolo_assets.edge.lots.book import Lot, LotBook, check_lot_name
from yolo_assets.edge.types import Picture

log = logging.getLogger(__name__)
LONGEST_CODE = 256
"""Characters of a code that are looked at: what is longer is no name, and patterns take time."""
_FORMATS = {"datamatrix": zxingcpp.BarcodeFormat.DataMatrix, "qr": zxingcpp.BarcodeFormat.QRCode}


@dataclass(frozen=True)
class CodesRead:
    """What the codes of one picture name; None: nothing, or not one thing."""

    batch_id: str | None = None
    part_id: str | None = None


class CodeReader:
    """Reads the codes of one camera; used by its capture thread alone.

    Args:
        settings: patterns and area.
        read: gives the texts in a picture; replaced in tests.
    """

    def __init__(self, settings: Codes, read: Callable[[Picture], list[str]] | None = None) -> None:
        self._area = settings.area
        self._batch = re.compile(settings.batch_id) if settings.batch_id is not None else None
        self._part = re.compile(settings.part_id) if settings.part_id is not None else None
        self._formats = zxingcpp.BarcodeFormats([_FORMATS[name] for name in settings.formats])
        self._read = read or self._texts
        self._counts: Counter[str] = Counter()

    def read(self, picture: Picture) -> CodesRead:
        """The names in a picture ``[h, w, 3]``. Never raises for what a code holds."""
        texts = self._read(self._looked_at(picture))
        self._counts["codes"] += len(texts)
        return CodesRead(self._name(self._batch, texts), self._name(self._part, texts))

    def status(self) -> dict[str, Any]:
        """Counts since the start: codes seen, names taken, what was ambiguous or no name."""
        return {key: self._counts[key] for key in ("codes", "names", "ambiguous", "refused")}

    def _looked_at(self, picture: Picture) -> Picture:
        if self._area is None:
            return picture
        height, width = picture.shape[:2]
        left, top, right, bottom = self._area
        return picture[int(top * height) : ceil(bottom * height), int(left * width) : ceil(right * width)]

    def _texts(self, picture: Picture) -> list[str]:
        if picture.size == 0:
            return []
        found: Iterable[Any] = zxingcpp.read_barcodes(picture, formats=self._formats, text_mode=zxingcpp.TextMode.HRI)
        return [code.text for code in found if code.valid]

    def _name(self, pattern: re.Pattern[str] | None, texts: list[str]) -> str | None:
        if pattern is None:
            return None
        names: set[str] = set()
        for text in texts:
            match = pattern.search(text) if len(text) <= LONGEST_CODE else None
            if match is None:
                continue
            try:
                names.add(check_lot_name((match[1] or "").strip()))
            except ValueError:
                self._counts["refused"] += 1
        if len(names) > 1:
            self._counts["ambiguous"] += 1
            return None
        self._counts["names"] += len(names)
        return next(iter(names), None)


class LotReader:
    """The codes of one camera and what follows from them: a batch holds for the camera from this picture on.

    Args:
        camera_id: the camera.
        codes: its reader.
        book: where the batch is changed.
    """

    def __init__(self, camera_id: str, codes: CodeReader, book: LotBook) -> None:
        self.codes = codes
        self._camera_id = camera_id
        self._book = book

    def read(self, picture: Picture, captured_at: datetime) -> CodesRead:
        """What the picture names; where that is another batch, it is in force before any later frame gets its lot."""
        found = self.codes.read(picture)
        if found.batch_id is not None:
            lot = Lot(batch_id=found.batch_id)
            try:
                self._book.change_by_code(self._camera_id, lot, captured_at)
            except UserError as error:  # this frame has the batch all the same, by what it shows
                log.error("camera %s: batch %s of a code: %s", self._camera_id, found.batch_id, error)
        return found
