"""The model registry: immutable bundles, signed release channels, and the gate in front of them.

Belongs here: writing and verifying bundles, moving channel pointers, judging a candidate against the champion. Does
not belong here: making a model or its figures (``training``), running one (``inference``), deciding when to train
(``learning``), what an agent does with a new pointer (``edge``).
"""
