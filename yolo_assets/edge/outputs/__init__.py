"""Results and alarms leave the box in real time, and nobody who infers ever waits for a receiver.

Data flow::

    worker ─► hub (a bounded intake) ─► alarm rules ─► events ─► one bounded outbox per output ─► its sender thread

Belongs here: alarm rules, the events and their schema, webhook and MQTT. Does not belong here: what the box writes to
disk (``spool``), what it tells the fleet (``housekeeping``), the API.
"""
