"""Whether the labels of a file are right: each image is accepted as a whole, rejected, or a question to a person.

An image with one bad row is not accepted with the row left out, because an object without its box teaches a model to
overlook it. What a file does not say about an image ("no box") is no proof: where something speaks against it, the
image waits until a person answers. Does not belong here: reading files (``learning.formats``), storing (``labels``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import check_class_name, dataset_image_key
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.records import (
    AcceptedLabels,
    ImportOptions,
    LabelBox,
    LabelledImage,
    Rejected,
)
from yolo_assets.storage import AlreadyExistsError, ObjectNotFoundError, ObjectStore
from yolo_assets.vision.picture_head import read_head
from yolo_assets.vision.pictures import decode_image

TOLERANCE = 1.5
"""Pixels by which a box may reach outside the image and is clipped: tools round coordinates."""

MIN_SIDE = 1.0
"""Pixels below which the side of a box is a slip of the hand."""

SAME_SHAPE = 0.02
"""Part by which the shape of a copy may differ from its original's: sizes are rounded."""

SAME_GREY = 25.0
"""Difference of grey, of 255, of one cell of 32x32 above which a copy shows something else than its original."""


class Earlier(NamedTuple):
    """Labels that count now, and since when."""

    image: LabelledImage
    imported_at: datetime


@dataclass
class _Judged:
    """An image of a file with its place in the store, its boxes, and what is wrong with it."""

    raw: RawImage
    target: LabelledImage | None = None
    boxes: tuple[LabelBox, ...] = ()
    problems: list[str] = field(default_factory=list)


def validate(
    parsed: LabelFile,
    known: KnownImages,
    class_names: Collection[str] | None,
    *,
    source_file: str,
    source_sha256: str,
    pictures: ObjectStore | None = None,
    options: ImportOptions | None = None,
    earlier: Mapping[str, Earlier] | None = None,
) -> AcceptedLabels:
    """Accept, reject or question every image of a parsed file.

    Args:
        parsed: from ``formats.recognise.parse``.
        known: images that labels may be about.
        class_names: classes that are allowed; None allows any well-formed name.
        source_file: name of the inbox file.
        source_sha256: its hash.
        pictures: where images that came with the labels are stored, once by hash.
        options: what a person said about the file.
        earlier: the labels that count now, by the SHA-256 of the image; None asks no questions about the file as a
            whole.
    """
    options = options or ImportOptions()
    judged = [_judge(raw, known, class_names, pictures, options) for raw in parsed.images]
    _refuse_twins(judged)
    rejected = [_told(name, problem) for name, problem in parsed.orphans]
    questions: list[Rejected] = []
    images: dict[str, LabelledImage] = {}
    unasked = 0
    asked = _asked(parsed, judged, known, options, earlier)
    for number, one in enumerate(judged):
        path = one.target.image_path if one.target is not None else None
        rejected += [_told(one.raw.name, problem, path) for problem in one.problems]
        if one.problems or one.target is None:
            continue
        if number in asked:
            questions.append(_told(one.raw.name, asked[number], path))
            continue
        if one.raw.data is not None and one.target.source is None and pictures is not None:
            _store_image(pictures, one.target, one.raw.data)
        unasked += not (one.boxes or one.raw.reviewed or options.covers(one.raw.name))
        images[one.target.image_path] = one.target.model_copy(
            update={"boxes": one.boxes, "annotator": one.raw.annotator or options.by}
        )
    return AcceptedLabels(
        source_file=source_file,
        source_sha256=source_sha256,
        format=parsed.format,
        imported_at=utc_now(),
        images=tuple(images[path] for path in sorted(images)),
        rejected=tuple(rejected),
        questions=tuple(questions),
        unreviewed=parsed.unreviewed,
        unasked=unasked,
    )


def _told(image: str, reason: str, image_path: str | None = None) -> Rejected:
    """A problem as people read it: names in a file may hold anything, line breaks among it."""
    return Rejected(image=plain(image), reason=plain(reason), image_path=image_path)


def _judge(
    raw: RawImage,
    known: KnownImages,
    class_names: Collection[str] | None,
    pictures: ObjectStore | None,
    options: ImportOptions,
) -> _Judged:
    """One image by itself. Whatever is odd about it is its own problem and nobody else's."""
    judged = _Judged(raw, problems=list(raw.problems))
    try:
        judged.target = _target(raw, known, pictures, judged.problems)
        if judged.target is not None:
            judged.boxes = tuple(_boxes(raw, judged.target, class_names, options.class_map, judged.problems))
    except (BadInputError, IntegrityError, SignatureError, ObjectNotFoundError) as error:
        judged.problems.append(str(error))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        judged.problems.append(f"cannot be read ({type(error).__name__}: {error}); export it again")
    return judged


def _refuse_twins(judged: list[_Judged]) -> None:
    """Where a file labels an image twice, nobody knows which of the two is meant."""
    by_path: dict[str, list[_Judged]] = {}
    for one in judged:
        if one.target is not None:
            by_path.setdefault(one.target.image_path, []).append(one)
    for path, several in by_path.items():
        # Of pictures that came along, two files may be one picture: a camera that sends the same bytes twice.
        copies = len({one.raw.name for one in several}) == len(several) and path.startswith("imported/")
        if len(several) > 1 and not (copies and len({one.boxes for one in several}) == 1):
            for one in several:
                one.problems.append("the file labels this image twice; leave one of the two")


def _asked(
    parsed: LabelFile,
    judged: list[_Judged],
    known: KnownImages,
    options: ImportOptions,
    earlier: Mapping[str, Earlier] | None,
) -> dict[int, str]:
    """The images that wait for an answer, by position, and what is asked."""
    good = [(number, one, one.target) for number, one in enumerate(judged) if one.target and not one.problems]
    nothing_but_backgrounds = bool(good) and not any(one.boxes for _, one, _ in good)
    asked: dict[int, str] = {}
    for number, one, target in good:
        before = (earlier or {}).get(target.sha256)
        had = len(before.image.boxes) if before else 0
        taken = had - len(one.boxes)
        if not one.boxes and parsed.lost:
            asked[number] = (
                f"no box, but the file has rows that belong to no image (in all {parsed.lost}), and one may be "
                "about this one; export it again"
            )
            continue
        if options.covers(one.raw.name) or options.covers(target.image_path):
            continue
        guess = known.guess(target.image_path)
        reason = None
        if not one.boxes and one.raw.unsure:
            reason = one.raw.unsure
        elif taken > 0 and before and one.raw.reviewed_at and one.raw.reviewed_at < before.imported_at:
            when = format_time(before.imported_at)
            reason = f"reviewed before the labels of {when} came, and boxes would go: {had}, then {len(one.boxes)}"
        elif one.raw.reviewed or earlier is None:
            pass  # a person looked at it; what the file says is their answer
        elif taken > 0:
            reason = f"boxes would go: it was labelled with {had}, and the file has {len(one.boxes)}"
        elif not one.boxes and guess is not None:
            reason = f"no box, but the model saw {guess.class_name} with confidence {guess.confidence:.2f}"
        elif nothing_but_backgrounds:
            reason = "no box, as in all images of the file"
        if reason is not None:
            asked[number] = f"{reason}; if it was reviewed and this is meant, say so (--reviewed, --all-reviewed)"
    return asked


def _target(
    raw: RawImage, known: KnownImages, pictures: ObjectStore | None, problems: list[str]
) -> LabelledImage | None:
    """The image that the labels are about, without its boxes; None adds the reason to ``problems``."""
    item = known.find(raw)
    if item is not None:
        _check_size(raw, item.width, item.height, problems)
        if raw.data is not None and hashlib.sha256(raw.data).hexdigest() != item.sha256:
            _check_copy(raw.data, item, pictures, problems)
        return item
    if raw.data is None:
        problems.append(
            "unknown image: in no annotation batch; keep the file names of the batch, or send a zip with images"
        )
        return None
    height, width = decode_image(raw.data, "the image in the zip").shape[:2]
    _check_size(raw, width, height, problems)
    digest = hashlib.sha256(raw.data).hexdigest()
    path = f"imported/{digest}{read_head(raw.data, 'the image in the zip').ending}"
    return LabelledImage(
        image_path=path, sha256=digest, width=width, height=height, boxes=(), file_name=raw.name.replace("\\", "/")
    )


def _check_copy(data: bytes, item: LabelledImage, store: ObjectStore | None, problems: list[str]) -> None:
    """Tools save pictures anew, which is no matter, but they also cut, flip and turn them."""
    copy = decode_image(data, "the image in the zip")
    height, width = copy.shape[:2]
    if abs(width * item.height / (height * item.width) - 1) > SAME_SHAPE:
        problems.append(
            f"the image in the zip has {width}x{height}, the batch's {item.width}x{item.height}; "
            "export without resizing and cutting"
        )
        return
    try:
        original = decode_image(store.get(item.copy_key), item.copy_key) if store and item.copy_key else None
    except ObjectNotFoundError:
        return  # batches may be cleared away once they are labelled
    if original is None:
        return
    difference = _thumbnail(copy) - _thumbnail(original)
    if float(np.abs(difference - difference.mean()).max()) > SAME_GREY:  # a copy that is brighter all over is the same
        problems.append("the image in the zip is not the batch's; export without flipping, turning and augmentation")


def _thumbnail(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = cv2.resize(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _check_size(raw: RawImage, width: int, height: int, problems: list[str]) -> None:
    told = (raw.width or width, raw.height or height)
    if told == (width, height):
        return
    hint = "label that"
    if told == (height, width):
        hint = "the tool did not turn it as its orientation says; label it upright"
    problems.append(f"labelled at {told[0]}x{told[1]}, but the image has {width}x{height}; {hint}")


def _boxes(
    raw: RawImage,
    target: LabelledImage,
    class_names: Collection[str] | None,
    class_map: Mapping[str, str],
    problems: list[str],
) -> Iterator[LabelBox]:
    for number, box in enumerate(raw.boxes, 1):
        class_name = class_map.get(box.class_name or "", box.class_name)
        class_problem = _class_problem(class_name, class_names)
        if class_problem:
            problems.append(f"box {number}: {class_problem}")
            continue
        if box.confidence is not None:
            problems.append(f"box {number}: it has a score, so it is a model's guess; export what people labelled")
            continue
        x1, y1, x2, y2 = _upright(box, target)
        shown = f"[{x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f}]"
        outside = max(-x1, -y1, x2 - target.width, y2 - target.height)
        if not box.rotation and outside > TOLERANCE:
            problems.append(
                f"box {number}: {shown} lies {outside:.1f} px outside the {target.width}x{target.height} image"
            )
            continue
        x1, x2 = (min(max(v, 0.0), float(target.width)) for v in (x1, x2))
        y1, y2 = (min(max(v, 0.0), float(target.height)) for v in (y1, y2))
        if min(x2 - x1, y2 - y1) < MIN_SIDE:
            problems.append(f"box {number}: {shown} is less than {MIN_SIDE:g} px wide or high")
            continue
        # A hundredth of a pixel: what three formats can carry without loss, and more than anyone can draw.
        yield LabelBox.model_validate({"bbox": tuple(round(v, 2) for v in (x1, y1, x2, y2)), "class": class_name or ""})


def _upright(box: RawBox, target: LabelledImage) -> tuple[float, float, float, float]:
    """The box in pixels; of a turned one, the upright box around it."""
    scale = (target.width, target.height) if box.unit == "fraction" else (1, 1)
    x1, y1, x2, y2 = (v * scale[i % 2] for i, v in enumerate(box.xyxy))
    if not box.rotation:
        return x1, y1, x2, y2
    turn = math.radians(box.rotation)
    # Quarter turns exactly: their sine and cosine are whole numbers, which floats miss by 1e-16.
    cos, sin = round(math.cos(turn), 15), round(math.sin(turn), 15)
    px, py = (x1, y1) if box.pivot == "corner" else ((x1 + x2) / 2, (y1 + y2) / 2)
    corners = [(x - px, y - py) for x in (x1, x2) for y in (y1, y2)]
    xs, ys = [px + x * cos - y * sin for x, y in corners], [py + x * sin + y * cos for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _class_problem(class_name: str | None, class_names: Collection[str] | None) -> str | None:
    if class_name is None:
        return "it names no class, or more than one"
    if class_names is not None and class_name not in class_names:
        return (
            f"unknown class {class_name!r}; known are {', '.join(sorted(class_names))}; "
            "add it to YOLO_ASSETS_CLASSES, or map it to one of these (--class-map)"
        )
    try:
        check_class_name(class_name)
    except BadInputError as error:
        return str(error)
    return None


def _store_image(store: ObjectStore, image: LabelledImage, data: bytes) -> None:
    try:
        store.put_if_absent(dataset_image_key(image.sha256, image.image_path), data)
    except AlreadyExistsError:
        pass
