"""helm, unpacked once a session."""

from __future__ import annotations

import pytest

from yolo_assets_tests.kubernetes.charts import Helm, unpack_helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm as a program."""
    return Helm(unpack_helm(tmp_path_factory.mktemp("helm")))
