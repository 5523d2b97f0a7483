"""Parts of ``edge_throughput.py``: the models, the contestants, the labelled set. Nothing that the project imports."""
