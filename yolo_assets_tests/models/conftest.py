"""Fixtures of the release tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.storage import ObjectStore, open_store


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStore:
    """A store in a folder, for what does not depend on the kind of store."""
    return open_store((tmp_path / "folder").as_uri())


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A fresh promotion key."""
    return Signer.load_or_create(tmp_path / "keys" / "promotion")


@pytest.fixture
def trusted(signer: Signer) -> TrustedKeys:
    """What an agent trusts."""
    return TrustedKeys.of(signer)
