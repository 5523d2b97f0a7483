"""Dagster's storage in SQLite, whose event log does not wait for the disk at each event.

Dagster stores each event in a transaction of its own, and SQLite by default waits after each until the disk has it. In
SQLite's write-ahead mode, which Dagster uses, an event survives every kill without that wait. Only a power cut may take
the newest events, and never harms the file: the asset is asked for once more, and finds its work done.

Belongs here: how SQLite writes. Does not belong here: what is stored; PostgreSQL (``postgres_storage``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, SqliteStorageConfig, _event_logs_directory
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection


class SqliteInstance(DagsterInstance):
    """``instance_class`` of ``dagster.yaml``: Dagster's own, with our SQLite where no other storage is named.

    The section ``storage`` would have to name the folder, which differs from installation to installation.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """No settings of its own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """What Dagster uses for a part that ``dagster.yaml`` does not name; ``base_dir`` is ``DAGSTER_HOME``."""
        storage = ConfigurableClassData(__name__, SqliteStorage.__name__, yaml.dump({"base_dir": base_dir}))
        return {**InstanceRef.config_defaults(base_dir), "storage": storage}


class SqliteStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite, in the same files."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """As Dagster calls it; ``base_dir`` is ``DAGSTER_HOME``."""
        super().__init__(base_dir, inst_data)
        self._event_log_storage = SqliteEvents(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig) -> SqliteStorage:
        """Make it of the section ``config``."""
        return cls(config_value["base_dir"], inst_data)


class SqliteEvents(SqliteEventLogStorage):
    """Dagster's event log in SQLite; the write-ahead log reaches the disk at each checkpoint, not at each event."""

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with super()._connect(shard) as connection:
            # The setting is the connection's, and cannot change once something was written on it.
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            yield connection
