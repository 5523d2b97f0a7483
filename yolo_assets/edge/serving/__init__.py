"""Models that are loaded: slots with leases, and the slot of each camera.

Belongs here: what a loaded model is, counting its leases, switching between loaded models. Does not belong here:
where a model comes from and when it changes (``edge.rollout``), the frames (``edge.pipeline``).
"""
