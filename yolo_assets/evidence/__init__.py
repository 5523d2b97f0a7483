"""Evidence packs: the answer to one question of an auditor, as a folder that proves itself for years without us.

Belongs here: choosing frames by what was archived, collecting them with their receipts, drawing copies, the report, and
the verification that anyone can run offline. Does not belong here: reading archives (``archive``), the catalog, models,
and any way to change them. ``verify`` and what it imports run on the base installation, without a store and without
drawing; only ``make`` needs more.
"""
