"""What an upload leaves on disk while it is under way, so that another process can go on with it.

The plan (``.archiving.json``) is durable before the first byte travels. The parts that arrived (``.archiving.parts``)
are only a help: a store whose part ETags are no MD5 (encrypted with KMS, Aliyun) cannot tell by itself what it holds.
A line that was lost costs sending that part again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from yolo_assets.archive.archiving.plan import save_plan
from yolo_assets.contracts.names import PARTS
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.runtime.files import is_full
from yolo_assets.spool.hours import SpoolHour


@dataclass(frozen=True)
class Journal:
    """The journal of one hour's upload. Safe to write from several threads."""

    hour: SpoolHour

    def planned(self, plan: ArchivePlan) -> bool:
        """Write the plan, durable when this returns; False: the disk has no room for it, see ``save_plan``."""
        return save_plan(self.hour, plan)

    def arrived(self, upload_id: str, number: int, md5: str, etag: str) -> None:
        """Note that the store took a part, and what it called it."""
        line = f"{number} {md5} {etag} {upload_id}\n".encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self.hour.path / PARTS, flags, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not is_full(error):
                raise

    def parts(self, upload_id: str) -> dict[int, tuple[str, str]]:
        """MD5 and ETag of the parts that were noted for an upload, by number."""
        try:
            lines = (self.hour.path / PARTS).read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return {}
        fields = (line.split(" ", 3) for line in lines)
        return {
            int(field[0]): (field[1], field[2])
            for field in fields
            if len(field) == 4 and field[3] == upload_id and field[0].isdecimal()
        }
