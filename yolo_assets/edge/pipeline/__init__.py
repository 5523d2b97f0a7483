"""A frame's way from the camera to the disk, and the frame accounting: captured = processed + dropped by reason.

Belongs here: capturing, queueing, inference with a lease on the model, sampling, recording. Does not belong here: where
pictures come from (``cameras``), which model serves (``rollout``), how an hour is stored on disk (``spool``).
"""
