"""The three label formats that people's tools speak: COCO JSON, Label Studio JSON, YOLO zip.

Belongs here: bytes to ``Parsed`` and back, nothing judged. Does not belong here: whether a label is right
(``learning.labels``), and where files lie.
"""
