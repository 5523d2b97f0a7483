"""Cameras that can hang, each in a process of its own.

`main` and what it uses run in the child: `stream` (PyAV), `snapshot` (httpx), `usb` (OpenCV), `genicam` (`aravis`), and
`channel`. `wire` and `memory` are what both sides agree on; the parent's side is ``cameras.remote``. Pictures cross in
anonymous shared memory that has no name and so cannot be left behind; only small messages cross the socket. Every child
has a socket and memory of its own: a child that is killed in the middle of a message damages nothing but itself.

Does not belong here: when to try again (``pipeline.capture``), what time it is (``clock``).
"""
