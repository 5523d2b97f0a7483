"""The demo's own memory of every frame it saw in the spool, to hold against what comes back out of the archive."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from yolo_assets.contracts.names import is_frame
from yolo_assets.spool.hours import list_hours


@dataclass
class FrameLedger:
    """SHA-256 of each frame by its path in the spool."""

    seen: dict[str, str] = field(default_factory=dict)

    def note(self, spool: Path) -> None:
        """Hash the frames that are new in the spool. Call before anything may delete them."""
        for hour in list_hours(spool):
            for member in hour.frames():
                key = f"{hour.camera_id}/{hour.hour}/{member.name}"
                if key not in self.seen:
                    self.seen[key] = hashlib.sha256((hour.path / member.name).read_bytes()).hexdigest()

    def identical(self, restored: Path) -> tuple[int, int]:
        """Frames found under a restored folder, and how many of them are byte for byte what the camera left."""
        found = same = 0
        for path in sorted(restored.rglob("*")):
            if path.is_file() and is_frame(path.name):
                found += 1
                key = path.relative_to(restored).as_posix()
                same += self.seen.get(key) == hashlib.sha256(path.read_bytes()).hexdigest()
        return found, same
