"""Training, export and evaluation of YOLO models, each in its own process.

The only home of torch and ultralytics, which are imported inside functions of the child process: a Dagster process
that trains never loads them. ``run`` is what others call; ``python -m yolo_assets.training`` is the child.
Does not belong here: what a dataset is (``learning``), who may ship (``release``), the edge's engines (``inference``).
"""
