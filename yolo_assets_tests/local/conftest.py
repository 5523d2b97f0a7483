"""The driver is tested on an installation of its own, as the graph is."""

from yolo_assets_tests.defs.conftest import graph, home

__all__ = ["graph", "home"]
