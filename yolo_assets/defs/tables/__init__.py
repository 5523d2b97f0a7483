"""Records become tables, and tables show the state of cameras and models.

Belongs here: ``detections``, ``frames``, ``camera_health``, ``drift_report`` and their checks. Does not belong here:
schemas, validation and statistics (``yolo_assets.tables``).
"""
