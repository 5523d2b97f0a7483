"""From manifests, datasets and label files to links: which model came from which labels, and which came after it.

All of it is read from the store root. Datasets are read one at a time and only when a question needs them: one may hold
a hundred thousand pictures. Does not belong here: what models decided on the line (``decisions``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.contracts.times import format_time
from yolo_assets.learning.dataset import Dataset, read_dataset
from yolo_assets.learning.label_history import LabelHistory, read_history
from yolo_assets.learning.records import AcceptedLabels, DatasetItem, LabelledImage, Split
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError

_READERS = 8

How = Literal["trained on it", "chosen by it", "judged by it", "continues a model that rests on it", "is that model"]
"""By the split that the label is in: train, val, test. Weights that go on from others rest on what those rest on."""
_BY_SPLIT: dict[Split, How] = {"train": "trained on it", "val": "chosen by it", "test": "judged by it"}


@dataclass(frozen=True)
class Ancestry:
    """What one version came from.

    Attributes:
        model: ``<name>/<version>``.
        how: how it was made.
        created_at: when, ISO 8601.
        parent: the version that it was trained from or built of.
        dataset: SHA-256 of the dataset that it was trained on.
        images: pictures of the dataset by split.
        label_files: SHA-256 of the label files whose labels are in the dataset.
        archives: keys of the archives that its pictures came from.
        releases: where it was served: ``channel, release, moved_at, by, reason``.
        problem: why the dataset cannot be told; None where it can, or there is none.
    """

    model: str
    how: Literal["trained", "imported", "built"]
    created_at: str
    parent: str | None
    dataset: str | None
    images: Mapping[str, int] = field(default_factory=dict[str, int])
    label_files: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    releases: tuple[dict[str, Any], ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Dependant:
    """A version that rests on a label, or on another version.

    Attributes:
        model: ``<name>/<version>``.
        how: in which way.
        because: a sentence with the dataset or the version between them.
        pictures: labelled pictures in question that its dataset holds.
        as_now: how many of these the dataset holds with the labels that count today.
        releases: as in ``Ancestry``.
    """

    model: str
    how: How
    because: str
    pictures: int = 0
    as_now: int = 0
    releases: tuple[dict[str, Any], ...] = ()


class StoredOrigins:
    """The links of one store, each object read once.

    Args:
        registry: of the store root. Without a trusted key no channel can be read, and no release is told.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._datasets: dict[str, Dataset | str] = {}
        self.notes: list[str] = []
        """What could not be read, a line each."""

    @cached_property
    def manifests(self) -> dict[str, ModelManifest]:
        """Every version of the store, by ``<name>/<version>``, oldest first."""
        entries = self._registry.list_bundles()

        def read(entry: tuple[str, str]) -> ModelManifest | str:
            try:
                return self._registry.read_manifest(*entry, signed=False).manifest
            except (BadInputError, IntegrityError, ObjectNotFoundError) as error:
                return str(error)

        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(read, [(entry.name, entry.version) for entry in entries]))
        self.notes += [one for one in found if isinstance(one, str)]
        whole = [one for one in found if isinstance(one, ModelManifest)]
        return {one.model_version: one for one in sorted(whole, key=lambda one: (one.created_at, one.version))}

    @cached_property
    def label_files(self) -> dict[str, AcceptedLabels]:
        """Every imported label file by its SHA-256, oldest first."""
        return {labels.source_sha256: labels for labels in self.history.files}

    @cached_property
    def history(self) -> LabelHistory:
        """What every label file says of every picture, withdrawn ones too."""
        return read_history(self._registry.store)

    @cached_property
    def labelled(self) -> dict[str, LabelledImage]:
        """Every picture that was ever labelled, by its SHA-256: as it is labelled today, else as it was last."""
        last = {image.sha256: image for labels in self.label_files.values() for image in labels.images}
        return last | {sha256: one.image for sha256, one in self.history.counting().items()}

    @cached_property
    def releases(self) -> dict[str, list[dict[str, Any]]]:
        """By version, the releases that served it, oldest first."""
        found: dict[str, list[dict[str, Any]]] = {}
        if not self._registry.trusted.keys:
            return found
        for name in sorted({manifest.name for manifest in self.manifests.values()}):
            for channel in self._registry.channel_names(name):
                try:
                    history = self._registry.channel(name, channel).history()
                except (BadInputError, SignatureError) as error:
                    self.notes.append(str(error))
                    continue
                for past in history.releases:
                    pointer = past.entry.pointer
                    if past.state == "unconfirmed":
                        continue
                    found.setdefault(pointer.model_version, []).append(
                        {
                            "channel": channel,
                            "release": pointer.release,
                            "moved_at": format_time(pointer.moved_at),
                            "by": pointer.moved_by,
                            "reason": pointer.reason,
                        }
                    )
        return found

    def ancestry(self, model: str) -> list[Ancestry]:
        """A version and those that it continues, newest first; none for a model that this store does not hold."""
        chain: list[Ancestry] = []
        seen: set[str] = set()
        at: str | None = model
        while at is not None and at not in seen and at in self.manifests:
            seen.add(at)
            chain.append(self._one(self.manifests[at]))
            at = chain[-1].parent
        return chain

    def _one(self, manifest: ModelManifest) -> Ancestry:
        how = "built" if manifest.built else "imported" if manifest.imported else "trained"
        base = Ancestry(
            manifest.model_version,
            how,
            format_time(manifest.created_at),
            parent_of(manifest),
            manifest.dataset_sha256,
            releases=tuple(self.releases.get(manifest.model_version, ())),
        )
        if manifest.dataset_sha256 is None:
            return base
        dataset = self._dataset(manifest.dataset_sha256)
        if isinstance(dataset, str):
            return replace(base, problem=dataset)
        counts = dataset.manifest.counts
        archives = {item.source.archive_key for item in dataset.manifest.items if item.source is not None}
        return replace(
            base,
            images={split: counts.get(split, 0) for split in _BY_SPLIT},
            label_files=dataset.manifest.labels,
            archives=tuple(sorted(archives)),
        )

    def _dataset(self, sha256: str) -> Dataset | str:
        """A dataset, or why it cannot be read. One is kept at a time, the other's facts are taken by then."""
        if sha256 not in self._datasets:
            self._datasets.clear()
            try:
                self._datasets[sha256] = read_dataset(self._registry.store, sha256)
            except (BadInputError, IntegrityError, ObjectNotFoundError) as error:
                self._datasets[sha256] = f"dataset {sha256[:12]} cannot be read: {error}"
                self.notes.append(str(self._datasets[sha256]))
        return self._datasets[sha256]

    def resting_on(self, pictures: Collection[str], label_file: str | None = None) -> list[Dependant]:
        """Every version that rests on the labels of these pictures, directly or by the weights it goes on from.

        Args:
            pictures: SHA-256 of each.
            label_file: only where the dataset has the labels as this file gave them.
        """
        labels = self.label_files.get(label_file) if label_file is not None else None
        given = {image.sha256: image for image in labels.images} if labels is not None else None
        by_dataset: dict[str, list[ModelManifest]] = {}
        for manifest in self.manifests.values():
            if manifest.dataset_sha256 is not None:
                by_dataset.setdefault(manifest.dataset_sha256, []).append(manifest)
        direct: list[Dependant] = []
        for sha256, manifests in by_dataset.items():
            dataset = self._dataset(sha256)
            if isinstance(dataset, str) or (label_file is not None and label_file not in dataset.manifest.labels):
                continue
            held = [item for item in dataset.manifest.items if item.sha256 in pictures and self._gave(given, item)]
            direct += self._direct(held, sha256, manifests)
        return [*direct, *self.continuing([one.model for one in direct])]

    def _direct(self, held: list[DatasetItem], sha256: str, manifests: list[ModelManifest]) -> Iterator[Dependant]:
        for split, how in _BY_SPLIT.items():
            of_split = [item for item in held if item.split == split]
            if not of_split:
                continue
            as_now = sum(self._counts_today(item) for item in of_split)
            for manifest in manifests:
                name = manifest.model_version
                releases = tuple(self.releases.get(name, ()))
                because = f"in the {split} split of dataset {sha256[:12]}"
                yield Dependant(name, how, because, len(of_split), as_now, releases)

    def _gave(self, given: Mapping[str, LabelledImage] | None, item: DatasetItem) -> bool:
        """Whether a dataset has a picture as a label file gave it; any, where no file is asked for."""
        if given is None:
            return True
        told = given.get(item.sha256)
        return told is not None and self.history.same(told.boxes, item.boxes)

    def _counts_today(self, item: DatasetItem) -> bool:
        now = self.history.counts(item.sha256)
        return now is not None and self.history.same(now.image.boxes, item.boxes)

    def continuing(self, models: Collection[str]) -> list[Dependant]:
        """Versions that were trained from, or built of, one of these, at any distance."""
        children: dict[str, list[ModelManifest]] = {}
        for manifest in self.manifests.values():
            if (parent := parent_of(manifest)) is not None:
                children.setdefault(parent, []).append(manifest)
        resting, found, waiting = set(models), list[Dependant](), list(models)
        while waiting:
            parent = waiting.pop(0)
            for manifest in children.get(parent, []):
                name = manifest.model_version
                if name in resting:
                    continue
                resting.add(name)
                waiting.append(name)
                made = "built of" if manifest.built else "trained from"
                releases = tuple(self.releases.get(name, ()))
                found.append(Dependant(name, "continues a model that rests on it", f"{made} {parent}", 0, 0, releases))
        return found


def parent_of(manifest: ModelManifest) -> str | None:
    """The version that another one was trained from or built of."""
    return manifest.built.of if manifest.built is not None else manifest.parent_version
