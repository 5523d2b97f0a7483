"""The plant's list of classes in the store root, and the changes that people make to it.

Belongs here: which version counts, the first version of a plant, each change. Does not belong here: what a name means
in a list (``contracts.class_list``), and what labels, datasets, models and questions make of it.
"""
