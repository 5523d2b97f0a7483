"""Labels put into ``labels/inbox/``: recognised, judged image by image, stored as ``labels/accepted/<sha256>.json``.

Nothing is dropped silently, and one file never stops another. The inbox file stays where it is; its hash shows that it
was imported. A later file corrects an earlier one, image by image. A file with something that was not accepted is
judged again when what its judgement depended on has changed: classes, batches, the options beside it. Does not belong
here: reading files (``formats``) and judging them (``judging``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import LABELS_ACCEPTED, LABELS_INBOX
from yolo_assets.contracts.times import format_time
from yolo_assets.learning.archived import ArchivedFrames
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.formats.zips import left_behind
from yolo_assets.learning.import_options import OPTIONS, read_options
from yolo_assets.learning.judging import Earlier, validate
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.records import AcceptedLabels, BatchManifest, ImportOptions, Rejected
from yolo_assets.storage import CasConflictError, ObjectStore, StoreUnavailableError

_ACCEPTED = re.compile(r"[0-9a-f]{64}\.json")

READER = 2
"""Counts up when files are read in another way: what was not accepted is then judged again."""


@dataclass
class FileReport:
    """The result of importing one inbox file.

    Attributes:
        file: its key.
        accepted_key: where its labels are now; None when it could not be read at all.
        images: images accepted.
        boxes: boxes accepted.
        backgrounds: accepted images without a box.
        unreviewed: images in it that no one labelled yet, or that wait until somebody answers for them.
        problems: what was not accepted, and what is asked. Of a file that was imported before: what no later file has
            mended.
        notes: what a person should know about what was accepted.
        imported_before: the file was imported before; nothing was done.
    """

    file: str
    accepted_key: str | None = None
    images: int = 0
    boxes: int = 0
    backgrounds: int = 0
    unreviewed: int = 0
    problems: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    imported_before: bool = False


@dataclass
class ImportReport:
    """The result of an import, file by file."""

    files: list[FileReport] = field(default_factory=list)

    @property
    def new(self) -> list[FileReport]:
        """Files that were not imported before, or were judged again."""
        return [report for report in self.files if not report.imported_before]

    @property
    def images(self) -> int:
        """Images newly accepted."""
        return sum(report.images for report in self.new)

    @property
    def problems(self) -> list[str]:
        """Every problem of a new file as ``file: image: what``."""
        return [f"{PurePosixPath(r.file).name}: {problem}" for r in self.new for problem in r.problems]

    @property
    def open_problems(self) -> list[str]:
        """Every problem of every file of the inbox that no later file has mended."""
        return [f"{PurePosixPath(r.file).name}: {problem}" for r in self.files for problem in r.problems]


def batches(store: ObjectStore) -> list[BatchManifest]:
    """Every annotation batch of a store, by key; a manifest that cannot be read is left out, and an import tells it."""
    return _read_batches(store)[0]


def _read_batches(store: ObjectStore) -> tuple[list[BatchManifest], list[FileReport]]:
    found: list[BatchManifest] = []
    broken: list[FileReport] = []
    for info in store.list("annotation/"):
        if info.key.count("/") == 2 and info.key.endswith("/manifest.json"):
            try:
                found.append(BatchManifest.from_json(store.get(info.key), info.key))
            except BadInputError as error:
                what = f"{error}; copy it back, or make the batch again: its images are unknown until then"
                broken.append(FileReport(info.key, problems=[Rejected(image="", reason=what)]))
    return found, broken


def accepted(store: ObjectStore) -> list[AcceptedLabels]:
    """Every imported file, oldest first: where two label an image, the later one counts.

    Raises:
        BadInputError: one cannot be read; without it labels would be lost.
    """
    return sorted(
        (AcceptedLabels.from_json(store.get(key), key) for key in _accepted_keys(store)),
        key=_order,
    )


def labels_version(labels: Collection[AcceptedLabels]) -> str:
    """A hash that changes whenever labels come; empty without any.

    Args:
        labels: from ``accepted``.
    """
    parts = [
        [one.source_sha256, [image.model_dump(mode="json", by_alias=True) for image in one.images]]
        for one in labels
        if one.images
    ]
    return hashlib.sha256(canonical_json(parts)).hexdigest() if parts else ""


def _accepted_keys(store: ObjectStore) -> Iterator[str]:
    for info in store.list(LABELS_ACCEPTED):
        if _ACCEPTED.fullmatch(info.key.removeprefix(LABELS_ACCEPTED)):
            yield info.key


def import_inbox(
    store: ObjectStore, class_names: Collection[str] | None = None, *, archive: Archive | None = None
) -> ImportReport:
    """Import every file of the inbox that was not imported before, and judge again what may have changed.

    Args:
        store: the store root.
        class_names: classes that are allowed; None allows any well-formed name.
        archive: labels may also be about its frames, by their path; it is asked only then.

    Returns:
        One report a file. A file that cannot be read is reported and tried again next time: it may still be growing.
    """
    names = list(_names(store))
    files = [name for name in names if not name.endswith(OPTIONS)]
    report = _Import(store, class_names, archive).run(files)
    for name in names:
        if name.endswith(OPTIONS) and name.removesuffix(OPTIONS) not in files:
            what = f"no file {name.removesuffix(OPTIONS)} lies beside these options; name them after their file"
            report.files.append(FileReport(f"{LABELS_INBOX}{name}", problems=[Rejected(image="", reason=what)]))
    return report


def import_file(
    store: ObjectStore,
    name: str,
    data: bytes,
    options: ImportOptions,
    class_names: Collection[str] | None = None,
    *,
    archive: Archive | None = None,
) -> FileReport:
    """Put one file into the inbox and import it, with what a person says about it.

    Args:
        store: the store root.
        name: file name. When another file lies under it, the hash of this one is added.
        data: the file.
        options: kept beside it, so that it is judged with them again.
        class_names: classes that are allowed; None allows any well-formed name.
        archive: as for ``import_inbox``.

    Raises:
        BadInputError: it cannot be read at all; it is then not put into the inbox.
    """
    parse(name, data)
    digest = hashlib.sha256(data).hexdigest()
    place = PurePosixPath(name)
    held = store.get(f"{LABELS_INBOX}{name}") if store.head(f"{LABELS_INBOX}{name}") is not None else None
    if held not in (None, data):
        name = f"{place.stem}-{digest[:8]}{place.suffix}"
    if options != ImportOptions():
        store.put(f"{LABELS_INBOX}{name}{OPTIONS}", options.to_json())
    if held != data:
        store.put(f"{LABELS_INBOX}{name}", data)
    return _Import(store, class_names, archive).run([name]).files[0]


def _names(store: ObjectStore) -> Iterator[str]:
    for info in store.list(LABELS_INBOX):
        name = info.key.removeprefix(LABELS_INBOX)
        if not left_behind(name):
            yield name


class _Import:
    """One pass over files of the inbox, with what judging them needs."""

    def __init__(self, store: ObjectStore, class_names: Collection[str] | None, archive: Archive | None) -> None:
        self._store = store
        self._archive = archive
        self._class_names = class_names
        self._images: KnownImages | None = None
        self._accepted: dict[str, AcceptedLabels] = {}
        self._etags: dict[str, str] = {}
        self._broken: list[FileReport] = []
        for key in _accepted_keys(store):
            data, info = store.get_with_info(key)
            self._etags[key] = info.etag
            try:
                labels = AcceptedLabels.from_json(data, key)
            except BadInputError as error:  # the file it was made from is read again and replaces it
                what = f"{error}; put the file {PurePosixPath(key).stem} (SHA-256) into the inbox again"
                self._broken.append(FileReport(key, problems=[Rejected(image="", reason=what)]))
            else:
                self._accepted[labels.source_sha256] = labels

    def run(self, names: list[str]) -> ImportReport:
        """Import the files of these names, each by itself. A store that is away is no fault of a file: raised."""
        report = ImportReport()
        for name in names:
            key = f"{LABELS_INBOX}{name}"
            try:
                report.files.append(self._file(key, name))
            except StoreUnavailableError:
                raise
            except UserError as error:
                report.files.append(FileReport(key, problems=[Rejected(image="", reason=str(error))]))
            # Whatever a stranger's file makes a parser do, its neighbours are read.
            except Exception as error:
                what = f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}); export it again"
                report.files.append(FileReport(key, problems=[Rejected(image="", reason=what)]))
        for one in report.files:
            if one.imported_before:
                self._mend(one)
        keys = {f"{LABELS_ACCEPTED}{digest}.json" for digest in self._accepted}
        report.files += [one for one in self._broken if one.file not in keys]
        return report

    def _file(self, key: str, name: str) -> FileReport:
        data = self._store.get(key)
        digest = hashlib.sha256(data).hexdigest()
        options, options_data = read_options(self._store, name)
        before = self._accepted.get(digest)
        if before is not None and not (before.rejected or before.questions):
            return self._report(key, before, imported_before=True)
        if self._images is None:
            archived = ArchivedFrames(self._archive) if self._archive is not None else None
            found, broken = _read_batches(self._store)
            self._broken += broken
            self._images = KnownImages(found, archived)
        judged_by = self._judged_by(options_data)
        if before is not None and before.judged_by == judged_by:
            return self._report(key, before, imported_before=True)
        order = _order(before) if before is not None else None
        earlier = self._earlier(order)
        labels = validate(
            parse(name, data),
            self._images,
            self._class_names,
            source_file=name,
            source_sha256=digest,
            pictures=self._store,
            options=options,
            earlier=earlier,
        )
        unknown = any(one.image_path is None for one in labels.rejected)  # the archive may hold it by next time
        labels = labels.model_copy(update={"judged_by": None if unknown and self._archive is not None else judged_by})
        labels = self._after_all_others(labels) if before is None else _added(before, labels)
        labels = self._write(labels)
        changed = before is None or (before.images, before.rejected, before.questions) != (
            labels.images,
            labels.rejected,
            labels.questions,
        )
        report = self._report(key, labels, imported_before=not changed)
        report.notes += _changes(labels, earlier) if changed else ()
        return report

    def _judged_by(self, options: bytes) -> str:
        batches_known = list(self._images.batches) if self._images is not None else []
        classes = None if self._class_names is None else list(self._class_names)
        with_archive = self._archive is not None
        content = canonical_json([READER, classes, batches_known, hashlib.sha256(options).hexdigest(), with_archive])
        return hashlib.sha256(content).hexdigest()

    def _earlier(self, before: tuple[object, str] | None) -> dict[str, Earlier]:
        """The labels that count now, by the SHA-256 of the image; with ``before``, those that counted until then."""
        found: dict[str, Earlier] = {}
        for labels in sorted(self._accepted.values(), key=_order):
            if before is None or _order(labels) < before:
                found |= {image.sha256: Earlier(image, labels.imported_at) for image in labels.images}
        return found

    def _after_all_others(self, labels: AcceptedLabels) -> AcceptedLabels:
        """Files that are imported in one millisecond keep their order."""
        last = max((one.imported_at for one in self._accepted.values()), default=None)
        if last is None or labels.imported_at > last:
            return labels
        return labels.model_copy(update={"imported_at": last + timedelta(milliseconds=1)})

    def _write(self, labels: AcceptedLabels) -> AcceptedLabels:
        """Store a judgement; when another import stored one meanwhile, that one, which is of the same file."""
        key = f"{LABELS_ACCEPTED}{labels.source_sha256}.json"
        try:
            self._etags[key] = self._store.compare_and_swap(key, labels.to_json(), self._etags.get(key)).etag
        except CasConflictError:
            labels = AcceptedLabels.from_json(self._store.get(key), key)
        self._accepted[labels.source_sha256] = labels
        return labels

    def _report(self, key: str, labels: AcceptedLabels, *, imported_before: bool) -> FileReport:
        report = FileReport(
            file=key,
            accepted_key=f"{LABELS_ACCEPTED}{labels.source_sha256}.json",
            images=len(labels.images),
            boxes=sum(len(image.boxes) for image in labels.images),
            backgrounds=sum(not image.boxes for image in labels.images),
            unreviewed=labels.unreviewed + len(labels.questions),
            problems=[*labels.rejected, *labels.questions],
            imported_before=imported_before,
        )
        if labels.unasked:
            report.notes.append(
                f"backgrounds of which the file does not tell whether they were reviewed: {labels.unasked}"
            )
        if imported_before:
            when = format_time(labels.imported_at)
            report.notes.append(f"imported before, at {when}: its labels keep that place in the order")
        return report

    def _mend(self, report: FileReport) -> None:
        """Take out of an earlier file's problems what a later file has accepted since."""
        digest = PurePosixPath(report.accepted_key or "").stem
        labels = self._accepted.get(digest)
        if labels is None:
            return
        later = [one for one in self._accepted.values() if _order(one) > _order(labels)]
        mended = {image.image_path for one in later for image in one.images}
        report.problems = [r for r in (*labels.rejected, *labels.questions) if r.image_path not in mended]


def _order(labels: AcceptedLabels) -> tuple[object, str]:
    return labels.imported_at, labels.source_sha256


def _added(before: AcceptedLabels, again: AcceptedLabels) -> AcceptedLabels:
    """What a file gives when it is judged again: all that was accepted before stays as it was."""
    kept = {image.image_path for image in before.images}

    def waits(one: Rejected) -> bool:
        return one.image_path not in kept

    images = {image.image_path: image for image in (*again.images, *before.images)}
    return again.model_copy(
        update={
            "imported_at": before.imported_at,
            "source_file": before.source_file,
            "images": tuple(images[path] for path in sorted(images)),
            "rejected": tuple(filter(waits, again.rejected)),
            "questions": tuple(filter(waits, again.questions)),
        }
    )


def _changes(labels: AcceptedLabels, earlier: dict[str, Earlier]) -> Iterator[str]:
    """One sentence about labels that are replaced, and about boxes that go with that."""
    pairs = [(earlier[one.sha256].image, one) for one in labels.images if one.sha256 in earlier]
    changed = [(old, new) for old, new in pairs if old.boxes != new.boxes]
    gone = sum(max(len(old.boxes) - len(new.boxes), 0) for old, new in changed)
    if changed:
        loses = f"; boxes that go: {gone}" if gone else ""
        yield f"images that were labelled before and get other labels: {len(changed)}{loses}"
