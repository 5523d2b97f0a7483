"""Every hash that covers a whole archive or a whole part, in one pass over its bytes, beside whoever makes them.

Belongs here: hashing in order, in threads. Does not belong here: what is hashed, and the hashes of single members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from isal.isal_zlib import crc32


class Hashes:
    """SHA-256, MD5 and CRC-32 of the whole, and the MD5 of each part, each fed in order by a thread of its own.

    hashlib lets go of the interpreter lock, so they run beside each other. The first part's MD5 is the whole one so
    far and costs nothing: most hours are one part. The CRC, thirty times as fast, rides with SHA-256.
    """

    def __init__(self) -> None:
        """Begin."""
        self._sha256 = hashlib.sha256()
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="hash") for _ in range(3)]

    def update(self, data: memoryview, *, first: bool) -> None:
        """Hash the next bytes, some time soon: they must stay as they are until ``end_part``'s function returned."""
        sha_lane, md5_lane, part_lane = self._lanes
        sha_lane.submit(self._update_sha, data)
        md5_lane.submit(self._md5.update, data)
        if not first:
            part_lane.submit(self._update_part, data)

    def end_part(self, *, first: bool) -> Callable[[], str]:
        """A function that waits until all lanes are done with the part and gives its MD5."""
        sha_lane, md5_lane, part_lane = self._lanes
        sha_done: Future[bool] = sha_lane.submit(bool)
        md5_done = md5_lane.submit(self._md5.hexdigest)
        part_done = None if first else part_lane.submit(self._next_part)

        def collect() -> str:
            sha_done.result()
            whole = md5_done.result()
            return whole if part_done is None else part_done.result()

        return collect

    def digests(self) -> tuple[str, str, str]:
        """SHA-256, MD5 and CRC-32 (eight digits) of everything, in hexadecimal; after the last part was collected."""
        return self._sha256.hexdigest(), self._md5.hexdigest(), f"{self._crc:08x}"

    def close(self) -> None:
        """End the threads."""
        for lane in self._lanes:
            lane.shutdown(wait=True, cancel_futures=True)

    def _update_sha(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._crc = crc32(data, self._crc)

    def _update_part(self, data: memoryview) -> None:
        # Which hash is meant is decided here, in the lane: at submission it may be a part behind.
        self._part.update(data)

    def _next_part(self) -> str:
        done, self._part = self._part.hexdigest(), hashlib.md5(usedforsecurity=False)
        return done
