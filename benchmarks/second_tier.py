"""What a lossless second tier would save on JPEG frames, against what its processor time costs.

Every frame is packed smaller by each codec, unpacked and compared byte for byte: JPEG XL's lossless transcoding of
JPEGs and zstd. Frames: of twelve simulated cameras, and the two photographs that Ultralytics
ships, as they are and as 1080p at quality 85. The peer is what is done today: JPEGs are stored as they are.

Run: pip install imagecodecs; python benchmarks/second_tier.py [--cpu-hour 0.04]

Money: the tiers of ``catalog/prices.toml``, and ``--cpu-hour``, what an hour of one core costs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
from backports import zstd

from yolo_assets.catalog.costs import GIB, TIERS, load_prices
from yolo_assets.simulator.simulation import simulate

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def simulated() -> list[bytes]:
    """Two frames of each camera."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), cameras=12, hours=1, fps=2 / 3600)
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))]


def photographs() -> list[bytes]:
    """As shipped, and as a 1080p camera would make them."""
    package = find_spec("ultralytics")
    if package is None or package.origin is None:
        raise SystemExit("error: the photographs come with ultralytics: install yolo-assets[train]")
    found: list[bytes] = []
    for path in sorted((Path(package.origin).parent / "assets").glob("*.jpg")):
        found.append(path.read_bytes())
        picture = cv2.imread(str(path))
        if picture is not None:
            scene = cv2.resize(picture, (1920, 1080))
            found.append(cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return found


def codecs() -> dict[str, Codec]:
    """To pack and to unpack, by name."""
    if find_spec("imagecodecs") is None:
        raise SystemExit("error: imagecodecs is not installed; run: pip install imagecodecs")
    others = import_module("imagecodecs")
    return {
        "JPEG XL": (partial(others.jpegxl_encode_jpeg, numthreads=1), others.jpegxl_decode_jpeg),
        "zstd 19": (partial(zstd.compress, level=19), zstd.decompress),
    }


def measure(frames: list[bytes], codec: Codec) -> tuple[float, float, float, int]:
    """Share of the bytes saved; processor seconds per gigabyte to pack and to unpack; frames that came back exactly."""
    pack, unpack = codec
    total, begun = sum(map(len, frames)), time.process_time()
    packed = [bytes(pack(frame)) for frame in frames]
    packing, begun = time.process_time() - begun, time.process_time()
    back = [bytes(unpack(data)) for data in packed]
    unpacking = time.process_time() - begun
    exact = sum(one == other for one, other in zip(frames, back, strict=True))
    return 1 - sum(map(len, packed)) / total, packing / total * 1e9, unpacking / total * 1e9, exact


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu-hour", type=float, default=0.04, help="price of an hour of one core")
    options = parser.parse_args()
    prices = load_prices()
    print(f"prices: {prices.label}; {options.cpu_hour:g} {prices.currency} for an hour of one core")
    for what, frames in {"simulated": simulated(), "photographs": photographs()}.items():
        print(f"{what}: {len(frames)} frames, {sum(map(len, frames)) / 1e6:.2f} MB")
        for name, codec in codecs().items():
            saved, packing, unpacking, exact = measure(frames, codec)
            spent = packing * GIB / 1e9 / 3600 * options.cpu_hour
            years = ", ".join(
                f"{tier} {spent / saved / (12 * prices.of(tier).per_gib_month):.1f}" if saved > 0 else f"{tier} never"
                for tier in TIERS
            )
            print(
                f"  {name:8} saves {saved:6.1%}; pack {packing:6.0f}, unpack {unpacking:5.0f} CPU s/GB; "
                f"{exact} of {len(frames)} exact; pays after years: {years}"
            )


if __name__ == "__main__":
    main()
