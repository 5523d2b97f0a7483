"""The audit log of a device: every model change as a signed, hash-chained line, shipped to the store and verified.

Belongs here: the chain (``chain``), the files on the device (``log``, ``files``), the copies in the store
(``shipping``), finding what was changed (``verify``). Does not belong here: when a model changes and why. Needs neither
camera nor engine, so that a log can be verified on any machine.
"""
