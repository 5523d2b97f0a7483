"""The agent on the industrial PC: it sees, decides, writes to disk, and changes its model without missing a frame.

Data flow::

    camera ─► source thread ─► FrameQueue ─► worker (lease on the model slot) ─► spool, page, metrics
                                                      ▲
    channel pointer ─► trigger ─► stager: fetch ─► verify ─► diff ─► load ─► warm ─► golden ─► switch

``agent`` puts the parts together: ``sources`` give pictures, ``frames`` is their way to the disk, ``reload`` changes
the model, ``adaptive`` lends cameras a lighter one, ``outputs`` tells machines, ``monitoring`` and ``audit`` tell
people, ``api`` and ``page`` are where they read it, ``config`` is what they may set. Does not belong here: what a model
is and how it runs (``inference``), how a spool hour is written (``spool``), how a release is signed (``release``).
Imports neither Dagster nor torch, and works without a network once it has served a model.
"""
