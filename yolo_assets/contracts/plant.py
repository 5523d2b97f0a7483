"""``plant.yaml``: what several parts must agree on and no program can find out, described once.

Absent, nothing changes. Each subject has a section of its own: ``cameras``, the cameras that should be there, so that
one that was never seen is missed; ``ui``, the address for links; ``shifts``, what is usual when (``contracts.shifts``);
``alerts``, who is told when something is wrong (``contracts.alerting``); ``training``, what starts a training
(``contracts.training_start``); ``rollout`` and ``people``, how releases go out and who agrees
(``contracts.releasing``). Does not belong here: what one machine needs (``settings``) or one agent (``edge.config``).
"""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from yolo_assets.contracts.alerting import AlertSettings
from yolo_assets.contracts.base import Record, is_json_object, one_line
from yolo_assets.contracts.brokers import Events, anchor_files
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.locations import page_address
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.releasing import People, RolloutSettings, anchor_people
from yolo_assets.contracts.settings import PLANT_FILE, Settings
from yolo_assets.contracts.shifts import ShiftPlan
from yolo_assets.contracts.strict_yaml import parse_yaml
from yolo_assets.contracts.text import decode_text
from yolo_assets.contracts.training_start import TrainingStart


def _camera_id(value: str) -> str:
    try:
        return check_id(value)
    except BadInputError as error:
        raise ValueError(str(error)) from None


def _by_id(value: object) -> object:
    """A camera may be written as its id alone."""
    if isinstance(value, str):
        return {"id": value}
    if is_json_object(value) or isinstance(value, PlantCamera):
        return value
    # YAML reads 007 as a number, and on as true.
    raise ValueError(f"{value!r} is not a camera id; write it in quotes")


class PlantCamera(Record):
    """One camera that should be there. Later sections of its own become options here."""

    id: Annotated[str, AfterValidator(_camera_id)] = Field(description="camera id, as the spool's folder is named")


def _listed(value: object) -> object:
    if isinstance(value, list | tuple):
        return cast(object, value)
    raise ValueError("give a list of camera ids, like [lineA_cam01, lineA_cam02]")


def _different(cameras: tuple[PlantCamera, ...]) -> tuple[PlantCamera, ...]:
    names = [camera.id for camera in cameras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is listed twice")
    return cameras


class Plant(Record):
    """The content of ``plant.yaml``. What is not known is refused: a misspelt section must not be lost."""

    cameras: Annotated[
        tuple[Annotated[PlantCamera, BeforeValidator(_by_id)], ...],
        BeforeValidator(_listed),
        AfterValidator(_different),
    ] = Field(default=(), description="the cameras that should be there: ids, or mappings with `id`")

    ui: Annotated[str, AfterValidator(page_address)] | None = Field(
        default=None, description="base address of the Dagster UI, for the links in messages and pages"
    )
    label_tool: Annotated[str, AfterValidator(page_address)] | None = Field(
        default=None, description="address of the project in the labelling tool, for the links to it"
    )
    alerts: AlertSettings = Field(default=AlertSettings(), description="who is told when something is wrong")
    events: Events = Field(
        default=Events(), description="brokers for announcements, and the receiver of `yolo-assets events listen`"
    )
    training: TrainingStart = Field(default=TrainingStart(), description="what starts a training")

    shifts: ShiftPlan | None = Field(
        default=None, description="when the plant works, its lamps are on, and it stands on purpose"
    )
    rollout: RolloutSettings | None = Field(
        default=None, description="releases go out in waves; absent, to every device at once"
    )
    people: People | None = Field(default=None, description="who must approve a release; absent, nobody must")

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Ids of ``cameras``, as listed."""
        return tuple(camera.id for camera in self.cameras)


def load_plant(settings: Settings) -> Plant:
    """The plant of an installation; one without sections where the home has no ``plant.yaml``.

    Raises:
        BadInputError: the file cannot be read, or is wrong: the line names the file and the option. Also when
            ``YOLO_ASSETS_PLANT`` names a file that is not there.
    """
    path = settings.plant
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if path == settings.home / PLANT_FILE:
            return Plant()
        raise BadInputError(f"there is no {path}, which YOLO_ASSETS_PLANT names; write it, or unset that") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from None
    content = parse_yaml(decode_text(data, str(path)), str(path))
    if content is None:  # empty, or nothing but comments
        return Plant()
    if not isinstance(content, dict):
        raise BadInputError(f"{path} has no sections; write for example cameras: [lineA_cam01, lineA_cam02]")
    if "events" in content:
        content["events"] = anchor_files(content["events"], path.parent)
    if "people" in content:
        content["people"] = anchor_people(cast(object, content["people"]), path.parent)
    try:
        return Plant.model_validate(content)
    except ValidationError as error:
        raise BadInputError(f"{path}: {one_line(error)}") from None
