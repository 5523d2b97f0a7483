"""Frames in, records out: ours against Ultralytics' own ``predict`` with torch and with ONNX, on the same cores.

The same YOLO11n, frames (the two photographs that Ultralytics ships at 1080p, and drawn ones), input size and
operating point. Each contestant has a process of its own; they take turns, and medians and ratios of one run are
printed. "Side by side" runs a frame on each core instead of all cores on a frame: more frames a second, each later.
Its "ms a frame" is the time of all frames by their number, not the latency of one.

Weights are random, but lively: batch norms are measured and scores spread, and the confidence is set so that some ten
boxes a frame are found, by all alike: plain random weights find nothing and would spare everybody the work after the
network. Numbers of boxes are printed. mAP is measured with another model, trained here on the simulated line for some
minutes on other frames, or given by ``--weights``, on simulated frames, at confidence 0.001, by one judge for all.

Run: python benchmarks/edge_throughput.py [--cores 2] [--rounds 15] [--shape 640x640] [--epochs 40 | --weights line.pt]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from throughput_parts.contestant import OURS, THEIRS
from throughput_parts.models import CLASSES, quiet, scenes

from yolo_assets.training.accuracy import average_precision, match_frames, mean_ap
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.hardware import cpu_flags, cpu_model, usable_cpus, versions
from yolo_assets_tests.vision.reference_frames import drawn, photographs

PARTS = Path(__file__).parent / "throughput_parts"
BOXES_A_FRAME = 10
LABELLED = 240
PEER = "Ultralytics torch"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")


class Contestant:
    """A process that runs one way."""

    def __init__(self, name: str, folder: Path, cores: int, stack: ExitStack) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
        command = [sys.executable, str(PARTS / "contestant.py"), name, str(folder), str(cores)]
        self._log = stack.enter_context((folder / f"{name.replace(' ', '-')}.log").open("w+"))
        self._process = stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                text=True,
            )
        )
        stack.callback(self.end)

    def ask(self, **order: Any) -> dict[str, Any]:
        """One order, one answer. Between its turns the process is stopped: threads that spin would take the cores."""
        self._process.send_signal(signal.SIGCONT)
        try:
            return self._answer(order)
        finally:
            self._process.send_signal(signal.SIGSTOP)
            if self._process.poll() is None:
                os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        """Let it go on and end."""
        self._process.send_signal(signal.SIGCONT)

    def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise SystemExit(f"error: {self.name} ended: {self._log.read()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"error: {self.name}: {answer['error']}")
        return answer


def make(kind: str, folder: Path, *options: str) -> None:
    """A model, in a process that may load torch."""
    done = subprocess.run(
        [sys.executable, str(PARTS / "models.py"), kind, str(folder), *options], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"error: no {kind} model: {done.stdout[-1000:]} {done.stderr[-2000:]}")


def frames() -> NDArray[np.uint8]:
    """Two photographs and four drawings, 1080p."""
    photos = [cv2.resize(photo, (1920, 1080), interpolation=cv2.INTER_AREA) for photo in photographs()]
    return np.stack([*photos, *(drawn(seed, 1080, 1920) for seed in range(4))]).astype(np.uint8)


def operating_point(contestant: Contestant) -> float:
    """The confidence above which some ten boxes a frame are found. Suppression goes from the top: one look will do."""
    contestant.ask(model="random", confidence=0.25)
    scores = contestant.ask(scores=BOXES_A_FRAME + 1)["scores"]
    confidence = float(np.median([frame[-1] for frame in scores]))
    if not 0 < confidence < 0.999:
        raise SystemExit(f"error: scores of the random model are saturated: {scores}")
    return confidence


def speed(contestants: list[Contestant], rounds: int) -> None:
    """Take turns, then print medians and ratios."""
    confidence = operating_point(next(one for one in contestants if one.name == "ours OpenVINO f32"))
    found: dict[str, list[int]] = {}
    for one in contestants:
        one.ask(model="random", confidence=confidence)
        found[one.name] = one.ask(run=2)["boxes"]  # warm
    seconds: dict[str, list[float]] = {one.name: [] for one in contestants}
    for turn in range(rounds):
        for one in contestants if turn % 2 else contestants[::-1]:
            seconds[one.name] += one.ask(run=1)["seconds"]
    peer = float(np.median(seconds[PEER]))
    frames_each = f"{len(seconds[PEER])} frames each, load {os.getloadavg()[0]:.1f} at the end"
    print(f"\n{cpu_model()}; confidence {confidence:.4f}; {frames_each}")
    print(f"{'':34}{'ms a frame':>11}{'p10':>8}{'p90':>8}{'frames/s':>10}{'x torch':>9}  boxes in the frames")
    for name, spent in seconds.items():
        middle, low, high = (float(np.quantile(spent, q)) for q in (0.5, 0.1, 0.9))
        print(
            f"{name:34}{middle * 1e3:11.1f}{low * 1e3:8.1f}{high * 1e3:8.1f}{1 / middle:10.1f}{peer / middle:9.2f}"
            f"  {found[name]}"
        )


def quality(contestants: list[Contestant], folder: Path) -> None:
    """MAP of each on the labelled frames."""
    pictures = scenes(LABELLED, 5000)
    np.savez(folder / "labelled.npz", **{f"{i:04}": scene.image for i, scene in enumerate(pictures)})  # pyright: ignore[reportArgumentType]
    truth = [
        Detections.of([box.bbox for box in scene.truth], [CLASSES.index(box.class_name) for box in scene.truth])
        for scene in pictures
    ]
    objects = sum(len(scene.truth) for scene in pictures)
    print(f"\n{cpu_model()}; mAP on {LABELLED} simulated frames with {objects} labelled defects, input 160x160")
    print(f"{'':34}{'mAP50':>8}{'mAP50-95':>10}{'to torch, points':>18}")
    peer = None
    for one in contestants:
        if "side by side" in one.name:
            continue
        one.ask(model="trained", confidence=0.25)
        file = folder / f"{one.name.replace(' ', '-')}.npz"
        one.ask(save=str(file))
        with np.load(file) as archive:
            rows = [archive[key] for key in sorted(archive.files)]
        boxes = [Detections.of(row[:, :4], row[:, 5], row[:, 4]) for row in rows]
        ap = average_precision(match_frames(boxes, truth, len(CLASSES)))
        map50, map50_95 = mean_ap(ap[:, :1]) * 100, mean_ap(ap) * 100
        peer = peer or (map50, map50_95)
        print(f"{one.name:34}{map50:8.2f}{map50_95:10.2f}{map50 - peer[0]:+9.2f}{map50_95 - peer[1]:+9.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=min(2, usable_cpus()))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", default="640x640", help="height x width of the model's input; 384x640 suits 16:9")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--weights", type=Path, help="trained on the simulated line already, for example by the demo")
    parser.add_argument("--skip-map", action="store_true")
    options = parser.parse_args()
    height, width = options.shape.split("x")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    print(f"{cpu_model()}, {options.cores} of {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start")
    print("flags: " + ", ".join(flag for flag in FLAGS if flag in cpu_flags()))
    print("versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        quiet(folder)
        np.save(folder / "frames.npy", frames())
        make("random", folder, "--height", height, "--width", width)
        make("int8", folder, "--of", "random")
        if not options.skip_map:
            given = ("--weights", str(options.weights.absolute())) if options.weights else ()
            make("trained", folder, "--epochs", str(options.epochs), *given)
            make("int8", folder, "--of", "trained")
        print(f"input {options.shape}, frames 1920x1080")
        names = [*THEIRS, *OURS]
        if "avx512_bf16" not in cpu_flags() and "amx_bf16" not in cpu_flags():
            names = [name for name in names if "bf16" not in name]
            print("this processor has no bf16")
        contestants = [Contestant(name, folder, options.cores, stack) for name in names]
        speed(contestants, options.rounds)
        if not options.skip_map:
            quality(contestants, folder)


if __name__ == "__main__":
    main()
