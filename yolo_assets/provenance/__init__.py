"""What is said of a model to those who do not have this store, in formats of others: ``models export --oms``.

Belongs here: the signature of OpenSSF model signing, in-toto statements of how a version was made and judged, its bill
of materials in CycloneDX, and the key that signs them. Does not belong here: what the store itself rests on
(``models``), and the pack for an assessor (``validation``), whose facts are quoted here.
"""
