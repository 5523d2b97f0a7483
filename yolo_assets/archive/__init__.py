"""The cold archive: an hour goes in once, any frame comes out for years, nothing is lost on the way.

Data flow of one hour::

    spool hour ─► plan (fsynced) ─► pack ─► upload ─► verify ─► index ─► receipt (commit) ─► marker ─► reclaim
                                      one pass, part by part            signed, put last

    receipt ─► index ─► one range read of the archive ─► one frame

Belongs here: the archive format (``format``, ``pack``), what goes into which part (``plan``), moving it (``upload``),
the receipt (``commit``), deleting locally (``reclaim``), reading back (``read``, ``restore``, ``verify``). Does not
belong here: the catalog over the receipts (``catalog``) and detection tables (``detections``).
"""
