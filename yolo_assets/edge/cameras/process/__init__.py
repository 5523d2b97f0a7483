"""Cameras that can hang, each in a process of its own: network streams by PyAV, USB by OpenCV.

`reading` and everything it uses (`stream`, `decoding`, `line`, `usb`, `outbox`) run in the child; `running` is the
parent's side; `wire` and `memory` are what both agree on. Pictures cross in anonymous shared memory that has no name
and so cannot be left behind; only small notes cross the socket. Every child has a socket and memory of its own: a
child that is killed in the middle of a note spoils nothing but itself.

Does not belong here: when to try again (``edge.capture``), what time it is (``sources.arrival``).
"""
