"""yolo_assets: one asset graph from factory cameras through an archive to a better model on the line.

Three tiers share only files and objects: the edge (``edge``, ``vision``), the transfer (``spool``, ``archive``,
``storage``) and the centre (``defs`` over ``tables``, ``catalog``, ``evidence``, ``learning``, ``training``,
``models``). What passes from one tier to another is typed in ``contracts``.

This module holds the version and nothing else, so that importing any part stays cheap.
"""

__version__ = "0.1.0"
