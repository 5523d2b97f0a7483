"""Dagster's storage in PostgreSQL, with connections that are kept.

dagster-postgres opens a connection for every question and has no setting for that: 4 ms of processor time on each side,
half of what an idle plant cost. Belongs here: which connections a process keeps. Does not belong here: what is stored.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
from sqlalchemy.engine import Engine

_KEPT = 3
"""Connections that a process keeps for its next questions. More are opened while they are needed, and closed."""
_OLDEST_SECONDS = 300
"""A connection that is older is replaced, before a firewall forgets it."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """``storage`` of a plant's ``dagster.yaml``: dagster-postgres' own, on one pool for the whole process.

    Every instance that a process opens shares the pool, so connections do not accumulate. One that the server closed,
    in a restart for example, is noticed before it is used. The UI replaces the pool by Dagster's own for web servers.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        """As Dagster calls it.

        Args:
            postgres_url: of the database.
            should_autocreate_tables: whether an empty database gets its tables.
            inst_data: where the settings come from.
            token_provider: for a login by tokens; None: by password.
        """
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        engine = _engine(postgres_url) if token_provider is None else _new_engine(postgres_url, token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine  # what Dagster's own ``optimize_for_webserver`` does

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: PostgresStorageConfig
    ) -> PooledPostgresStorage:
        """Make it of the section ``config``, which is that of ``postgres`` in Dagster's own storage."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


@functools.cache
def _engine(url: str) -> Engine:
    engine = _new_engine(url)
    # Two processes on one connection would read each other's answers.
    os.register_at_fork(after_in_child=functools.partial(engine.dispose, close=False))
    return engine


def _new_engine(url: str, token_provider: Any = None) -> Engine:
    return create_pg_engine(
        url,
        token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT,
        max_overflow=-1,
        pool_pre_ping=True,
        pool_recycle=_OLDEST_SECONDS,
    )
