"""Announcements at the centre: what polling would find within seconds or minutes is looked at now.

Belongs here: which look an announcement calls for, and the service that listens. Does not belong here: what is
reported and why (the sensors of each stage, whose functions the looks call), brokers (``events``).
"""
