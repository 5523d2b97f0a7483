"""Which picture of a zip a label speaks of: by path, never by file name alone where two could be meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from yolo_assets.contracts.names import is_frame

_LAYOUT = {
    *("images", "image", "img", "imgs", "jpegimages", "data"),
    *("labels", "label", "annotations", "annotation", "txt"),
}
"""Folders that sort pictures from labels and say nothing about which picture is meant."""


def pictures(paths: Iterable[str]) -> list[str]:
    """The paths that are pictures by their ending, in order."""
    return sorted(path for path in paths if is_frame(PurePosixPath(path).name))


def label_path(picture: str) -> str:
    """Where Ultralytics looks for a picture's label: the last folder ``images`` becomes ``labels``, the ending txt."""
    parts = list(PurePosixPath(picture).with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "images":
            parts[place] = "labels"
            break
    return "/".join(parts)


@dataclass
class Pairs:
    """Labels and pictures that belong together.

    Attributes:
        picture: of each label that has one for certain.
        uncertain: labels that may belong to several pictures, or share one, and why.
        alone: pictures that no label can belong to.
    """

    picture: dict[str, str] = field(default_factory=dict)
    uncertain: dict[str, str] = field(default_factory=dict)
    alone: list[str] = field(default_factory=list)


def pair(labels: Sequence[str], pictures: Sequence[str]) -> Pairs:
    """Find the picture of each label: by its path, and what is left over by name where the folders do not object.

    Args:
        labels: paths of label files.
        pictures: paths of pictures.
    """
    by_label: dict[str, list[str]] = {}
    for picture in pictures:
        by_label.setdefault(_key(label_path(picture)), []).append(picture)
    may_be = {label: by_label.get(_key(label), []) for label in labels}
    taken = {picture for several in may_be.values() for picture in several}
    left: dict[str, list[str]] = {}
    for picture in pictures:
        if picture not in taken:
            left.setdefault(PurePosixPath(picture).stem, []).append(picture)
    for label, several in may_be.items():
        if not several:
            may_be[label] = [p for p in left.get(PurePosixPath(label).stem, ()) if _may_meet(label, p)]
    claims = Counter(picture for several in may_be.values() for picture in several)
    pairs = Pairs(alone=[picture for picture in pictures if picture not in claims])
    for label, several in may_be.items():
        if len(several) > 1:
            pairs.uncertain[label] = f"may belong to {' or to '.join(several[:3])}; name pictures and labels alike"
        elif several and claims[several[0]] > 1:
            pairs.uncertain[label] = f"another label belongs to {several[0]} as well; leave one of the two"
        elif several:
            pairs.picture[label] = several[0]
    return pairs


def _may_meet(label: str, picture: str) -> bool:
    one, other = _folders(label), _folders(picture)
    return not one or not other or one == other


class PictureIndex:
    """The pictures of a zip, found by the names that a JSON file beside them gives them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = pictures(paths)
        self._by_name: dict[str, list[str]] = {}
        for path in self._paths:
            self._by_name.setdefault(PurePosixPath(path).name, []).append(path)

    def find(self, named: str, document: str) -> list[str]:
        """The pictures that may be meant: one when it is certain.

        Args:
            named: the file name or path in the document.
            document: path of the document in the zip.
        """
        parts = [part for part in named.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        wanted = "/".join(parts)
        beside = "/".join([*PurePosixPath(document).parent.parts, *parts])
        same_name = self._by_name.get(parts[-1] if parts else "", [])
        if beside in same_name:
            return [beside]
        ending = [path for path in same_name if f"/{path}".endswith(f"/{wanted}")]
        if len(ending) > 1:
            # instances_train.json speaks of images/train/
            stem = PurePosixPath(document).stem.lower()
            split = [p for p in ending if any(f.lower() in stem for f in PurePosixPath(p).parts[:-1] if f != "images")]
            return split if len(split) == 1 else ending
        return ending

    def __len__(self) -> int:
        return len(self._paths)


def _key(path: str) -> str:
    """``Labels`` and ``labels`` are one folder; names of files are as they are."""
    place = PurePosixPath(path)
    return "/".join([*(part.lower() for part in place.parts[:-1]), place.stem])


def _folders(path: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in PurePosixPath(path).parts[:-1] if part.lower() not in _LAYOUT)
