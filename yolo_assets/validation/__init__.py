"""The validation pack of a release: what an assessor asks of a model, in one folder, as a PDF and for machines, signed.

Belongs here: collecting what store, dataset, gate and approvals say of one version, and writing the pack. Does not
belong here: any judgement of its own; the gate's is quoted (``models``), and evidence of single frames (``evidence``).
"""
