"""How the model of a running agent changes, and how it comes back after a power cut.

Belongs here: noticing a release, deciding about it, preparing a candidate apart from the workers, the switch, the watch
over the new model, revert and quarantine, rollback, pins, what is remembered on disk. Does not belong here: slots and
leases (``edge.serving``), inference itself (``vision``), frames (``edge.pipeline``), the API (``edge.http``).
"""
