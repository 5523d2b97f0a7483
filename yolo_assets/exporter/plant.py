"""The exporter of one installation: its subjects over the instance, the stores and the spool that its settings name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property

import dagster as dg
from prometheus_client.core import Metric

from yolo_assets.contracts.archiver_figures import families as archiver_families
from yolo_assets.contracts.archiver_figures import read_figures
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.exporter.archiving import Catalog, backlog_families, copy_families
from yolo_assets.exporter.cached import Subject, Subjects
from yolo_assets.exporter.instance import Runs, partition_families
from yolo_assets.exporter.releases import Releases, fleet_families
from yolo_assets.local.dagster_home import find_dagster_home
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.open import open_store


def open_exporter(settings: Settings, say: Callable[[str], None]) -> Subjects:
    """Everything that an installation has to show.

    Args:
        settings: of the installation; its Dagster instance is that of ``DAGSTER_HOME``, else of the home.
        say: called with a line when a subject cannot be read.

    Raises:
        UserError: there is no Dagster instance.
    """
    place = find_dagster_home(settings.home)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="dagster")  # of features in preview: nothing for who reads the log
        from yolo_assets.definitions import defs

        return PlantFigures(settings, dg.DagsterInstance.from_config(str(place)), defs()).subjects(say)


class PlantFigures:
    """What the exporter reads. Stores are opened at first use, so that one that is away is a subject that fails."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        self._settings = settings
        self._instance = instance
        self._graph = definitions.get_repository_def().asset_graph
        self._runs = Runs(instance)

    def subjects(self, say: Callable[[str], None]) -> Subjects:
        """All of them, as one collector; ``say`` is told which cannot be read."""
        return Subjects(
            [
                Subject("runs", self._runs.families),
                Subject("partitions", lambda: partition_families(self._instance, self._graph), timedelta(minutes=1)),
                Subject("spool", lambda: backlog_families(self._settings, utc_now())),
                Subject("archiver", self._archiver),
                Subject("catalog", lambda: self._catalog.families()),
                Subject("copy", lambda: copy_families(self._store, self._settings, utc_now()), timedelta(minutes=1)),
                Subject("fleet", lambda: fleet_families(self._store, self._releases.pointers(), utc_now())),
                Subject("releases", lambda: self._releases.families()),
            ],
            say,
        )

    @cached_property
    def _store(self) -> ObjectStore:
        return open_store(self._settings.store_url, memory=self._settings.known_stores)

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog(self._store, self._settings)

    @cached_property
    def _releases(self) -> Releases:
        """By the public keys of promotion; the private one is none of the exporter's business."""
        keys = self._settings.promotion_public_keys()
        trusted = TrustedKeys.load(keys) if keys else TrustedKeys.of()
        return Releases(Registry(self._store, trusted), self._settings.model_name)

    def _archiver(self) -> Iterable[Metric]:
        """The counters of the archiver whose home this is, whatever process counted."""
        figures = read_figures(self._settings.archiver_figures)
        return () if figures is None else archiver_families(figures, utc_now())
