"""Hours of the past built again, or for the first time, through the instance's own backfills.

Belongs here: which hours a request is about (``plan``), the request itself and what became of it (``requests``).
Dagster's daemon runs them and the UI shows them, as if a person had launched them there. Does not belong here: what an
hour's assets do (the stages), options and output (``yolo_assets.cli.backfill``).
"""
