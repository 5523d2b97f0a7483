"""What the cameras left on disk: the external asset ``raw_frames`` and the sensor that sees its closed hours.

Belongs here: looking at the spool. Does not belong here: reading frames or records, and anything that writes there.
"""
