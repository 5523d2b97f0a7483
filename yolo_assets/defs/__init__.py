"""The asset graph: the only package that uses Dagster.

One folder per stage, in the order in which data flows: ``intake`` (the frames in the spool), ``tables``, ``archive``,
``learning``, ``release``; in each, ``assets.py``, ``checks.py`` and ``sensors.py`` where there are any. Belongs here:
keys, dependencies, partitions, conditions, retries, metadata. Does not belong here: how anything is done; every asset
is a thin call into a stage package, imported inside the function so that loading the code location stays quick.
"""

import warnings

import dagster as dg

# Backfill policies are beta and partitions of checks a preview. Both are pinned with Dagster's version and tested: a
# page of warnings at each start of each process tells an operator nothing.
for _category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=_category)
