"""Reads the archive with proof: receipts, indexes, members. Does not belong here: what is done with the files."""
