"""Works through a spool: rounds, counters, stopping. Does not belong here: how one hour is archived."""
