"""Everything that changes the model, put together: started and stopped as one.

Belongs here: the order in which the parts of a rollout are made, begin and end. Does not belong here: what one of them
decides or does.
"""

from __future__ import annotations

from functools import partial

from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.rollout.cache import ModelCache
from yolo_assets.edge.rollout.channel_poller import ChannelPoller
from yolo_assets.edge.rollout.controller import SECONDARY_ROLES, ModelControl
from yolo_assets.edge.rollout.decision import follow
from yolo_assets.edge.rollout.freshness import PointerFreshness
from yolo_assets.edge.rollout.history import SwapLog
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.rollout.prepare import Preparer
from yolo_assets.edge.rollout.restart import restore
from yolo_assets.edge.rollout.staging import Stager
from yolo_assets.edge.rollout.state import EdgeState, StateFile
from yolo_assets.edge.rollout.tap import LiveTap
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import Role, SlotManager
from yolo_assets.models.channels import Channel
from yolo_assets.models.registry import Registry
from yolo_assets.storage.open import folder_of


class ModelUpdates:
    """From the pointer of a channel to a model that serves.

    Args:
        config: of the agent.
        registry: holds channels and bundles, with the keys whose releases are loaded.
        swaps: where each attempt is recorded.
    """

    def __init__(self, config: AgentConfig, registry: Registry, swaps: SwapLog) -> None:
        self._config = config
        self._registry = registry
        self.slots: SlotManager[LoadedModel] = SlotManager()
        state = StateFile(config.state_dir / "state.json")
        followed: dict[Role, str] = {"primary": config.channel}
        for role in SECONDARY_ROLES:
            if (section := config.secondary(role)) is not None:
                followed[role] = section.channel
        for role, channel in followed.items():
            follows = partial(EdgeState.following, role=role, channel=f"{config.model}/{channel}")
            state.update(follows, happened=True)  # a full disk keeps no agent from its start
        self.control = ModelControl(self.slots, state, swaps)
        self.tap = LiveTap()
        self.loader = Loader(config.engine, config.state_dir / "engines")
        cache = ModelCache(config.state_dir / "models", registry)
        self._preparer = Preparer(config, cache, self.loader, self.control, self.tap)
        self.stager = Stager(config, self._preparer, self.control)
        own = registry.channel(config.model, config.channel)
        self.freshness = PointerFreshness(own, config.state_dir / "newest_release.json")
        self.poller = self._poller("primary", own, self.freshness)
        """Of the device's own channel; those of the secondary models are private."""
        self._pollers = [self.poller] + [
            self._poller(role, registry.channel(config.model, section.channel))
            for role in SECONDARY_ROLES
            if (section := config.secondary(role)) is not None
        ]

    def start(self) -> None:
        """Bring back the last good model, then follow the channels."""
        restore(self.control, self._preparer)
        self.stager.start()
        for poller in self._pollers:
            poller.start()

    def poll_now(self) -> None:
        """Read every channel without waiting for the next poll; returns at once."""
        for poller in self._pollers:
            poller.poll_now()

    def ask_to_stop(self) -> None:
        """Change no model any more; what is being prepared is given up."""
        self.stager.ask_to_stop()
        for poller in self._pollers:
            poller.stop()

    def _poller(self, role: Role, channel: Channel, freshness: PointerFreshness | None = None) -> ChannelPoller:
        return ChannelPoller(
            channel,
            poll_seconds=self._config.poll_seconds,
            folder=folder_of(self._config.store),
            explain=lambda: self._registry.no_release(self._config.model, channel.channel),
            on_pointer=partial(self._on_pointer, role),
            on_refused=self._on_bad_pointer,
            freshness=freshness,
        )

    def _on_pointer(self, role: Role, pointer: ChannelPointer) -> None:
        """Follow what a pointer asks of this device: outside its wave, the release that the others keep."""
        follow(self.control, self.stager.request, role, pointer.for_device(self._config.device_id))

    def _on_bad_pointer(self, reason: str) -> None:
        self.control.refuse("channel", f"{self._config.model}/?", reason, None)
