"""Merkle trees as in RFC 6962: one hash for a list, short proofs that an entry is in it and that it only grew.

A leaf's hash is ``SHA-256(0x00 || entry)``, a node's ``SHA-256(0x01 || left || right)``; a tree of n entries splits at
the largest power of two below n. Belongs here: hashes and proofs of lists of leaf hashes. Does not belong here: what an
entry is (the file of a sealed hour: ``spool.sealing``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()
"""Root of the tree without entries."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry, 32 bytes."""
    return hashlib.sha256(b"\0" + entry).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of a tree.

    Args:
        leaves: hashes from ``leaf_hash``, in order.
    """
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Siblings on the way from a leaf to the root, the nearest first.

    Args:
        leaves: hashes from ``leaf_hash``, in order.
        index: of the leaf, from 0.

    Raises:
        IndexError: there is no such leaf.
    """
    return MerkleTree(leaves).inclusion_proof(index)


class MerkleTree:
    """All nodes of a tree, for many proofs: each costs as many steps as the tree is high."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """Hash the whole tree.

        Args:
            leaves: hashes from ``leaf_hash``, in order.
        """
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            self._levels.append(_parents(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """Its root."""
        return self._levels[-1][0] if self._levels[-1] else EMPTY

    def inclusion_proof(self, index: int) -> list[bytes]:
        """See the function of this name.

        Raises:
            IndexError: there is no such leaf.
        """
        if not 0 <= index < len(self._levels[0]):
            raise IndexError(f"there is no leaf {index} among {len(self._levels[0])}")
        siblings = ((level, index >> height ^ 1) for height, level in enumerate(self._levels))
        return [level[sibling] for level, sibling in siblings if sibling < len(level)]


class GrowingTree:
    """A tree that only grows, of which nothing but the roots of its full halves is kept: 32 bytes a level.

    Who kept one and appends what a longer tree has more knows its root without any earlier leaf.
    """

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        """Begin with an empty tree, or go on with one.

        Args:
            size: of the tree, in leaves.
            nodes: what ``nodes`` gave for it.

        Raises:
            ValueError: these are not the nodes of a tree of that size.
        """
        heights = [height for height in reversed(range(size.bit_length())) if size >> height & 1]
        self.size = size
        self._nodes = dict(zip(heights, nodes, strict=True))

    @property
    def nodes(self) -> list[bytes]:
        """Roots of the largest full trees that it is made of, the largest first."""
        return [self._nodes[height] for height in sorted(self._nodes, reverse=True)]

    @property
    def root(self) -> bytes:
        """Its root."""
        found: bytes | None = None
        for height in sorted(self._nodes):
            found = self._nodes[height] if found is None else _node(self._nodes[height], found)
        return EMPTY if found is None else found

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaves.

        Args:
            leaves: hashes from ``leaf_hash``, in order.
        """
        level, height = list(leaves), 0
        self.size += len(level)
        while level or any(above >= height for above in self._nodes):
            if (before := self._nodes.pop(height, None)) is not None:
                level.insert(0, before)
            if len(level) % 2:
                self._nodes[height] = level.pop()
            level, height = _parents(level), height + 1


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf is entry ``index`` of the tree of ``size`` entries with this root.

    Follows RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place % 2 or place == last:
            found = _node(sibling, found)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _node(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Nodes that show that the first ``size`` entries are a tree that this one continues.

    Args:
        leaves: hashes from ``leaf_hash`` of the longer tree, in order.
        size: of the shorter tree, from 1.

    Raises:
        IndexError: the shorter tree is empty or the longer one.
    """
    if not 0 < size <= len(leaves):
        raise IndexError(f"a tree of {len(leaves)} entries continues none of {size}")
    return _subproof(leaves, size, whole=True)


def is_consistent(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the new tree begins with the old one.

    Follows RFC 9162, section 2.1.4.2.
    """
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    nodes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not nodes:
        return False
    place, last = old_size - 1, new_size - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if place % 2 or place == last:
            old, new = _node(node, old), _node(node, new)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            new = _node(new, node)
        place, last = place >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def _subproof(leaves: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    """RFC 6962, section 2.1.2; ``whole``: the old root is known to whoever verifies."""
    if size == len(leaves):
        return [] if whole else [merkle_root(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if size <= split:
        return [*_subproof(leaves[:split], size, whole=whole), merkle_root(leaves[split:])]
    return [*_subproof(leaves[split:], size - split, whole=False), merkle_root(leaves[:split])]


def _parents(level: list[bytes]) -> list[bytes]:
    """The next level. A last node without a partner goes up as it is: the same as splitting at a power of two."""
    paired = [_node(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
    return [*paired, level[-1]] if len(level) % 2 else paired


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
