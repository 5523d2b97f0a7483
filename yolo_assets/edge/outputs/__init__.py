"""Results and alarms leave the device in real time, and no worker ever waits for a receiver.

Data flow::

    worker ─► hub (a bounded intake) ─► alarm rules ─► events ─► one bounded outbox per output ─► its sender thread

Belongs here: alarm rules, the events and their schema, webhook and MQTT. Does not belong here: what is written to disk
(``spool``), the heartbeat (``telemetry``), the API.
"""
