"""An inspection machine as a process: drops numbered pictures, every other one renamed into place. No test lives here.

Run as a program it takes the folder, the first number, how many, and the seconds between two.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import cv2

from yolo_assets_tests.support.tiny_model import blob_frame


class DroppingMachine:
    """One process; what it was writing when it is killed stays as it is."""

    def __init__(self, folder: Path, first: int, count: int, every_s: float) -> None:
        arguments = [str(folder), str(first), str(count), str(every_s)]
        self.process = subprocess.Popen([sys.executable, "-m", __name__, *arguments], stdout=subprocess.PIPE, text=True)

    def next(self) -> str:
        """The name of the next picture that it has dropped whole; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    folder, first, count, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    for number in range(first, first + count):
        data = cv2.imencode(".jpg", blob_frame(number, 120, 160, 2)[0])[1].tobytes()
        name = f"part_{number:05}.jpg"
        with (folder / (f".{name}.part" if number % 2 else name)).open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            time.sleep(every / 2)
            file.write(data[len(data) // 2 :])
        if number % 2:
            (folder / f".{name}.part").rename(folder / name)
        print(name, flush=True)
        time.sleep(every / 2)


if __name__ == "__main__":
    main()
