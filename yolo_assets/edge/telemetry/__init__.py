"""What the agent reports about itself: status, heartbeat, metrics, how busy the device is.

Belongs here: reading the figures of other parts and putting them into documents. Does not belong here: deciding
anything by them, and the routes under which they are read (``http``).
"""
