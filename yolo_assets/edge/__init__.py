"""The agent on the industrial PC: captures, detects, writes to disk, and changes its model without missing a frame.

Data flow::

    camera ─► camera thread ─► FrameQueue ─► worker (lease on a model slot) ─► spool, page, metrics, outputs
                                                  ▲
    channel pointer ─► poller ─► stager: fetch ─► verify ─► diff ─► load ─► warm ─► golden ─► switch

From the lowest layer up: ``types`` and ``config`` are shared by all parts; ``clock`` tells the time; ``cameras`` read
pictures; ``serving`` holds the loaded models; ``outputs`` sends events; ``audit`` keeps the signed log; ``pipeline`` is
a frame's way to the disk; ``maintenance`` seals hours and watches the disk; ``rollout`` changes the model;
``balancing`` moves cameras to a lighter one; ``telemetry`` reports; ``http`` serves the reports. ``agent`` puts them
together. Does not belong here: what a model is and how it runs (``vision``), how a spool hour is written (``spool``),
how a release is signed (``models``). Imports neither Dagster nor torch, and works without a network once it has served
a model.
"""
