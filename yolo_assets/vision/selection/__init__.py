"""Which engine runs a model on this machine: by measurement, among those that find what float32 finds.

Belongs here: what could run it (``wanted``), whether it agrees (``agreement``), how fast it is (``speed``), and the
decision with its table (``choose``). Does not belong here: the engines themselves, and remembering the decision.
"""
