"""NVIDIA's management library, where this machine has a card and its driver.

Does not belong here: which figures of a card are read, and what for.
"""

from __future__ import annotations

from typing import Any


def open_nvml() -> Any:
    """The module ``pynvml``, initialised; None where the package, the driver or the card is missing.

    Who opens it calls its ``nvmlShutdown`` when no more figures are wanted; openings are counted.
    """
    try:
        import pynvml  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
