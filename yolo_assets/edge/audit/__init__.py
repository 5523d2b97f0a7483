"""The audit log of the box: every model change as a signed, hash-chained line, shipped to the store, and its check.

Belongs here: the chain (``chain``), the files on the box (``log``, ``files``), the copies in the store (``ship``),
finding what was changed (``verify_box``, ``verify_store``). Does not belong here: when a model changes and why. Needs
neither camera nor engine, so that a log is checked on any machine.
"""
