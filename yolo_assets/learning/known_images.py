"""Which image a label is about: found by our own path, or by the names that tools give to the files of a batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from pathlib import PurePosixPath

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import annotation_key, check_id, frame_time, is_frame
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.archived import ArchivedFrames
from yolo_assets.learning.formats.base import RawImage
from yolo_assets.learning.records import BatchItem, BatchManifest, LabelledImage, Prediction
from yolo_assets.storage import StoreUnavailableError
from yolo_assets.vision.pictures import decode_image

CONFIDENT = 0.5
"""Confidence from which a guess in our own batch speaks against "no object"."""

_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")
"""Label Studio puts eight digits before the name of an uploaded file."""

_ROBOFLOW = re.compile(r"(.+)_(?:jpe?g|png|webp|bmp|tiff?)\.rf\.[0-9A-Za-z]+", re.IGNORECASE)
"""Roboflow turns the dot before the ending into ``_`` and adds a hash."""


class KnownImages:
    """Images that a label may be about: those of the batches that were handed out, and frames of the archive.

    A frame of the archive is found by its whole path only, ``<camera>/<YYYYMMDD_HH>/<frame>``.
    """

    def __init__(self, batches: Collection[BatchManifest], archive: ArchivedFrames | None = None) -> None:
        self._archive = archive
        self.batches = tuple(sorted(batch.batch for batch in batches))
        self._by_path: dict[str, LabelledImage] = {}
        self._by_file: dict[str, LabelledImage] = {}
        self._by_sha256: dict[str, LabelledImage] = {}
        self._guesses: dict[str, Prediction] = {}
        for batch in batches:
            for item in batch.items:
                image = _unlabelled(item, batch.batch)
                self._by_path[item.image_path] = self._by_sha256[item.sha256] = image
                self._by_file[PurePosixPath(item.file).stem] = image
                for guess in item.predictions:
                    if guess.confidence > max(CONFIDENT, self._surest(item.image_path)):
                        self._guesses[item.image_path] = guess

    def find(self, image: RawImage) -> LabelledImage | None:
        """The image without boxes: by its bytes, by our own path when the tool carried that along, by its names."""
        if image.data is not None:
            same = self._by_sha256.get(hashlib.sha256(image.data).hexdigest())
            if same is not None:
                return same
        if image.image_path is not None and image.image_path in self._by_path:
            return self._by_path[image.image_path]
        names = [PurePosixPath(name.replace("\\", "/")) for name in (image.name, *image.other_names)]
        for name in names:
            found = self._by_path.get("/".join(name.parts[-3:])) or self._by_stem(name.stem)
            if found is not None:
                return found
        if self._archive is not None and image.data is None:
            paths = [image.image_path or "", *("/".join(name.parts[-3:]) for name in names)]
            return next(filter(None, (self._archived(self._archive, path) for path in paths)), None)
        return None

    def _archived(self, archive: ArchivedFrames, path: str) -> LabelledImage | None:
        camera, _, rest = path.partition("/")
        hour, _, frame = rest.partition("/")
        if not is_frame(frame) or "/" in frame:
            return None
        try:
            check_id(camera)
            Hour.from_key(hour)
        except BadInputError:
            return None
        try:
            found = archive.locate(path)
            data = archive.read(found) if found is not None else b""
        except StoreUnavailableError as error:
            raise UserError(f"the archive cannot be asked for {path}: {error}; it is asked again later") from None
        if found is None:
            return None
        height, width = decode_image(data, path).shape[:2]
        return LabelledImage(
            image_path=path,
            sha256=found.sha256,
            width=width,
            height=height,
            boxes=(),
            camera_id=camera,
            captured_at=frame_time(frame),
            source=found.source,
        )

    def guess(self, image_path: str) -> Prediction | None:
        """What our own model was surest of in an image, if it was confident."""
        return self._guesses.get(image_path)

    def _surest(self, image_path: str) -> float:
        guess = self._guesses.get(image_path)
        return 0.0 if guess is None else guess.confidence

    def _by_stem(self, stem: str) -> LabelledImage | None:
        stems = [stem, *(match[1] for match in [_ROBOFLOW.fullmatch(stem)] if match)]
        stems += [_UPLOAD_PREFIX.sub("", one, count=1) for one in stems]
        return next((self._by_file[one] for one in stems if one in self._by_file), None)


def _unlabelled(item: BatchItem, batch: str) -> LabelledImage:
    return LabelledImage(
        image_path=item.image_path,
        sha256=item.sha256,
        width=item.width,
        height=item.height,
        boxes=(),
        camera_id=item.camera_id,
        captured_at=item.captured_at,
        source=item.source,
        copy_key=annotation_key(batch, f"images/{item.file}"),
        batch=batch,
    )
