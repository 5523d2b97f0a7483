"""The audit trail of the centre: who exported, restored, released or changed what.

Belongs here: writing entries, reading and verifying them, and the question who did what to a model, camera or hour,
joined with what channels and devices say. Does not belong here: the audit log of a device (``edge.audit``), audits of
stored archives (``archive.audit``), and the acts themselves: a command or an asset notes its own.
"""
