"""Camera health and drift, hour by hour: is the picture well, and does the model still report what it used to report.

Belongs here: the figures of an hour, the reference of each camera and model, the tests with one budget of false alarms,
the verdicts, and what people acknowledged. Does not belong here: tables of single frames (``tables``), who is told
(``alerts``), whether a training starts (``training``).
"""
