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

from yolo_assets.contracts.class_list import nearest_name
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import check_class_name, dataset_image_key
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.label_history import LabelHistory, Labelling, told
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


class Before(NamedTuple):
    """What stands before a file is judged.

    Attributes:
        history: what the other files say.
        test: the images of the test split, by SHA-256: their labels change only when a person names them.
    """

    history: LabelHistory
    test: Collection[str] = ()


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
    imported_at: datetime | None = None,
    before: Before | None = None,
) -> AcceptedLabels:
    """Accept, reject or question every image of a parsed file.

    Args:
        parsed: from ``formats.recognise.parse``.
        known: images that labels may be about.
        class_names: classes that are allowed, by all their names; None allows any well-formed name.
        source_file: name of the inbox file.
        source_sha256: its hash.
        pictures: where images that came with the labels are stored, once by hash.
        options: what a person said about the file.
        imported_at: when it came; None: now.
        before: what stands before it; None asks no questions about what the file leaves open.
    """
    options = options or ImportOptions()
    judged_file = AcceptedLabels(
        source_file=source_file,
        source_sha256=source_sha256,
        format=parsed.format,
        imported_at=imported_at or utc_now(),
        images=(),
        unreviewed=parsed.unreviewed,
        tool=parsed.tool,
        updated_at=parsed.updated_at,
    )
    judged = [_judge(raw, known, class_names, pictures, options) for raw in parsed.images]
    _refuse_twins(judged)
    rejected = [_told(name, problem) for name, problem in parsed.orphans]
    questions: list[Rejected] = []
    images: dict[str, LabelledImage] = {}
    asked = _asked(parsed, judged, known, options, judged_file, before)
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
        images[one.target.image_path] = one.target.model_copy(
            update={
                "boxes": one.boxes,
                "annotator": one.raw.annotator or options.by,
                "labelled_at": one.raw.reviewed_at,
                "confirmed": _answered(one, options),
            }
        )
    return judged_file.model_copy(
        update={
            "images": tuple(images[path] for path in sorted(images)),
            "rejected": tuple(rejected),
            "questions": tuple(questions),
        }
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
    file: AcceptedLabels,
    before: Before | None,
) -> dict[int, str]:
    """The images that wait for an answer, by position, and what is asked.

    Labels of test images that differ by rounding only become those that stand.
    """
    good = [(number, one, one.target) for number, one in enumerate(judged) if one.target and not one.problems]
    nothing_but_backgrounds = bool(good) and not any(one.boxes for _, one, _ in good)
    asked: dict[int, str] = {}
    for number, one, target in good:
        if not one.boxes and parsed.lost:
            asked[number] = (
                f"no box, but the file has rows that belong to no image (in all {parsed.lost}), and one may be "
                "about this one; export it again"
            )
            continue
        stands = None
        if before is not None:
            stands = before.history.counts(target.sha256)
            said = Labelling(target.model_copy(update={"labelled_at": one.raw.reviewed_at}), file)
            if stands is not None and stands.order > said.order:
                stands = None  # older than what counts: it is kept as history and changes nothing
            elif stands is not None and target.sha256 in before.test:
                if before.history.same(stands.image.boxes, one.boxes):
                    one.boxes = stands.image.boxes
                elif not any(map(options.may_change_test, (one.raw.name, target.image_path))):
                    asked[number] = (
                        f"it is in the test split and its labels would change: {told(stands.image.boxes)}, then "
                        f"{told(one.boxes)}; if this is meant, name it (--change-test-labels)"
                    )
                    continue
        if _answered(one, options):
            continue
        reason = None
        if one.raw.unsure and not one.boxes:
            reason = one.raw.unsure
        elif one.raw.guesses and not one.raw.reviewed:
            reason = f"boxes that a model drew and nobody is known to have looked at: {one.raw.guesses}"
        elif before is not None:
            reason = _left_open(one, known, before, stands, nothing_but_backgrounds)
        if reason is not None:
            asked[number] = f"{reason}; if it was reviewed and this is meant, say so (--reviewed, --all-reviewed)"
    return asked


def _answered(one: _Judged, options: ImportOptions) -> bool:
    names = (one.raw.name, one.target.image_path if one.target is not None else one.raw.name)
    return any(options.covers(name) or options.may_change_test(name) for name in names)


def _left_open(
    one: _Judged, known: KnownImages, before: Before, stands: Labelling | None, nothing_but_backgrounds: bool
) -> str | None:
    """What a file leaves open about an image; None when nothing is.

    Args:
        one: the image.
        known: with the guesses of our own model.
        before: what stands before the file.
        stands: the labels that it would replace.
        nothing_but_backgrounds: no image of the file has a box.
    """
    if stands is not None and one.target is not None and one.raw.reviewed_at is None:
        old = before.history.replaced_before(one.target, one.boxes)
        if old is not None:
            when, by = format_time(stands.changed_at), stands.file.source_file
            return f"it has again the labels of {old.file.source_file} that {by} corrected at {when}"
    if one.raw.reviewed or one.target is None:
        return None  # a person looked at it; what the file says is their answer
    had = len(stands.image.boxes) if stands is not None else 0
    if had > len(one.boxes):
        return f"boxes would go: it was labelled with {had}, and the file has {len(one.boxes)}"
    if one.boxes:
        return None
    guess = known.guess(one.target.image_path)
    if guess is not None:
        return f"no box, but the model saw {guess.class_name} with confidence {guess.confidence:.2f}"
    if nothing_but_backgrounds:
        return "no box, as in all images of the file"
    return "no box, and the file does not tell whether anybody looked at it"


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
        nearest = nearest_name(class_name, class_names)
        meant = f" (did you mean {nearest}?)" if nearest is not None else ""
        return (
            f"unknown class {class_name!r}{meant}; known are {', '.join(sorted(class_names))}; "
            "add it (yolo-assets classes add), or map it to one of these (--class-map)"
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
