"""What ``edge.yaml`` may say, checked and explained in one line each.

Belongs here: the file as a whole, cameras, spool, where to listen. Does not belong here: the settings of reload and
outputs, which lie with those parts.
"""
