"""Archives a whole spool: rounds, counters, stopping. Does not belong here: how one hour is archived."""
