"""yolo_assets: cameras to archive to better model to the line, as one asset graph.

Three tiers meet only in files and objects: the edge (``edge``, ``inference``), the transfer (``spool``, ``archive``,
``storage``) and the centre (``defs`` over ``detections``, ``catalog``, ``learning``, ``training``, ``release``).
What crosses from one tier to another is typed in ``contracts``.

This module holds the version and nothing else, so that importing any part stays cheap.
"""

__version__ = "0.1.0"
