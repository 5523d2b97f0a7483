"""The transparency log of the receipts: what was archived by when, so that nobody can change it later unseen.

Every day a signed checkpoint states how many receipts there are and one hash over them all. It contains the one before,
provably; a time-stamp authority may say when it was there, and a witness with a key of its own that it saw no other.
Belongs here: the log in the archive root, its checkpoints, proofs, time stamps, the witness, and the verdict on all of
it. Does not belong here: the formats (``contracts.checkpoint``, ``contracts.merkle``), and whether an archive is what
its receipt says (``archive.audit``).
"""
