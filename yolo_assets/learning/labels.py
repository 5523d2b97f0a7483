"""Labels put into ``labels/inbox/``: recognised, judged image by image, stored as ``labels/accepted/<sha256>.json``.

Nothing is dropped silently, and one file never stops another. The inbox file stays where it is; its hash shows that it
was imported. A file with something that was not accepted is judged again when what its judgement depended on has
changed: classes, batches, the options beside it. A file can be withdrawn: its labels no longer count. Does not belong
here: reading files (``formats``), judging them (``judging``), which labels of an image count (``label_history``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from yolo_assets.archive.archive import Archive
from yolo_assets.classes.stored import read_class_list
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import LABELS_ACCEPTED, LABELS_INBOX
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.learning.archived import ArchivedFrames
from yolo_assets.learning.dataset import latest_dataset
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.formats.zips import left_behind
from yolo_assets.learning.import_options import OPTIONS, read_options
from yolo_assets.learning.judging import Before, validate
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.label_history import LabelHistory, Labelling, accepted, accepted_keys, present_names
from yolo_assets.learning.records import AcceptedLabels, BatchManifest, ImportOptions, Rejected, Withdrawal
from yolo_assets.storage import CasConflictError, ObjectStore, StoreUnavailableError

_NAMED = 10
"""Images that one sentence names."""

READER = 3
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


def import_inbox(
    store: ObjectStore, class_names: Collection[str] | None = None, *, archive: Archive | None = None
) -> ImportReport:
    """Import every file of the inbox that was not imported before, and judge again what may have changed.

    Args:
        store: the store root.
        class_names: classes that are allowed, by all their names; None allows any well-formed name.
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
        class_names: classes that are allowed, by all their names; None allows any well-formed name.
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


def test_images(store: ObjectStore) -> frozenset[str]:
    """The images of the newest dataset that evaluate models, the golden set among them, by SHA-256."""
    dataset = latest_dataset(store)
    items = dataset.manifest.items if dataset is not None else ()
    return frozenset(item.sha256 for item in items if item.split == "test" or item.golden)


class _Import:
    """One pass over files of the inbox, with what judging them needs."""

    def __init__(self, store: ObjectStore, class_names: Collection[str] | None, archive: Archive | None) -> None:
        self._store = store
        self._archive = archive
        self._class_names = class_names
        self._rename = present_names(read_class_list(store))
        self._images: KnownImages | None = None
        self._history: LabelHistory | None = None
        self._test: frozenset[str] | None = None
        self._accepted: dict[str, AcceptedLabels] = {}
        self._etags: dict[str, str] = {}
        self._broken: list[FileReport] = []
        for key in accepted_keys(store):
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
        if before is not None and before.withdrawn is not None:
            return self._report(key, before, imported_before=True)
        answered_anew = before is not None and before.options_sha256 != hashlib.sha256(options_data).hexdigest()
        if before is not None and not (before.rejected or before.questions or answered_anew):
            return self._report(key, before, imported_before=True)
        if self._images is None:
            archived = ArchivedFrames(self._archive) if self._archive is not None else None
            found, broken = _read_batches(self._store)
            self._broken += broken
            self._images = KnownImages(found, archived)
        judged_by = self._judged_by(options_data)
        if before is not None and before.judged_by == judged_by:
            return self._report(key, before, imported_before=True)
        history = self._history_without(digest)
        labels = validate(
            parse(name, data),
            self._images,
            self._class_names,
            source_file=name,
            source_sha256=digest,
            pictures=self._store,
            options=options,
            imported_at=before.imported_at if before is not None else self._after_all_others(),
            before=Before(history, self._test_images()),
        )
        unknown = any(one.image_path is None for one in labels.rejected)  # the archive may hold it by next time
        labels = labels.model_copy(
            update={
                "judged_by": None if unknown and self._archive is not None else judged_by,
                "options_sha256": hashlib.sha256(options_data).hexdigest(),
            }
        )
        labels = labels if before is None else _added(before, labels)
        notes = list(_changes(labels, history))
        labels = self._write(labels)
        changed = before is None or (before.images, before.rejected, before.questions) != (
            labels.images,
            labels.rejected,
            labels.questions,
        )
        report = self._report(key, labels, imported_before=not changed)
        report.notes += notes if changed else ()
        return report

    def _judged_by(self, options: bytes) -> str:
        batches_known = list(self._images.batches) if self._images is not None else []
        classes = None if self._class_names is None else list(self._class_names)
        with_archive = self._archive is not None
        content = canonical_json([READER, classes, batches_known, hashlib.sha256(options).hexdigest(), with_archive])
        return hashlib.sha256(content).hexdigest()

    def _history_without(self, digest: str) -> LabelHistory:
        """What the other files say."""
        if digest in self._accepted:
            return LabelHistory([one for one in self._accepted.values() if one.source_sha256 != digest], self._rename)
        if self._history is None:
            self._history = LabelHistory(list(self._accepted.values()), self._rename)
        return self._history

    def _test_images(self) -> frozenset[str]:
        if self._test is None:
            self._test = test_images(self._store)
        return self._test

    def _after_all_others(self) -> datetime:
        """Now; files that are imported in one millisecond keep their order."""
        last = max((one.imported_at for one in self._accepted.values()), default=None)
        now = utc_now()
        return now if last is None or now > last else last + timedelta(milliseconds=1)

    def _write(self, labels: AcceptedLabels) -> AcceptedLabels:
        """Store a judgement; when another import stored one meanwhile, that one, which is of the same file."""
        key = f"{LABELS_ACCEPTED}{labels.source_sha256}.json"
        try:
            self._etags[key] = self._store.compare_and_swap(key, labels.to_json(), self._etags.get(key)).etag
        except CasConflictError:
            labels = AcceptedLabels.from_json(self._store.get(key), key)
        if self._history is not None and labels.source_sha256 not in self._accepted:
            self._history.add(labels)
        else:
            self._history = None
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
        if labels.withdrawn is not None:
            report.images = report.boxes = report.backgrounds = report.unreviewed = 0
            report.problems = []
            report.notes.append(f"{_withdrawn(labels.withdrawn)}: its labels do not count")
            return report
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
        if labels.withdrawn is not None:
            return
        later = [one for one in self._accepted.values() if one.withdrawn is None and _order(one) > _order(labels)]
        mended = {image.image_path for one in later for image in one.images}
        report.problems = [r for r in (*labels.rejected, *labels.questions) if r.image_path not in mended]


def _order(labels: AcceptedLabels) -> tuple[object, str]:
    return labels.imported_at, labels.source_sha256


def _added(before: AcceptedLabels, again: AcceptedLabels) -> AcceptedLabels:
    """What a file gives when it is judged again: all that was accepted before stays as it was."""
    kept = {image.image_path for image in before.images}

    def waits(one: Rejected) -> bool:
        return one.image_path not in kept

    answered = {image.image_path for image in again.images if image.confirmed}
    images = {image.image_path: image for image in again.images}
    for image in before.images:
        confirmed = image.confirmed or image.image_path in answered
        images[image.image_path] = image.model_copy(update={"confirmed": confirmed})
    return again.model_copy(
        update={
            "source_file": before.source_file,
            "images": tuple(images[path] for path in sorted(images)),
            "rejected": tuple(filter(waits, again.rejected)),
            "questions": tuple(filter(waits, again.questions)),
        }
    )


def _changes(labels: AcceptedLabels, history: LabelHistory) -> Iterator[str]:
    """What a file changes: labels that are replaced, boxes that go with that, and labels that are too old to count."""
    pairs = [(stands, Labelling(one, labels)) for one in labels.images if (stands := history.counts(one.sha256))]
    older = sum(stands.order > said.order for stands, said in pairs)
    changed = [(a, b) for a, b in pairs if a.order < b.order and a.image.boxes != b.image.boxes]
    gone = sum(max(len(a.image.boxes) - len(b.image.boxes), 0) for a, b in changed)
    if changed:
        loses = f"; boxes that go: {gone}" if gone else ""
        yield f"images that were labelled before and get other labels: {len(changed)}{loses}"
    if older:
        yield f"images whose labels were changed since, elsewhere, and stay as they are: {older}"


def _withdrawn(withdrawal: Withdrawal) -> str:
    by = f" by {withdrawal.by}" if withdrawal.by else ""
    return f"withdrawn at {format_time(withdrawal.at)}{by}"


def find_file(labels: Collection[AcceptedLabels], name: str) -> AcceptedLabels:
    """The imported file of a name: as it lies in the inbox, or the beginning of its SHA-256, of eight digits or more.

    Raises:
        BadInputError: there is none, or more than one.
    """
    named = [one for one in labels if one.source_file == PurePosixPath(name).name]
    if not named and len(name) >= 8:
        named = [one for one in labels if one.source_sha256.startswith(name.lower())]
    if not named:
        raise BadInputError(f"no imported label file is named {name}; `yolo-assets labels ls` shows them")
    if len(named) > 1:
        digests = ", ".join(one.digest for one in named)
        raise BadInputError(f"several files were imported as {name}; name one by its SHA-256: {digests}")
    return named[0]


def withdraw_file(
    store: ObjectStore,
    name: str,
    *,
    by: str | None = None,
    reason: str | None = None,
    undo: bool = False,
    change_test_labels: Collection[str] = (),
) -> AcceptedLabels:
    """Say that the labels of an imported file no longer count, or, with ``undo``, that they do again.

    Args:
        store: the store root.
        name: see ``find_file``.
        by: who says so.
        reason: why.
        undo: take an earlier withdrawal back.
        change_test_labels: images of the test split, by file name or path, whose labels may change with it.

    Returns:
        The file as it stands then.

    Raises:
        BadInputError: no such file, nothing to undo, or labels of test images would change that were not named.
    """
    labels = accepted(store)
    file = find_file(labels, name)
    if undo and file.withdrawn is None:
        raise BadInputError(f"{file.source_file} was not withdrawn; there is nothing to undo")
    if not undo and file.withdrawn is not None:
        return file
    changed = file.model_copy(update={"withdrawn": None if undo else Withdrawal(at=utc_now(), by=by, reason=reason)})
    _refuse_test_changes(store, labels, changed, ImportOptions(change_test_labels=tuple(change_test_labels)))
    key = f"{LABELS_ACCEPTED}{file.source_sha256}.json"
    data, info = store.get_with_info(key)
    if AcceptedLabels.from_json(data, key) != file:
        raise BadInputError(f"{file.source_file} was judged again just now; try again")
    store.compare_and_swap(key, changed.to_json(), info.etag)
    return changed


def _refuse_test_changes(
    store: ObjectStore, labels: Collection[AcceptedLabels], changed: AcceptedLabels, options: ImportOptions
) -> None:
    rename = present_names(read_class_list(store))
    before = LabelHistory(labels, rename)
    after = LabelHistory([changed if one.source_sha256 == changed.source_sha256 else one for one in labels], rename)
    test = test_images(store)
    moved: list[str] = []
    for image in changed.images:
        one, other = before.counts(image.sha256), after.counts(image.sha256)
        alike = one is not None and other is not None and before.same(one.image.boxes, other.image.boxes)
        if image.sha256 in test and one is not other and not alike and not options.may_change_test(image.image_path):
            moved.append(image.image_path)
    if moved:
        more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
        raise BadInputError(
            f"labels of {len(moved)} images of the test split would change: {', '.join(moved[:_NAMED])}{more}; "
            "if this is meant, name them (--change-test-labels)"
        )
