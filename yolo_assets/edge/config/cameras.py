"""Configuration of cameras, one section for each kind. What is common to the agent is in ``agent``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, model_validator

from yolo_assets.edge.config.codes import Codes
from yolo_assets.edge.config.masks import Mask
from yolo_assets.edge.config.section import CameraId, Section

Policy = Literal["latest", "every"]


class Clock(Section):
    """Simulated time: where it starts and how much faster than real time it runs. It never passes wall time."""

    start: AwareDatetime = Field(description="time of the first frame, with its zone, in the past")
    speed: float = Field(default=1.0, gt=0, description="simulated seconds in one real second")


class Changes(Section):
    """What happens on the simulated line: another look of everything, a lens that gets dirty."""

    line_change_at: AwareDatetime | None = Field(default=None, description="from this time everything looks different")
    dirty_lens_at: AwareDatetime | None = Field(default=None, description="from this time the lens gets dirty")
    dirty_camera: str | None = Field(default=None, description="camera whose lens gets dirty; None: all")


class AnyCamera(Section):
    """What every kind of camera has."""

    mask: Mask | None = Field(default=None, description="areas that nobody may see, painted over in every picture")
    codes: Codes | None = Field(default=None, description="read batch and part from codes in the picture")


class RunningCamera(AnyCamera):
    """What every camera has that shows the present: not files and folders, which may show the same for long."""

    frozen_after_s: float = Field(
        default=60.0,
        ge=0,
        le=86400,
        description="a camera that shows nothing but the same picture for this long is frozen; 0: never",
    )


class SimulatedCameras(RunningCamera):
    """Cameras of the simulated line, by the names that the line gives them; they share one clock."""

    kind: Literal["simulated"] = Field(description="cameras of the simulated line")
    camera_ids: tuple[CameraId, ...] = Field(min_length=1, description="lineA_cam01 to lineA_cam99")
    seed: int = Field(default=0, ge=0, description="equal seeds give equal pictures")
    width: int = Field(default=320, ge=64, le=4096, description="pixels")
    height: int = Field(default=256, ge=64, le=4096, description="pixels")
    fps: float = Field(default=5.0, gt=0, le=1000, description="frames a second of real time, for each camera")
    frames: int | None = Field(default=None, gt=0, description="end after this many frames of each; None runs for ever")
    clock: Clock | None = Field(default=None, description="None: the wall clock")
    changes: Changes = Field(default=Changes(), description="what happens on the line, and when")
    truth: Path | None = Field(default=None, description="folder, outside the spool, for the truth of kept frames")
    policy: Policy = Field(
        default="latest",
        description="latest: a newer frame replaces one in the queue; every: the newest is dropped when it is full",
    )


class VideoCamera(AnyCamera):
    """A video file played as a camera."""

    kind: Literal["video"] = Field(description="a video file")
    camera_id: CameraId = Field(description="name of the camera: letters, digits, _ and -")
    path: Path = Field(description="the video file")
    start: AwareDatetime | None = Field(
        default=None, description="time of its first frame; None: its last one has the file's own time"
    )
    pace: Literal["realtime", "as_fast"] = Field(
        default="as_fast",
        description="as_fast: as fast as frames are processed, never ahead of the clock; realtime: at their own rate",
    )
    fps: float | None = Field(default=None, gt=0, description="keep at most this many frames a second of the video")
    loop: bool = Field(default=False, description="start again at the end")
    policy: Policy = Field(
        default="every",
        description="latest: a newer frame replaces one in the queue; every: the newest is dropped when it is full",
    )


class FolderCamera(AnyCamera):
    """A folder of photographs played as a camera, in the order of their names."""

    kind: Literal["folder"] = Field(description="a folder of photographs")
    camera_id: CameraId = Field(description="name of the camera: letters, digits, _ and -")
    path: Path = Field(description="the folder")
    start: AwareDatetime | None = Field(default=None, description="time of the first picture; None: the present")
    pace: Literal["realtime", "as_fast"] = Field(
        default="as_fast",
        description="as_fast: as fast as frames are processed, never ahead of the clock; realtime: at their own rate",
    )
    fps: float = Field(default=1.0, gt=0, le=1000, description="the pictures count as this many frames a second")
    loop: bool = Field(default=False, description="start again at the end")
    policy: Policy = Field(
        default="every",
        description="latest: a newer frame replaces one in the queue; every: the newest is dropped when it is full",
    )


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone; use a name like Europe/Berlin") from None
    return value


class DropFolderCamera(AnyCamera):
    """A folder into which an inspection machine drops pictures, each read once."""

    kind: Literal["drop_folder"] = Field(description="a folder into which a machine drops pictures")
    camera_id: CameraId = Field(description="name of the camera: letters, digits, _ and -")
    path: Path = Field(description="the folder")
    after: Literal["move", "keep", "remove"] = Field(
        default="move", description="what becomes of a file with a record; move: into done/<day> of the folder"
    )
    settle_s: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="a file is complete once it has not changed for this long; 0: files are renamed into the folder",
    )
    poll_s: float = Field(default=0.5, ge=0.01, le=3600, description="seconds from one look at the folder to the next")
    time: Literal["file", "exif", "arrival"] = Field(
        default="file", description="when a picture was taken: the time of its file, its EXIF data, when it is read"
    )
    timezone: Annotated[str, AfterValidator(_time_zone)] = Field(
        default="UTC", description="of EXIF times that name none, by its IANA name"
    )
    reconnect_max_s: float = Field(
        default=30.0, gt=0, le=3600, description="longest wait between tries while the folder is away"
    )


class LiveCamera(RunningCamera):
    """What is common to cameras that a child process reads and that are tried again for ever."""

    camera_id: CameraId = Field(description="name of the camera: letters, digits, _ and -")
    timeout_s: float = Field(
        default=10.0, ge=0.5, le=3600, description="a camera that gives no picture for this long is opened again"
    )
    reconnect_max_s: float = Field(
        default=30.0, gt=0, le=3600, description="longest wait between tries; the first is half a second"
    )
    policy: Policy = Field(
        default="latest",
        description="latest: a newer frame replaces one in the queue; every: the newest is dropped when it is full",
    )


def _address(*schemes: str) -> AfterValidator:
    """Refuses without quoting: an address may hold a password.

    A character of a password that ends the host, as ``#`` does, would make the user a host and show the rest as one.
    """

    def check(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        try:
            parts = urlsplit(text)
            good = bool(parts.port or parts.hostname) and parts.scheme in schemes and not set(text) & set(" \r\n\t")
            good = good and "@" not in parts.path + parts.query + parts.fragment
        except ValueError:
            good = False
        if not good:
            form = "rtsp://host:554/path" if "rtsp" in schemes else "http://host/path"
            what = "a stream" if "rtsp" in schemes else "a picture"
            words = f"not the address of {what}; write it like {form} ({', '.join(schemes)})"
            if "@" in text:
                words += "; give user and password as credentials_file, or write # as %23, / as %2F, ? as %3F, @ as %40"
            raise ValueError(words)
        return value

    return AfterValidator(check)


class NetworkCamera(LiveCamera):
    """What is common to cameras with an address and a login."""

    credentials_env: str | None = Field(
        default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="variable that holds user:password"
    )
    credentials_file: Path | None = Field(default=None, description="file with the line user:password")

    @model_validator(mode="after")
    def _one_source_of_credentials(self) -> NetworkCamera:
        if self.credentials_env is not None and self.credentials_file is not None:
            raise ValueError("give credentials_env or credentials_file, not both")
        return self


class StreamCamera(NetworkCamera):
    """A network stream that PyAV reads: RTSP, HTTP MJPEG, MPEG-TS."""

    kind: Literal["stream"] = Field(description="a network stream")
    url: Annotated[SecretStr, _address("rtsp", "rtsps", "http", "https", "tcp", "udp", "srt")] = Field(
        description="rtsp, rtsps, http, https, tcp or udp address, without a password"
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="transport of RTSP; tcp loses no packets")
    fps: float | None = Field(default=None, gt=0, le=1000, description="take at most this many frames a second")
    options: dict[str, str] = Field(default={}, description="more options for FFmpeg, by its names")


class SnapshotCamera(NetworkCamera):
    """A camera that gives one picture a request, over HTTP with a Basic or Digest login."""

    kind: Literal["snapshot"] = Field(description="a network camera that gives one picture a request")
    url: Annotated[SecretStr, _address("http", "https")] = Field(
        description="http or https address of the picture, without a password"
    )
    interval_s: float = Field(default=1.0, ge=0.02, le=3600, description="seconds from one request to the next")
    ca_file: Path | None = Field(
        default=None, description="certificate authority of the camera, PEM; None: those of the system"
    )


class UsbCamera(LiveCamera):
    """A USB (V4L2) camera that OpenCV reads."""

    kind: Literal["usb"] = Field(description="a USB camera (V4L2)")
    device: Annotated[int, Field(ge=0, le=255)] | Annotated[str, Field(pattern=r"^/dev/\S+$")] = Field(
        description="its number, or better a path that stays: /dev/v4l/by-id/..."
    )
    width: int | None = Field(default=None, ge=16, le=16384, description="pixels to request; None: its default")
    height: int | None = Field(default=None, ge=16, le=16384, description="pixels to request; None: its default")
    fps: float | None = Field(
        default=None, gt=0, le=1000, description="frames a second to request from the camera, and to take at most"
    )
    fourcc: str | None = Field(default=None, pattern=r"^[A-Z0-9]{4}$", description="pixel format to request, like MJPG")


class GenicamCamera(LiveCamera):
    """A GigE Vision camera that Aravis reads by GenICam. What is left out stays as the camera has it."""

    kind: Literal["genicam"] = Field(description="a GigE Vision camera, by GenICam")
    device: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:() -]{0,127}$",
        description="its IP address, or its id as arv-tool-0.8 lists it: <vendor>-<serial number>",
    )
    fps: float | None = Field(
        default=None, gt=0, le=1000, description="frames a second to request from the camera, and to take at most"
    )
    exposure_us: float | None = Field(
        default=None, gt=0, le=1e8, description="microseconds; switches its automatic off"
    )
    gain: float | None = Field(
        default=None, ge=0, le=1000, description="in the camera's unit, most often dB; switches its automatic off"
    )
    packet_size: int | None = Field(
        default=None, ge=576, le=16000, description="bytes; above 1500 the network must carry jumbo frames"
    )
    pixel_format: Literal["Mono8", "BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8", "RGB8"] | None = Field(
        default=None, description="None: the one that it has; other formats cannot be read"
    )


RemoteCamera = StreamCamera | SnapshotCamera | UsbCamera | GenicamCamera
OneCamera = VideoCamera | FolderCamera | DropFolderCamera | RemoteCamera
Camera = Annotated[SimulatedCameras | OneCamera, Field(discriminator="kind")]
