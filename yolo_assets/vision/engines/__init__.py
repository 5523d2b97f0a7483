"""What runs an ONNX file: OpenVINO, ONNX Runtime, or either of them in a child process.

Belongs here: the interface that every engine offers (``interface``), loading by name (``opening``), one module for each
engine, and the child process: the parent's side and the shared memory (``subprocess``), and the child's program
(``subprocess_child``). Does not belong here: pictures and detections, and which engine is the best (``selection``).
"""
