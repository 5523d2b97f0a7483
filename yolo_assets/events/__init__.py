"""Announcements on their way: brokers behind one interface, publishing that nobody waits for, hearing that is bounded.

Belongs here: a transport for each kind of broker (``mqtt``, ``nats``, ``kafka``, ``etcd``, ``http``), the queue in
front of them, and what limits those who announce. Does not belong here: the documents and the options (``contracts``),
what is done about an announcement (``defs.events`` at the centre, ``edge.rollout`` on a device).
"""
