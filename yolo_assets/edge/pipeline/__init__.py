"""A frame's way from the camera to the disk, and the books about it: captured = processed + dropped by reason.

Belongs here: capturing, waiting, judging with a lease on the model, keeping or not, writing, counting. Does not belong
here: where pictures come from (``sources``), which model serves (``reload``), how an hour lies on disk (``spool``).
"""
