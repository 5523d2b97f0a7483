"""What the agent tells about itself: status, heartbeat, metrics, how busy the box is.

Belongs here: reading other parts' figures and putting them in words and numbers. Does not belong here: deciding
anything by them, and the routes under which they are read (``api``).
"""
