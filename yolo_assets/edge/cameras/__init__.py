"""Cameras: each yields captures and knows nothing of queues, models or disks.

Belongs here: reading pictures from a simulated line, a file, a folder, a stream. Does not belong here: sequence
numbers, frame accounting and reconnecting, which ``pipeline.capture`` does for every source alike.
"""
