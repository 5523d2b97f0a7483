"""From the archive to what people label, and from labels to a dataset version.

Belongs here: ``annotation_batch``, the external ``labels`` with the sensor over the inbox, ``training_dataset`` and
their checks. Does not belong here: sampling, formats, splits (``yolo_assets.learning``).
"""
