"""What the tiers agree on: records, names, times, signatures, settings, and the errors a person reads.

Belongs here: frozen pydantic models of everything that is written to disk or to a store, and the one place that
builds and parses each name. Does not belong here: I/O against a store or a spool, and any decision.
Imports nothing of this project; everything else may import it.
"""
