"""The archive catalog: an index of all receipts in DuckDB, published as immutable files behind a pointer.

Belongs here: reading and verifying receipts in bulk, updating and publishing a catalog, querying it. Does not belong
here: writing receipts (``archive``) and detection tables (``tables``). The catalog holds nothing that the receipts do
not: it may be lost at any time and is rebuilt from them.
"""
