"""Lots and parts: which production batch and which workpiece a frame shows.

Belongs here: the lots of each camera over time and on disk, hearing of them by MQTT, codes in the picture. Does not
belong here: the HTTP route (``http``), and writing records (``pipeline``).
"""
