"""The state of the model in words, for people: serving, staging what, watched, pinned, in quarantine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["good", "warn", "bad", "plain"]
_MOST_QUARANTINED = 3


def model_states(model: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a line worker must know, most important first: ``word``, ``detail``, and ``kind`` for its colour.

    Args:
        model: the document of ``GET /v1/models``, without these states.
    """
    states: list[dict[str, str]] = []

    def add(kind: Kind, word: str, detail: str = "") -> None:
        states.append({"kind": kind, "word": word, "detail": detail})

    version, trial, canary = model["version"], model["trial"], model["canary"]
    if version is None:
        add("warn", "no model", f"waiting for a release of {model['name']}")
    elif trial is not None:
        left = f"{trial['seconds_left']:.0f} s left, then it is kept; "
        add("warn", "serving on trial", f"{left}the old one takes over if it does worse")
    else:
        add("good", "serving")
    for hung in model["hung"]:
        add("bad", "hangs", f"an inference on {hung['version']} for {hung['seconds']:.0f} s")
    preparing = model["preparing"]
    if preparing is not None and preparing != version:
        add("plain", "staging", preparing)
    if canary is not None and canary["version"] is not None:
        add("warn", "canary", f"{canary['version']} on {', '.join(canary['cameras'])}")
    light = model["light"]
    if light is not None and light["cameras"]:
        add("warn", "relieved", f"{light['version']} has {', '.join(light['cameras'])} while there is so much to do")
    if model["waiting"] is not None:
        until = f"until {model['frozen_until']}" if model["frozen_until"] else "for its turn"
        add("plain", "waiting", f"{model['waiting']} {until}")
    elif model["frozen_until"]:
        add("plain", "frozen", f"no release is taken until {model['frozen_until']}")
    pinned = model["pinned"]
    if pinned is not None:
        until = "until unpinned" if pinned["hold"] else f"until a release after {pinned['left_release']}"
        add("plain", "pinned", f"to {pinned['version']} {until}, by {pinned['by']}")
    for entry in model["quarantine"][-_MOST_QUARANTINED:]:
        release = f" (release {entry['release']})" if entry["release"] is not None else ""
        add("warn", "quarantined", f"{entry['version']}{release}: {entry['reason']}")
    return states
