"""The command line ``yolo-assets``.

Belongs here: options, progress bars, tables, exit codes. Does not belong here: any logic; each command is a thin call
into a stage package, which it imports inside the function, so that a machine that only archives needs neither torch nor
Dagster, and ``--help`` stays fast.
"""
