"""Does a model file keep what its manifest says, and does a candidate keep what the current model promised?

Belongs here: comparing declarations; each problem is one line with what was expected and what was found. Does not
belong here: loading anything, and whether the model is any good.
"""

from __future__ import annotations

from collections.abc import Sequence

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.model import ModelManifest, OutputLayout
from yolo_assets.vision.onnx_file import OnnxFile, Shape

_END2END = 6
"""Numbers of a box of an end-to-end head: corners, confidence, class."""


def differences(current: ModelManifest, candidate: ModelManifest, *, answers_only: bool = False) -> list[str]:
    """Why one model cannot replace the other without a restart, one line each; empty when it can.

    Thresholds, metrics and golden frames may differ: they travel with the model. Classes (see ``class_differences``),
    task, input shape, output layout and stride are what everything downstream was built on. ``answers_only``: only the
    task and the classes must fit.
    """
    problems = class_differences(
        current.class_names, candidate.class_names, known=current.class_list, declared=candidate.class_list
    )
    for name, old, new in (
        ("task", current.task, candidate.task),
        ("input shape", list(current.input_shape), list(candidate.input_shape)),
        ("output layout", current.output_layout, candidate.output_layout),
        ("stride", current.stride, candidate.stride),
    ):
        if old != new and not (answers_only and name != "task"):
            problems.append(f"{name}: now {old}, candidate {new}")
    return problems


def class_differences(
    current: Sequence[str],
    candidate: Sequence[str],
    *,
    known: ClassList | None = None,
    declared: ClassList | None = None,
) -> list[str]:
    """Classes added, removed and moved, one line each; empty when every class keeps its id.

    Without a list of classes the ordered names must be equal. A candidate that names one may call a class by its new
    name and have more classes at the end: a *declared append*. It may have fewer when it names an earlier version of
    the list that is known: a way back.

    Args:
        current: names of the model that serves, by class id.
        candidate: names of the one that is to serve, by class id.
        known: the list of the model that serves; None when it names none.
        declared: the list of the candidate; None when it names none.
    """
    if known is not None and declared is not None and known.id != declared.id:
        return [f"list of classes: now {known.id}, candidate {declared.id}, which is another plant's"]
    lists = [one for one in (declared, known) if one is not None]
    same = [
        old == new or any(one.id_of(old) == one.id_of(new) == place for one in lists)
        for place, (old, new) in enumerate(zip(current, candidate, strict=False))
    ]
    if lists and all(same):
        appends = declared is not None and all(declared.id_of(name) is not None for name in candidate)
        goes_back = declared is not None and known is not None and declared.version < known.version
        if len(candidate) == len(current) or (appends if len(candidate) > len(current) else goes_back):
            return []
    problems = [
        f"class {name!r} (id {position}) is missing from the candidate"
        for position, name in enumerate(current)
        if name not in candidate
    ]
    problems += [
        f"class {name!r} (id {position}) is new in the candidate"
        for position, name in enumerate(candidate)
        if name not in current
    ]
    problems += [
        f"class {name!r} moves from id {position} to id {candidate.index(name)}"
        for position, name in enumerate(current)
        if name in candidate and candidate.index(name) != position
    ]
    if not problems and tuple(current) != tuple(candidate):
        problems.append(f"class names repeat: now {list(current)}, candidate {list(candidate)}")
    return problems


def layout_of(file: OnnxFile, classes: int) -> OutputLayout | None:
    """The layout that a file's output has by its shape; None for neither, or for more than one output.

    The shape decides, not the metadata: an export with suppression inside (``nms=True``) has the shape of an
    end-to-end head and declares ``end2end: False``.

    Args:
        file: what it declares.
        classes: how many class names the model has.
    """
    if len(file.outputs) != 1:
        return None
    (shape,) = file.outputs.values()
    if len(shape) != 3:
        return None
    if shape[1] == 4 + classes:
        return "raw"
    return "end2end" if shape[2] == _END2END else None


def file_problems(manifest: ModelManifest, file: OnnxFile) -> list[str]:
    """Where an ONNX file contradicts its manifest; empty when it does not.

    Shapes and element types decide. Metadata is optional: what the file does not state is not held against it, and what
    it says of its layout does not count. The batch may be free, the sides may not.
    """
    problems: list[str] = []
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        problems.append(
            f"expected one input and one output, the file has {sorted(file.inputs)} and {sorted(file.outputs)}"
        )
        return problems
    if manifest.input_shape[:2] != (1, 3):
        problems.append(f"input shape {list(manifest.input_shape)}: frames are fed one by one, RGB, [1, 3, H, W]")
    if any(side <= 0 or side % manifest.stride for side in manifest.input_shape[2:]):
        problems.append(f"input shape {list(manifest.input_shape)} is not a multiple of the stride {manifest.stride}")
    (found_input,) = file.inputs.values()
    # A free batch dimension is more than was promised: several frames may then go in at once.
    if found_input != manifest.input_shape and found_input != (None, *manifest.input_shape[1:]):
        problems.append(f"input shape: manifest {list(manifest.input_shape)}, file {_shape_text(found_input)}")
    problems += [
        f"element type: frames go in and boxes come out as float32 or float16, {name} of the file is {kind}"
        for name, kind in file.types.items()
        if kind not in ("float32", "float16")
    ]
    (found_output,) = file.outputs.values()
    classes = len(manifest.class_names)
    raw = manifest.output_layout == "raw"
    axis, size = (1, 4 + classes) if raw else (2, _END2END)
    free = found_input[:1] == (None,)
    batched = found_output[:1] == (1,) or (free and found_output[:1] == (None,))
    # Where the batch is free the number of anchors is often a formula; the first output shows it.
    if len(found_output) != 3 or not batched or found_output[axis] != size or (not free and None in found_output):
        expected = f"[1, {size}, anchors]" if raw else "[1, boxes, 6]"
        problems.append(
            f"output shape: {manifest.output_layout} layout with {classes} classes is {expected}, "
            f"file {_shape_text(found_output)}"
        )
    if len(set(manifest.class_names)) != classes:
        problems.append(f"class names repeat in the manifest: {list(manifest.class_names)}")
    if "names" in file.metadata and file.class_names != manifest.class_names:
        names = "names that cannot be read" if file.class_names is None else list(file.class_names)
        problems.append(f"class names: manifest {list(manifest.class_names)}, file {names}")
    for key, promised in (
        ("task", manifest.task),
        ("stride", str(manifest.stride)),
    ):
        declared = file.metadata.get(key)
        if declared is not None and declared != promised:
            problems.append(f"{key}: manifest {promised}, file {declared}")
    return problems


def _shape_text(shape: Shape) -> str:
    return "[" + ", ".join("not fixed" if size is None else str(size) for size in shape) + "]"
