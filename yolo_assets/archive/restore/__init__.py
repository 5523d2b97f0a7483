"""Frames and records back out of the archive: planned, then written below one folder."""
