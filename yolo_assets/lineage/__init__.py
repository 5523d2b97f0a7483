"""Lineage: what a frame, label, model or archive came from, and what rests on it, as the store alone tells it.

Belongs here: finding out what a person means, and following the links that manifests, datasets, label files, tables and
receipts hold. Does not belong here: writing any of these, and the catalog's own questions (``catalog.read``).
"""
