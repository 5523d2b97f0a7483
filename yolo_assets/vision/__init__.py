"""From a frame to boxes: engines, letterbox, decode, NMS, and the `Model` that joins them.

Belongs here: everything between a BGR frame and boxes in frame pixels, the same for the edge and for evaluation, and
the checks that a model file is what its manifest says. Does not belong here: cameras, swaps, metrics, training.
Pre- and post-processing live outside the model file, so a new model changes neither. Imports contracts only; OpenCV
and the two engines are imported where they are used, so that one installed engine is enough.
"""
