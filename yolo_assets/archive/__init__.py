"""The cold archive: an hour goes in once, any frame comes out for years, nothing is lost on the way.

Data flow of one hour::

    spool hour ─► plan (fsynced) ─► pack ─► upload ─► verify ─► index ─► receipt (commit) ─► marker ─► reclaim
                                      one pass, part by part            signed, put last

    receipt ─► index ─► one range read of the archive ─► one frame

``packing`` makes the bytes, ``archiving`` brings an hour in, ``service`` works through a spool, ``bandwidth`` slows
it down, ``write_once`` keeps the original, ``reading`` reads with proof, ``restoring`` gets frames out, ``verifying``
audits, and ``retry`` is the one layer that tries again. Does not belong here: the catalog over the receipts
(``catalog``) and detection tables (``detections``).
"""
