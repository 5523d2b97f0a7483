"""A real file system that is soon full. Belongs here: mounting it and taking it away. What fills it is the tests'."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str, *, lazy: bool = False) -> Iterator[str | None]:
    """Mount a file system of ``size`` (as mount(8) writes it: ``64k``, ``2m``) at ``folder``, which is made.

    Args:
        folder: where it is mounted; its parent is there.
        size: what it holds.
        lazy: it may still be in use at the end; else that is an error.

    Yields:
        None, or why it could not be mounted: then ``folder`` is an ordinary one.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(mount, check=False, capture_output=True, text=True)
    if made.returncode != 0:
        yield f"mounting a small disk is not allowed here: {made.stderr.strip()}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", *(["--lazy"] if lazy else []), str(folder)], check=True)
