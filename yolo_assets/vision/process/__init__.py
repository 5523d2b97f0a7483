"""An engine in a child process: memory of a bad load goes back with the process, a native crash ends nobody else.

Belongs here: the parent's side (``engine``), the child's (``child``), and the memory they share (``lanes``). Does not
belong here: what the child runs, which is any engine of ``inference``. Frames and outputs cross by shared memory; only
a few bytes a frame go through a socket. Each child has sockets of its own: what a killed one held is not used again.
"""
