"""Configuration of cameras, one section for each kind. What is common to the agent is in ``config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from yolo_assets.contracts import names
from yolo_assets.contracts.errors import BadInputError


def id_field(what: str) -> AfterValidator:
    """Validates a name as ``contracts.names.check_id`` does."""

    def check(value: str) -> str:
        try:
            return names.check_id(value, what)
        except BadInputError as error:
            raise ValueError(str(error)) from None

    return AfterValidator(check)


CameraId = Annotated[str, id_field("camera id")]
Policy = Literal["latest", "every"]


class Section(BaseModel):
    """Refuses unknown keys: a misspelt option must not be ignored silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Clock(Section):
    """Simulated time: where it starts and how much faster than real time it runs. It never passes wall time."""

    start: AwareDatetime
    speed: float = Field(default=1.0, gt=0)


class Changes(Section):
    """What happens on the simulated line: another look of everything, a lens that gets dirty."""

    line_change_at: AwareDatetime | None = None
    dirty_lens_at: AwareDatetime | None = None
    dirty_camera: str | None = Field(default=None, description="whose lens; None: all")


class SimulatedCameras(Section):
    """Cameras of the simulated line, by the names that the line gives them; they share one clock."""

    kind: Literal["simulated"]
    camera_ids: tuple[CameraId, ...] = Field(min_length=1, description="lineA_cam01 to lineA_cam99")
    seed: int = Field(default=0, ge=0)
    width: int = Field(default=320, ge=64, le=4096)
    height: int = Field(default=256, ge=64, le=4096)
    fps: float = Field(default=5.0, gt=0, le=1000, description="frames a second of real time, for each camera")
    frames: int | None = Field(default=None, gt=0, description="end after so many frames of each; None runs for ever")
    clock: Clock | None = Field(default=None, description="None: the wall clock")
    changes: Changes = Changes()
    truth: Path | None = Field(default=None, description="folder, outside the spool, for the truth of kept frames")
    policy: Policy = "latest"


class VideoCamera(Section):
    """A video file played as a camera."""

    kind: Literal["video"]
    camera_id: CameraId
    path: Path
    start: AwareDatetime | None = Field(default=None, description="time of its first frame; None: the file's own time")
    pace: Literal["realtime", "as_fast"] = "as_fast"
    fps: float | None = Field(default=None, gt=0, description="keep at most so many frames a second of the video")
    loop: bool = False
    policy: Policy = "every"


class FolderCamera(Section):
    """A folder of photographs played as a camera, in the order of their names."""

    kind: Literal["folder"]
    camera_id: CameraId
    path: Path
    start: AwareDatetime | None = Field(default=None, description="time of the first picture; None: the present")
    pace: Literal["realtime", "as_fast"] = "as_fast"
    fps: float = Field(default=1.0, gt=0, le=1000)
    loop: bool = False
    policy: Policy = "every"


class StreamCamera(Section):
    """A network stream that PyAV reads: RTSP, HTTP MJPEG, MPEG-TS."""

    kind: Literal["stream"]
    camera_id: CameraId
    url: str = Field(pattern=r"^(rtsps?|https?|tcp|udp|srt)://")
    timeout_s: float = Field(default=10.0, gt=0)
    policy: Policy = "latest"


Camera = Annotated[
    SimulatedCameras | VideoCamera | FolderCamera | StreamCamera,
    Field(discriminator="kind"),
]
