"""The plant now: per camera what came, what lacks, what failed, and why, in one table and on one page.

Belongs here: reading how the plant is (spool, listing of receipts, catalog, heartbeats), the verdict on each camera,
the wall page. Does not belong here: failed runs, which Dagster knows (``defs.standing_failures``); the asset; telling
anybody (``alerts``).
"""
