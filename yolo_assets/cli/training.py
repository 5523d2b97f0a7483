"""``yolo-assets training``: whether a training is due, and the search for better training options."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.common import JsonOption, StoreOption, emit_json, need, note, out, settings, show_table, valid
from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import format_time, utc_now

if TYPE_CHECKING:
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.defs.resources import Locations
    from yolo_assets.training.studies import Study

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
_study_name = valid(lambda text: check_id(text, "study"))
StudyArgument = Annotated[str, typer.Argument(help="Name of the study.", metavar="STUDY", parser=_study_name)]


@app.command()
def status(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Whether a training is due by the plant's policy, and what it waits for.

    The policy is the section training of plant.yaml. What is new is counted from the dataset of the newest attempt.

    Example: yolo-assets training status
    """
    need("dagster", "polars")
    from yolo_assets.defs.training_due import decision_of
    from yolo_assets.local.dagster_home import find_dagster_home

    where = settings(store=store)
    decision = decision_of(find_dagster_home(where.home), _locations(where))
    if as_json:
        look_at = format_time(decision.look_at) if decision.look_at is not None else None
        emit_json({"due": decision.due, "why": decision.why, "look_at": look_at})
        return
    out().print(f"{'due' if decision.due else 'not due'}: {decision.why}", markup=False)


@app.command()
def search(
    study: StudyArgument,
    trials: Annotated[int, typer.Option("--trials", help="So many more trials.", min=1, max=1000)] = 20,
    space: Annotated[
        Path | None, typer.Option("--space", help="What to vary: an option of the recipe a line.", metavar="FILE")
    ] = None,
    earlier: Annotated[
        list[str] | None,
        typer.Option("--from", help="A study whose best trials are tried first; may be repeated.", metavar="STUDY"),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a search for better training options, or ask for more trials of one that is there.

    Each trial is a run of the job training_trial, one after the other in the pool training. All trials of a study train
    on the dataset and from the weights that were the newest when it began; the plant's recipe is tried first. A trial
    that is behind the others is ended early. Nothing is released: put what is best into the recipe.

    Example: yolo-assets training search spring --trials 30
    """
    need("dagster", "optuna", "polars")
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.training.search import wanted
    from yolo_assets.training.studies import USUAL_SPACE, Study, read_space, read_study

    before = [_study_name(name) for name in earlier or ()]
    where = settings(store=store)
    locations = _locations(where)
    opened = locations.store()
    there = read_study(opened, study)
    if there is not None and (space is not None or earlier):
        raise UsageError(f"study {study} is there; --space and --from are for a new one, give another name")
    if there is None:
        dataset = latest_dataset(opened)
        if dataset is None:
            raise BadInputError("there is no dataset yet; import labels, then run yolo-assets datasets build")
        there = Study(
            name=study,
            dataset=dataset.sha256,
            spec=_spec(locations, dataset.sha256),
            space=read_space(space) if space is not None else USUAL_SPACE,
            trials=trials,
            created_at=utc_now(),
        )
    raised = wanted(opened, there, more=trials, earlier=before)
    if as_json:
        emit_json({"study": study, "trials": raised.trials, "dataset": raised.dataset, "options": sorted(raised.space)})
        return
    out().print(f"{study}: {raised.trials} trials wanted in all", markup=False)
    note(f"Dagster's search_sensor requests them within a minute; yolo-assets training trials {study} shows them")


@app.command()
def trials(
    study: StudyArgument,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the options of the best trial as a section of a recipe, in JSON.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """The trials of a study, the best first: state, score on the val split, options.

    Example: yolo-assets training trials spring
    """
    need("optuna")
    from yolo_assets.storage.open import open_store
    from yolo_assets.training.search import trials_of
    from yolo_assets.training.studies import read_study

    where = settings(store=store)
    opened = open_store(where.store_url, memory=where.known_stores)
    found = sorted(trials_of(opened, study), key=lambda trial: (trial.state.name != "COMPLETE", -(trial.value or 0.0)))
    plan = read_study(opened, study)
    assert plan is not None
    if recipe:
        if not found or found[0].state.name != "COMPLETE":
            raise BadInputError(f"no trial of {study} is complete yet; yolo-assets training trials {study} shows them")
        emit_json(_recipe(plan, found[0].params))
        return
    rows = [{"trial": t.number, "state": t.state.name.lower(), "score": t.value, "options": t.params} for t in found]
    if as_json:
        emit_json({"study": study, "wanted": plan.trials, "trials": rows})
        return
    cells = [
        [str(row["trial"]), row["state"], "" if row["score"] is None else f"{row['score']:.4f}", _told(row["options"])]
        for row in rows
    ]
    show_table(["trial", "state", "mAP50-95", "options"], cells)
    note(f"{plan.trials} trials wanted in all; scores are of the val split")


def _told(options: dict[str, Any]) -> str:
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in options.items()}
    return "  ".join(f"{name} {value}" for name, value in sorted(shown.items()))


def _recipe(plan: Study, options: dict[str, Any]) -> dict[str, Any]:
    """The section of a recipe by which a training of the same inputs is the trial, whose weights it then takes."""
    spec = plan.with_options(options)
    section = spec.model_dump(mode="json", exclude_unset=True, exclude={"name", "parent", "weights"})
    return {"starter" if spec.parent is None and spec.weights is None else "fine_tune": section}


def _locations(where: Settings) -> Locations:
    warnings.filterwarnings("ignore", module="dagster")  # about features in preview
    from yolo_assets.defs.resources import Locations

    return Locations(values=where.model_dump(mode="json", exclude_none=True))


def _spec(locations: Locations, dataset: str) -> Any:
    """What would be trained next."""
    from yolo_assets.defs.release.assets import champion_of, next_training

    return next_training(locations, champion_of(locations), dataset)[0]
