"""ONNX files: what they declare, and their contract with a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from yolo_assets.contracts.model import ModelManifest
from yolo_assets.vision.contract import file_problems
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets_tests.fuzz.law import refused_or
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_bundle_files, tiny_onnx

LONGEST = 16 << 10


def seeds() -> Iterator[bytes]:
    """Whole models, their metadata alone, and what is no model at all."""
    for free in (False, True):
        yield tiny_onnx(CLASS_NAMES, 32, 32, free_batch=free).SerializeToString()
    bare = tiny_onnx(CLASS_NAMES, 32, 32)
    del bare.graph.node[:], bare.graph.initializer[:]
    yield bare.SerializeToString()
    entry = bare.metadata_props.add()
    entry.key, entry.value = "names", "{0: 'crack', 1: 'dent'}"
    yield bare.SerializeToString()
    yield b"\x89PNG"


def check(data: bytes) -> None:
    """A file is refused, or its declarations can be read and compared."""
    found = refused_or(lambda: read_onnx(data))
    if found is None:
        return
    names = found.class_names
    assert names is None or all(isinstance(name, str) for name in names)
    assert all(isinstance(problem, str) for problem in file_problems(_promised(), found))


@cache
def _promised() -> ModelManifest:
    return tiny_bundle_files("line", "1")[0]
