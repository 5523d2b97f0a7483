"""Who is told what is wrong in the plant, once, and when it is well again.

    what is wrong now (causes) ──► what is due (decide) ──► outbox (state) ──► receivers, each by its apprise URL

Belongs here: causes, when a message is due, the file that survives restarts, sending. Does not belong here: finding out
how the plant is (``today``, and ``defs`` for runs), and metrics, from which Prometheus alerts by rules of its own.
"""
