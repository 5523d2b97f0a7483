"""Detection tables: records of one camera-hour become typed Parquet, and what the tables say about cameras and drift.

Belongs here: the schema of the tables, turning records into rows (bad ones into quarantine), reading tables back over a
time range, and the pure functions behind camera health and drift. Does not belong here: finding files in a spool
(``spool``), packing (``archive``), SQL over everything (``catalog``).
"""
