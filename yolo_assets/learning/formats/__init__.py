"""The label formats that labelling tools write: COCO, Label Studio, YOLO, CVAT XML, Pascal VOC, Datumaro.

Belongs here: bytes to ``LabelFile`` and back, nothing validated. Does not belong here: whether a label is right
(``learning.labels``), and where files lie.
"""
