"""The model registry: immutable bundles, signed release channels, and the gate in front of them.

Belongs here: writing and verifying bundles (``registry``), reading channels (``channels``), moving them
(``promotion``), deciding whether a candidate may replace the champion (``gate``). Does not belong here: making a model
or its figures (``training``), running one (``vision``), deciding when to train (``learning``), what an agent does with
a new pointer (``edge``).
"""
