"""What Dagster remembers, kept to a size: old runs, their events, evaluations, backfills.

Belongs here: the nightly job, what it may forget, and how that is deleted from the instance's storage. Dagster itself
forgets ticks only (``retention`` in ``dagster.yaml``). Does not belong here: the retention of archives
(``yolo_assets.archive.retention``).
"""
