"""The serving model and everything that decides about the next one: as a document, and in words for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from yolo_assets.contracts.times import format_time
from yolo_assets.edge.balancing.balancer import Balancer
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.maintenance import Maintenance
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.rollout.staging import Stager

Kind = Literal["good", "warn", "bad", "plain"]
_MOST_QUARANTINED = 3


class ModelReport:
    """Only reads."""

    def __init__(
        self,
        config: AgentConfig,
        control: ModelControl,
        stager: Stager,
        loader: Loader,
        maintenance: Maintenance,
        balancer: Balancer | None,
    ) -> None:
        self._config = config
        self._control = control
        self._stager = stager
        self._loader = loader
        self._maintenance = maintenance
        self._balancer = balancer

    def document(self) -> dict[str, Any]:
        """``GET /v1/models``, and the section ``model`` of ``GET /v1/status``."""
        config, slots = self._config, self._control.slots
        state, serving, working = self._control.state, self._control.serving, self._stager.working
        previous = slots.previous
        released = state.primary.model if serving else None
        document: dict[str, Any] = {
            "name": config.model,
            "channel": config.channel,
            "version": serving.identity.model_version if serving else None,
            "release": released.release if released else None,
            "forced": released is not None and released.forced,
            "unjudged": released is not None and released.unjudged,
            "engine": serving.engine if serving else None,
            "engine_choice": self._loader.choice.model_dump(mode="json") if self._loader.choice else None,
            "threads": config.engine.threads,
            "workers": config.engine.workers,
            "classes": list(serving.manifest.reported_names) if serving else [],
            "display_names": dict(serving.manifest.display_names) if serving else {},
            "previous": previous.label if previous else None,
            "pinned": state.pinned.model_dump(mode="json") if state.pinned else None,
            "preparing": f"{config.model}/{working.version}" if working else None,
            "last_release": state.primary.release,
            "trial": self._stager.watch_figures("primary"),
            "canary": self._canary(),
            "light": self._balancer.figures() if self._balancer else None,
            "shadow": self._stager.shadow,
            "waiting": f"{config.model}/{waiting.version}" if (waiting := self._stager.waiting) else None,
            "frozen_until": format_time(until) if (until := self._stager.frozen_until) else None,
            "quarantine": [entry.model_dump(mode="json") for entry in state.quarantine],
            "loaded": [{"version": slot.label, "role": role, "leases": slot.leases} for role, slot in slots.loaded()],
            "hung": [
                {"version": hung.label, "holder": hung.holder, "seconds": round(hung.seconds, 1)}
                for hung in self._maintenance.hung
            ],
        }
        return {**document, "states": model_states(document)}

    def _canary(self) -> dict[str, Any] | None:
        """The cameras that run a candidate, and how it compares with the model of the others."""
        slot, settings = self._control.slots.canary, self._config.canary
        if settings is None:
            return None
        return {
            "cameras": list(settings.cameras),
            "channel": settings.channel,
            "version": slot.label if slot else None,
            "watch": self._stager.watch_figures("canary"),
        }


def model_states(model: Mapping[str, Any]) -> list[dict[str, str]]:
    """What an operator must know, most important first: ``word``, ``detail``, and ``kind`` for its colour.

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
    if version is not None and model["forced"]:
        add("warn", "forced", "released by hand although the gate refused it")
    if version is not None and model["unjudged"]:
        add("warn", "not judged", "released by hand although no gate judged it")
    for hung in model["hung"]:
        add("bad", "hangs", f"an inference on {hung['version']} for {hung['seconds']:.0f} s")
    preparing = model["preparing"]
    if preparing is not None and preparing != version:
        add("plain", "staging", preparing)
    if canary is not None and canary["version"] is not None:
        add("warn", "canary", f"{canary['version']} on {', '.join(canary['cameras'])}")
    light = model["light"]
    if light is not None and light["cameras"]:
        add("warn", "relieved", f"{light['version']} has {', '.join(light['cameras'])} while the load is too high")
    if model["waiting"] is not None:
        until = f"until {model['frozen_until']}" if model["frozen_until"] else "for its turn"
        add("plain", "waiting", f"{model['waiting']} {until}")
    elif model["frozen_until"]:
        add("plain", "frozen", f"no release is taken until {model['frozen_until']}")
    pinned = model["pinned"]
    if pinned is not None:
        until = "until unpinned" if pinned["hold"] else f"until a release after {pinned['left_release']}"
        add("plain", "pinned", f"to {model['name']}/{pinned['version']} {until}, by {pinned['by']}")
    for entry in model["quarantine"][-_MOST_QUARANTINED:]:
        release = f" (release {entry['release']})" if entry["release"] is not None else ""
        add("warn", "quarantined", f"{model['name']}/{entry['version']}{release}: {entry['reason']}")
    return states
