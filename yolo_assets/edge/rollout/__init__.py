"""How the model of a running agent changes, and how it comes back after a power cut.

Belongs here: slots and leases, noticing a release, staging a candidate apart from the workers, the switch, the watch
over the new model, revert and quarantine, rollback, pins, what is remembered on disk. Does not belong here: inference
itself (``inference``), frames (``edge.worker``, ``edge.queue``), the API.
"""
