"""The search for training options: a trial is a run of ``training_trial`` in the pool of the trainings.

    yolo-assets training search ─► training/studies/<study>.json ─► search_sensor ─► a run a trial ─► Optuna's journal

Belongs here: requesting and running trials. Does not belong here: studies and trials themselves (``training.studies``,
``training.search``).
"""

import dagster as dg
from pydantic import Field

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.cursors import SensorCursor
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.plant_sensor import plant_sensor
from yolo_assets.defs.release.training import try_options
from yolo_assets.defs.resources import Locations

_AS_A_TRAINING = ("trained_weights",)
_MOST_AT_ONCE = 20
_ROOT_RUN = "dagster/root_run_id"


class TrialConfig(dg.Config):
    """Which study a run adds a trial to."""

    study: str = Field(description="its name; yolo-assets training search begins one")


@dg.op(pool="training", retry_policy=RETRY_POLICY, description="Draws options, trains with them, tells the score.")
@by_kind
def search_trial(context: dg.OpExecutionContext, config: TrialConfig, locations: Locations) -> None:
    """One trial. A run that is tried again goes on with the trial of the first."""
    run = context.run.tags.get(_ROOT_RUN, context.run_id)
    trial = try_options(context, locations, config.study, run)
    told = ", ".join(f"{name} {value}" for name, value in sorted(trial.options.items()))
    score = "no score" if trial.score is None else f"mAP50-95 {trial.score:.4f} on the val split"
    context.log.info(f"trial {trial.number} of {trial.study}: {trial.state}, {score}; {told}")


@dg.job(
    tags=run_tags(_AS_A_TRAINING, (), utc_now(), "a trial of a search"),
    description="One trial of a search for training options. The sensor requests as many as the study wants; a run by "
    "hand adds one.",
)
def training_trial() -> None:
    """One op: the trial."""
    search_trial()


class SearchCursor(SensorCursor):
    """How many trials of each study were requested."""

    requested: dict[str, int] = Field(default_factory=dict)


@plant_sensor(target=training_trial, description="Requests a run for each trial that a search still wants.")
def search_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult | dg.SkipReason:
    """List the studies once a tick. A lost cursor requests nothing twice: each trial has a run key."""
    from yolo_assets.training.studies import studies

    requested = dict(SearchCursor.load(context.cursor).requested)
    requests: list[dg.RunRequest] = []
    for study in studies(locations.store()):
        for number in range(requested.get(study.name, 0), study.trials):
            if len(requests) == _MOST_AT_ONCE:
                break
            requests.append(
                dg.RunRequest(
                    run_key=f"search/{study.name}/{study.created_at.timestamp():.0f}/{number}",
                    run_config={"ops": {"search_trial": {"config": {"study": study.name}}}},
                    tags=run_tags(
                        _AS_A_TRAINING, (), utc_now(), f"trial {number + 1} of {study.trials} of {study.name}"
                    ),
                )
            )
            requested[study.name] = number + 1
    if not requests:
        return dg.SkipReason("no study wants a trial")
    return dg.SensorResult(run_requests=requests, cursor=SearchCursor(requested=requested).dump())
