"""Machinery that every part of the product uses, one of each: child processes, waits between tries, files and locks.

Belongs here: what knows the operating system and nothing of cameras, stores or models. Does not belong here: errors
that name a spool, a store or a folder's purpose; those are the caller's.
"""
