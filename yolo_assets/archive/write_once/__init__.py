"""Keeps the original: retention, legal hold, and finding it again under whatever was written over it."""
