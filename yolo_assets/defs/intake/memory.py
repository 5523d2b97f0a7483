"""Where the spool sensor's memory lies: in Dagster's cursor while it is short, else in a file that the cursor names.

Dagster writes the cursor with every tick, and keeps a copy of it with each: a backlog of weeks of two hundred cameras
would be megabytes every ten seconds. A file is never changed: the next state is another file, and the cursor that names
it counts only when Dagster stored what the tick reported.
"""

from __future__ import annotations

import logging
import re
import uuid
from pathlib import Path

from yolo_assets.defs.intake.spool_diff import SpoolCursor
from yolo_assets.runtime.files import write_atomic

log = logging.getLogger(__name__)
SHORT = 4096
"""Characters that a cursor may have."""
_NAMED = re.compile(r"file:([0-9a-f]{32})")


class Memory:
    """The memory of the spool sensor over one folder of the home."""

    def __init__(self, folder: Path) -> None:
        """Over a folder, which is made when it is needed.

        Args:
            folder: of its files; nothing else is in it.
        """
        self._folder = folder

    def load(self, text: str | None) -> SpoolCursor:
        """What a cursor stands for; one whose file is gone is an empty one."""
        named = _NAMED.fullmatch(text or "")
        if named is None:
            return SpoolCursor.load(text)
        known = _LAST.get(self._folder)
        if known is not None and known[0] == text:
            return known[1]
        try:
            return SpoolCursor.load(self._file(named[1]).read_text())
        except OSError:
            return SpoolCursor()

    def keep(self, cursor: SpoolCursor, before: str | None) -> str:
        """The text for Dagster to store.

        Args:
            cursor: the memory after this tick.
            before: the text that Dagster stored last. Its file stays: this tick may come to nothing.
        """
        if before is not None and cursor == self.load(before):
            return before
        short = cursor.model_dump_json()
        if len(short) <= SHORT:
            return short
        name = uuid.uuid4().hex
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file(name), cursor.dump().encode())
        except OSError as error:
            log.warning("%s: %s; the memory of the spool sensor stays in the database", self._folder, error.strerror)
            return cursor.dump()
        stay = {self._file(name).name}
        if (named := _NAMED.fullmatch(before or "")) is not None:
            stay.add(self._file(named[1]).name)
        for file in self._folder.glob("*.cursor"):
            if file.name not in stay:
                file.unlink(missing_ok=True)
        text = f"file:{name}"
        _LAST[self._folder] = (text, cursor)
        return text

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.cursor"


_LAST: dict[Path, tuple[str, SpoolCursor]] = {}
"""By folder, what this process wrote last: a tick need not read it again."""
