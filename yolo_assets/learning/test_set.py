"""A label file and the folder of its pictures as a test set, on which a model that was brought is evaluated.

Nothing of it trains: it is no dataset version of the plant, and its images lie in the store only so that the verdict
can be measured again. Does not belong here: datasets of the plant (``dataset``), the evaluation (``training``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import FRAME_ENDINGS, dataset_image_key, is_frame
from yolo_assets.learning.dataset import Dataset, hard_reasons
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.judging import validate
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.manifests import write_stored
from yolo_assets.learning.records import DatasetItem, DatasetManifest, LabelledImage
from yolo_assets.learning.series import SplitFrame
from yolo_assets.learning.split import assign, dhash
from yolo_assets.storage import ObjectStore
from yolo_assets.vision.pictures import decode_image


def labelled_test_set(store: ObjectStore, labels: Path, pictures: Path) -> Dataset:
    """Read a label file, and keep what it says with its pictures as a test set.

    Args:
        store: where the pictures and the manifest are kept.
        labels: a label file of any form that is read, see ``formats``.
        pictures: folder with the pictures that it names, for those that it does not carry.

    Raises:
        BadInputError: no label file, or one with something wrong in it; nothing of it is left out in silence.
    """
    try:
        data = labels.read_bytes()
        beside = {path.stem: path for path in sorted(pictures.iterdir()) if is_frame(path.name)}
        parsed = parse(labels.name, data)
        for image in parsed.images:
            name = PurePosixPath(image.name.replace("\\", "/")).name
            stem = PurePosixPath(name).stem if name.lower().endswith(FRAME_ENDINGS) else name
            if image.data is None and stem in beside:
                image.data = beside[stem].read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {error.filename or labels}: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    accepted = validate(parsed, KnownImages([]), None, source_file=labels.name, source_sha256=digest, pictures=store)
    wrong = [*accepted.rejected, *accepted.questions]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise BadInputError(
            f"{labels.name}: {wrong[0].image}: {wrong[0].reason}{more}; correct the file, or its pictures"
        )
    manifest = _manifest(store, accepted.images, digest)
    return Dataset(write_stored(store, manifest), manifest)


def _manifest(store: ObjectStore, images: tuple[LabelledImage, ...], digest: str) -> DatasetManifest:
    names = tuple(sorted({box.class_name for image in images for box in image.boxes}))
    if not names:
        raise BadInputError("every picture of the label file is a background; label objects, or leave --labels out")
    decoded = {
        image.sha256: decode_image(
            store.get(dataset_image_key(image.sha256, image.image_path)), image.image_path, grey=True
        )
        for image in images
    }
    hashes = {sha256: dhash(grey) for sha256, grey in decoded.items()}
    unique = {image.sha256: image for image in images}
    frames = [
        SplitFrame(
            key=image.sha256,
            camera="",
            captured_at=None,
            dhash=hashes[image.sha256],
            path=image.file_name or image.image_path,
            boxes=tuple(box.bbox for box in image.boxes),
        )
        for image in unique.values()
    ]
    groups = assign(frames, shares={"test": 1.0})
    items = [
        DatasetItem(
            image_path=image.image_path,
            sha256=sha256,
            split="test",
            group=groups.assigned[sha256].group if sha256 in groups.assigned else f"#{sha256[:16]}",
            width=image.width,
            height=image.height,
            boxes=image.boxes,
            dhash=hashes[sha256],
            hard=hard_reasons(decoded[sha256], image.boxes),
            file_name=image.file_name,
            object_ids=groups.objects[sha256],
        )
        for sha256, image in sorted(unique.items())
    ]
    counts = {"test": len(items)}
    return DatasetManifest(class_names=names, items=tuple(items), labels=(digest,), counts=counts)
