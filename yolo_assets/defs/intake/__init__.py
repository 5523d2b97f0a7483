"""The frames in the spool: the external asset ``raw_frames`` and the sensor that reports its closed hours.

Belongs here: scanning the spool. Does not belong here: reading frames or records, and anything that writes there.
"""
