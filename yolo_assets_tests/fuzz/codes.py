"""Codes in pictures: whatever a label or a damaged picture says, a name that may stand in a record, or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import zxingcpp

from yolo_assets.edge.config.codes import Codes
from yolo_assets.edge.lots.book import check_lot_name
from yolo_assets.edge.lots.codes import CodeReader
from yolo_assets_tests.fuzz.law import refused_or

LONGEST = 16 << 10
SETTINGS = (
    Codes(batch_id=r"^B:(.*)$", part_id=r"P(\d+)"),
    Codes(batch_id=r"(.*)", part_id=r"(?s)(.+)", area=(0.1, 0.1, 0.9, 0.9)),
)
TEXT = b"\x1e"
"""Between the texts of an input that stands for codes that were read already."""


def seeds() -> Iterator[bytes]:
    """Pictures of both kinds of code, whole and cut; and texts that printers, scanners and others put into codes."""
    maker: Any = zxingcpp
    for kind in (zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.DataMatrix):
        for text in ("B:LOT-7", "P0815", "B:\u710a\u7f1d", "x" * 60):
            grey = np.pad(
                np.array(maker.write_barcode_to_image(maker.create_barcode(text, kind), scale=2)),
                6,
                constant_values=255,
            )
            for rows in (len(grey), len(grey) // 2):
                yield b"\0" + bytes([grey.shape[1] % 256]) + grey[:rows].tobytes()
    for texts in ((b"B:LOT-7", b"P1"), (b"B:a", b"B:b"), (b"B:..", b"P" + b"9" * 300), (b"", b"\xff\0\n"), (b"B: a ",)):
        yield b"\1\0" + TEXT.join(texts)


def check(data: bytes) -> None:
    """The first byte says how to read the rest, the second how wide a picture is."""
    if len(data) < 2:
        return
    reader = CodeReader(SETTINGS[data[0] >> 1 & 1])
    width, rest = max(data[1], 1), data[2:]
    picture = np.frombuffer(rest[: len(rest) // width * width], np.uint8).reshape(-1, width)
    if data[0] & 1:
        texts = [text.decode("utf-8", "replace") for text in rest.split(TEXT)]
        reader = CodeReader(SETTINGS[data[0] >> 1 & 1], lambda _: texts)
    found = reader.read(np.repeat(picture[..., None], 3, axis=2))
    for name in (found.batch_id, found.part_id):
        assert name is None or check_lot_name(name) == name
    counts = reader.status()
    assert counts["names"] + counts["ambiguous"] <= 2 and counts["refused"] <= 2 * counts["codes"], counts
    assert refused_or(reader.status) == counts
