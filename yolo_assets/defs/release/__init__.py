"""From a dataset to the model that the devices run.

Belongs here: ``trained_weights``, ``promoted_model``, ``deployed_model``, their checks, the fleet sensor and the daily
training. Does not belong here: training, evaluation, the gate (``yolo_assets.training``, ``yolo_assets.models``).
"""
