"""Which cameras the light model serves: measured load in, a number of cameras out.

Belongs here: measuring what a frame costs, deciding, carrying it out. Does not belong here: getting a light model
ready (``rollout.staging``), how a frame finds its slot (``serving.slots``).
"""
