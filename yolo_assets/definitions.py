"""Composes ``defs/`` and its resources; nothing else.

Modules with assets are listed, sensors and schedules by name. Each run and each tick starts a process that loads this:
finding assets by package would import services and databases that they never use, and a defs folder of Dagster's
component system every component that installed plug-ins offer.
"""

import dagster as dg

from yolo_assets.defs.alerts.sensors import alerts_sensor
from yolo_assets.defs.archive import assets as archive
from yolo_assets.defs.archive import audit, catalog, checkpoint, copy
from yolo_assets.defs.archive.audit import audit_daily
from yolo_assets.defs.archive.checkpoint import checkpoint_daily
from yolo_assets.defs.archive.copy import copy_hourly
from yolo_assets.defs.archive.sensors import receipts_sensor
from yolo_assets.defs.automation import automation
from yolo_assets.defs.intake import assets as intake
from yolo_assets.defs.intake.sensors import spool_sensor
from yolo_assets.defs.learning import assets as learning
from yolo_assets.defs.learning.checks import every_label_accepted
from yolo_assets.defs.learning.sensors import labels_sensor
from yolo_assets.defs.recovery.sensors import recovery_sensor
from yolo_assets.defs.release import assets as release
from yolo_assets.defs.release import deployed
from yolo_assets.defs.release.search import search_sensor, training_trial
from yolo_assets.defs.release.sensors import fleet_sensor, rollout_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.retention.job import retention_daily
from yolo_assets.defs.tables import assets as tables
from yolo_assets.defs.tables import health_and_drift
from yolo_assets.defs.today import assets as today
from yolo_assets.defs.today.sensors import today_sensor

MODULES = (
    intake,
    tables,
    health_and_drift,
    archive,
    catalog,
    audit,
    checkpoint,
    copy,
    learning,
    release,
    deployed,
    today,
)


def plant_definitions() -> dg.Definitions:
    """The graph of the plant that the environment describes, for our code location and the component alike."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(MODULES, include_specs=True),
        asset_checks=[every_label_accepted],
        sensors=[
            alerts_sensor,
            automation,
            fleet_sensor,
            labels_sensor,
            receipts_sensor,
            recovery_sensor,
            rollout_sensor,
            search_sensor,
            spool_sensor,
            today_sensor,
        ],
        jobs=[training_trial],
        schedules=[audit_daily, checkpoint_daily, copy_hourly, retention_daily],
        resources={"locations": Locations.from_env()},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster shows and runs here."""
    return dg.Definitions.merge(
        plant_definitions(),
        # A process a run instead of one more a step: an hour of six assets starts once instead of seven times, and no
        # step outlives a run worker that was killed. Training and evaluation start processes of their own.
        dg.Definitions(executor=dg.in_process_executor),
    )
