"""From archived frames to a dataset: the choice of frames, the batches people label, their labels, the frozen splits.

Belongs here: sampling, annotation batches, import and export of labels, splits, dataset versions, and the folder that
a trainer reads. Does not belong here: training itself (``training``), how frames got into the archive (``archive``).
"""
