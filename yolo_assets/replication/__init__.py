"""A second copy of the archive: bringing it up to date, and comparing the two.

Belongs here: what is missing in the second place, copying it verified and in an order that never leaves a receipt
without its archive, the statements that name both places. Does not belong here: moving bytes (``archive.upload``), and
reading from the copy (``storage.fallback``).
"""
