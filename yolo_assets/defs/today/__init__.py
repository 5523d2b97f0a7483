"""The plant now, in one table.

Belongs here: ``today``, its check and the sensor that keeps it current. Does not belong here: reading the plant and the
verdict on a camera (``yolo_assets.today``).
"""
