"""Merkle trees: RFC 6962's own vectors, and every root and proof against pymerkle."""

from __future__ import annotations

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.merkle import (
    EMPTY,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    merkle_root,
)

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""Of the test vectors of Certificate Transparency."""

entries = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def others_tree(data: list[bytes]) -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in data:
        tree.append_entry(entry)
    return tree


def test_the_roots_of_the_published_vectors() -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    assert EMPTY.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" == merkle_root([]).hex()
    assert merkle_root(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle_root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_proofs_of_the_published_vectors() -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    assert [node.hex() for node in consistency_proof(leaves, 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in inclusion_proof(leaves, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(entries, st.data())
def test_roots_and_proofs_are_those_of_another_program(data: list[bytes], draw: st.DataObject) -> None:
    leaves, tree = [leaf_hash(entry) for entry in data], others_tree(data)
    assert merkle_root(leaves) == tree.get_root()
    index = draw.draw(st.integers(0, len(data) - 1))
    proof = inclusion_proof(leaves, index)
    assert is_included(leaves[index], index, len(leaves), proof, merkle_root(leaves))
    assert sorted([leaves[index], *proof]) == sorted(tree.prove_inclusion(index + 1).path), "they count from one"
    size = draw.draw(st.integers(1, len(data)))
    shown = consistency_proof(leaves, size)
    assert is_consistent(size, len(leaves), merkle_root(leaves[:size]), merkle_root(leaves), shown)


@given(entries, st.data())
def test_a_proof_of_something_else_is_refused(data: list[bytes], draw: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([place]) + entry) for place, entry in enumerate(data)]
    root = merkle_root(leaves)
    index, other = draw.draw(st.integers(0, len(data) - 1)), draw.draw(st.integers(0, len(data) - 1))
    proof = inclusion_proof(leaves, index)
    assert is_included(leaves[other], index, len(leaves), proof, root) == (other == index)
    assert is_included(leaves[index], other, len(leaves), proof, root) == (other == index)
    assert not is_included(leaves[index], index, len(leaves), [*proof, root], root)
    assert not is_included(leaves[index], len(leaves), len(leaves), proof, root)
    size = draw.draw(st.integers(1, len(data)))
    shown, before = consistency_proof(leaves, size), merkle_root(leaves[:size])
    changed = merkle_root([leaf_hash(b"another"), *leaves[1:size]])
    assert not is_consistent(size, len(leaves), changed, root, shown)
    assert not is_consistent(size, len(leaves), before, leaf_hash(b""), shown)
    assert not is_consistent(size, len(leaves), before, root, [*shown, root])


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    with pytest.raises(IndexError, match="no leaf 1 among 1"):
        inclusion_proof([EMPTY], 1)
    with pytest.raises(IndexError, match="a tree of 1 entries continues none of 2"):
        consistency_proof([EMPTY], 2)
