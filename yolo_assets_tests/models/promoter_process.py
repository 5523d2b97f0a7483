"""Run by the process tests: promotes in a loop until it is told to stop, or killed.

    promoter_process.py STORE_URL KEY COUNT VERSION...

Prints one line a try: ``won <release> <version>`` or ``lost``. With one version it promotes just that one, with several
it goes round.
"""

import sys
from itertools import cycle, islice
from pathlib import Path

from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import CasConflictError, open_store
from yolo_assets_tests.models.release_support import promoter_of

if __name__ == "__main__":
    url, key, count, *versions = sys.argv[1:]
    signer = Signer.load(Path(key))
    promoter = promoter_of(Registry(open_store(url), TrustedKeys.of(signer)), signer)
    print("ready", flush=True)
    sys.stdin.readline()
    for version in islice(cycle(versions), int(count)):
        try:
            moved = promoter.promote(ReleaseRequest("line", version, "stable", by="racer", reason="race"))
            print("won", moved.release, moved.version, flush=True)
        except CasConflictError:
            print("lost", flush=True)
