"""Pages that links lead to: an hour with sample frames and their boxes, a model with its gate report, stored objects.

    store    ─► tables, gate reports, plots, the wall page ─┐
    archive  ─► frames, receipts                            ├─► HTML and pictures over HTTP
    spool    ─► frames that are not archived yet           ─┘

Everything is made when somebody looks; nothing is written, requested or decided. Belongs here: choosing and drawing
frames (``samples``), the pages (``documents``, ``app``), their addresses (``links``). Does not belong here: what the
wall page says (``today``), the live page of an agent (``edge.http``), metadata that holds the links (``defs``).
"""
