"""Who is told that something is wrong.

Belongs here: the sensor that looks and sends, and what it reads of Dagster's instance. Does not belong here: when
something is told, and how it is sent (``yolo_assets.alerts``).
"""
