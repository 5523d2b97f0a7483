"""The whole system on one machine: ``make demo`` and ``make up``.

Belongs here: starting and stopping the parts, the demo's script, its figures and its words. Does not belong here:
anything a plant needs; the parts are the same ones that run on many machines.
"""
