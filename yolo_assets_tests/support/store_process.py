"""A process for tests to race and to kill: does one thing to a store until it is told, or made, to stop.

store_process.py swap URL KEY NAME COUNT     COUNT increments of the number in KEY by compare-and-swap
store_process.py create URL PREFIX NAME COUNT    tries to be first with each of COUNT keys; prints those it won
store_process.py rewrite URL KEY SIZE        writes KEY for ever: SIZE times "a", SIZE times "b", and again
store_process.py parts URL KEY UPLOAD SIZE   sends parts 1, 2, 3 … of SIZE bytes for ever, each of its own letter
"""

from __future__ import annotations

import itertools
import sys

from yolo_assets.storage import AlreadyExistsError, CasConflictError, ObjectStore, open_store


def swap(store: ObjectStore, key: str, name: str, count: str) -> None:
    """Increment the number in ``key``."""
    for _ in range(int(count)):
        while True:
            data, info = store.get_with_info(key)
            try:
                store.compare_and_swap(key, f"{int(data.split()[0]) + 1} {name}".encode(), info.etag)
                break
            except CasConflictError:
                continue


def create(store: ObjectStore, prefix: str, name: str, count: str) -> None:
    """Print the keys that this process created."""
    for number in range(int(count)):
        try:
            store.put_if_absent(f"{prefix}/{number}", name.encode())
            print(number)
        except AlreadyExistsError:
            continue


def rewrite(store: ObjectStore, key: str, size: str) -> None:
    """Write for ever."""
    print("ready", flush=True)
    for letter in itertools.cycle((b"a", b"b")):
        store.put(key, letter * int(size))


def parts(store: ObjectStore, key: str, upload_id: str, size: str) -> None:
    """Send parts for ever, after those that are there."""
    print("ready", flush=True)
    for number in itertools.count(len(store.list_parts(key, upload_id)) + 1):
        store.upload_part(key, upload_id, number, bytes([65 + number % 26]) * int(size))


if __name__ == "__main__":
    verb, url, *arguments = sys.argv[1:]
    {"swap": swap, "create": create, "rewrite": rewrite, "parts": parts}[verb](open_store(url), *arguments)
