"""Work that a failed run left undone is requested again: bounded, with growing pauses.

Automation conditions count a request as handled whether or not its run succeeded. Without this folder one failed run
would lose a dataset, and with it training and release, until the next label file arrives.Belongs here: which work is
unfinished, when it is requested again, the sensor; how run monitoring learns that a run's process is gone. Does not
belong here: what counts as a failure that may pass (``defs.failures``).
"""
