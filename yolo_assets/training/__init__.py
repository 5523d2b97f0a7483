"""Training, export and evaluation of YOLO models, each in its own process.

The only package that uses torch and ultralytics, which are imported inside functions of the child process: a Dagster
process that trains never loads them. ``candidates`` holds the entry points; ``python -m yolo_assets.training`` is the
child. Does not belong here: datasets (``learning``), deciding which candidate is released (``models``), engines
(``vision``).
"""
