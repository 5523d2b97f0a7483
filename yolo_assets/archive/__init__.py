"""The cold archive: an hour goes in once, any frame comes out for years, nothing is lost on the way.

Data flow of one hour::

    spool hour ─► plan (fsynced) ─► pack ─► upload ─► verify ─► index ─► receipt (commit) ─► marker ─► reclaim
                                      one pass, part by part            signed, put last

    receipt ─► index ─► one range read of the archive ─► one frame

``Archive`` (``archive``) is the store with the keys it trusts: receipts, indexes and members are read through it, and
nothing unverified comes out. ``listing`` lists what there is, ``packing`` makes the bytes, ``archiving`` archives one
hour, ``reclaim`` deletes local files, ``retention`` keeps the original, ``restore`` gets frames out, ``audit``
verifies, ``service`` archives a whole spool, ``bandwidth`` limits the rate of uploads. Does not belong here: the
catalog over the receipts (``catalog``) and detection tables (``tables``).
"""
