"""The agent on the industrial PC: it sees, decides, writes to disk, and changes its model without missing a frame.

Data flow::

    camera ─► source thread ─► FrameQueue ─► worker (lease on the model slot) ─► spool, page, metrics
                                                      ▲
    channel pointer ─► trigger ─► stager: fetch ─► verify ─► diff ─► load ─► warm ─► golden ─► switch

Belongs here: capture, queueing, accounting, model slots, staging, the local API and its page. Does not belong here:
what a model is and how it runs (``inference``), how a spool hour is written (``spool``), how a release is signed
(``release``). Imports neither Dagster nor torch, and works without a network once it has served a model.
"""
