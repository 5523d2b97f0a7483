"""Model files of other people: refused with what to do, or made into one in which nothing is left to change."""

from __future__ import annotations

from collections.abc import Iterator

from yolo_assets.models.foreign_file import read_foreign
from yolo_assets_tests.fuzz import onnx_file
from yolo_assets_tests.fuzz.law import refused_or
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_onnx

LONGEST = onnx_file.LONGEST
NAMES = (None, tuple(CLASS_NAMES), ("a",), ("a", "a"), ())


def seeds() -> Iterator[bytes]:
    """Models of which nothing must be rewritten, and of which the sides, the batch, or the names must."""
    for data in onnx_file.seeds():
        yield from (b"\0" + data, b"\1" + data)
    for side, batch in ((None, 1), (32, 2)):
        model = tiny_onnx(CLASS_NAMES, 32, 32)
        sizes = model.graph.input[0].type.tensor_type.shape.dim
        sizes[0].dim_value = batch
        for dimension in sizes[2:] if side is None else ():
            dimension.dim_param = "side"
        entry = model.metadata_props.add()
        entry.key, entry.value = "imgsz", "[32, 32]"
        yield b"\1" + model.SerializeToString()


def check(data: bytes) -> None:
    """The first byte says which class names a person gives; the rest is the file."""
    if not data:
        return
    found = refused_or(lambda: read_foreign(data[1:], NAMES[data[0] % len(NAMES)]))
    if found is None:
        return
    again = read_foreign(found.onnx, found.class_names)
    assert again.onnx == found.onnx and not again.changes, again.changes
    assert (again.input_shape, again.layout, again.stride) == (found.input_shape, found.layout, found.stride)
