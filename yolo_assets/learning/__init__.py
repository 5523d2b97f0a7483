"""From archived frames to a dataset: what to label, the batch people label, what came back, and the frozen splits.

Belongs here: sampling, annotation batches, import and export of labels, splits, dataset versions, and the folder that
a trainer reads. Does not belong here: training itself (``training``), how frames got into the archive (``archive``).
"""
