"""Custody of frames: whose keys the plant's devices have.

Belongs here: enrolling, renewing and revoking keys of devices in the store, and reading which count. Does not belong
here: what a statement is and what a seal is worth by it (``contracts.device_keys``), sealing (``spool``), packs for
auditors (``evidence``).
"""
