"""The three label formats that labelling tools write: COCO JSON, Label Studio JSON, YOLO zip.

Belongs here: bytes to ``LabelFile`` and back, nothing validated. Does not belong here: whether a label is right
(``learning.labels``), and where files lie.
"""
