"""From a frame to detections: engines, preprocessing, decoding, suppression, and the `Model` that joins them.

Belongs here: everything between a BGR frame and detections in frame pixels, the same for the edge and for evaluation,
and the checks that a model file is what its manifest says. Does not belong here: cameras, swaps, metrics, training.
Pre- and post-processing live outside the model file, so a new model changes neither. Imports contracts and runtime
only; OpenCV and the engines are imported where they are used, so that one installed engine is enough.
"""
