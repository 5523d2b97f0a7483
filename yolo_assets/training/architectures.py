"""The networks that can be trained here, and what a running agent would say of a change between them.

Belongs here: names, and what follows from a name alone, so that it is known before hours of training. Does not belong
here: building a network, and what an exported file really declares (``vision.contract``).
"""

from __future__ import annotations

from difflib import get_close_matches

from yolo_assets.contracts.model import ModelManifest, OutputLayout
from yolo_assets.vision.contract import differences

STRIDE = 32
"""Of every network here."""

_SCALED = {
    "yolov3": ("", "-spp", "-tiny"),
    "yolov6": tuple("nsmlx"),
    **dict.fromkeys(("yolov5", "yolov8", "yolo11", "yolo12", "yolo26"), tuple("nsmlx")),
    "yolov9": tuple("tsmce"),
    "yolov10": tuple("nsmblx"),
}
ARCHITECTURES = tuple(f"{family}{scale}.yaml" for family, scales in _SCALED.items() for scale in scales)
"""Detection networks of the installed Ultralytics, by the names of their descriptions."""

LAYOUT: OutputLayout = "raw"
"""Of every export here; YOLOv10 and YOLO26, too, are exported without suppression inside."""


def check_architecture(name: str) -> str:
    """The name as Ultralytics takes it, with ``.yaml``.

    Raises:
        ValueError: there is no such network; the nearest name is told.
    """
    full = name if name.endswith(".yaml") else f"{name}.yaml"
    if full in ARCHITECTURES:
        return full
    near = get_close_matches(full, ARCHITECTURES, 1, 0.5)
    advice = f"did you mean {near[0]}?" if near else "take one like yolo11n.yaml, yolo26s.yaml, yolov8m.yaml"
    raise ValueError(f"there is no network {name!r}; {advice}")


def agents_refuse(serving: ModelManifest, architecture: str | None, sides: tuple[int, int]) -> list[str]:
    """Why agents that serve a model would refuse its successor, known before it is trained; empty: they take it.

    Args:
        serving: the manifest of the model that the channel serves.
        architecture: of the successor; None keeps that of the model.
        sides: height and width of its input in pixels.
    """
    stride = serving.stride if architecture is None else STRIDE
    successor = serving.model_copy(
        update={"input_shape": (1, 3, *sides), "output_layout": LAYOUT, "stride": stride, "version": "successor"}
    )
    return differences(serving, successor)
