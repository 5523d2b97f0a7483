"""How old what an asset shows may be before the UI calls it overdue.

Dagster compares the time of the newest materialization with the clock, once in half a minute; an asset that was never
made is not judged. A plant that stands still over a weekend is shown as overdue: nobody is told of that, messages are
about cameras and hours (``alerts``). Belongs here: the policies. Does not belong here: when something is run.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

EVERY_HOUR = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=4), warn_window=timedelta(hours=2, minutes=30))
"""No hour without an archive three hours after its end: the archive of the hour before was made four hours ago then."""
EVERY_DAY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
"""Looked at every day, whether anything changed or not."""
