"""The asset graph: the only package that uses Dagster.

One folder per stage, in the order in which data flows: ``intake`` (the frames in the spool), ``tables``, ``archive``,
``learning``, ``release``; in each, ``assets.py``, ``checks.py`` and ``sensors.py`` where there are any. Belongs here:
keys, dependencies, partitions, conditions, retries, metadata. Does not belong here: how anything is done; every asset
is a thin call into a stage package, imported inside the function so that loading the code location stays quick.
"""
