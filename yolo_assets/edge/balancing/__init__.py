"""Which cameras have the light model: measured load in, a number of cameras out.

Belongs here: measuring what a frame costs, deciding, carrying it out. Does not belong here: getting a light model
ready (``reload.staging``), how a frame finds its slot (``reload.slots``).
"""
