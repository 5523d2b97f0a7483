"""From the spool into the cold archive and its catalog, and the disk space freed again.

Belongs here: ``hourly_archives``, ``archive_catalog``, ``reclaimed_spool`` and their checks. Archiving never waits for
detections: a schema error must not fill a disk. Does not belong here: packing, upload, receipts (see
``yolo_assets.archive``).
"""
