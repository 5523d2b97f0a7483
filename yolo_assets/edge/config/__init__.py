"""Every section of ``edge.yaml``, checked and explained in one line each.

Belongs here: options, their bounds and defaults. Does not belong here: behaviour; opening what the options name is done
by the parts that use them.
"""
