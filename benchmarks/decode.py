"""Decoding large JPEG films to training size: ours against Pillow's full decode to RGB, as peers do it.

    python benchmarks/decode.py [--films 4] [--rounds 5] [--images DIR] [--json]

Films are synthetic, 2,544 x 3,056 pixels of 8 bits at JPEG quality 95 and, with their grain, 1.6 MB large (those of
MIMIC-CXR-JPG are 1.5 MB on average), or the JPEG files of a folder. Both sides give 512 pixels on the longer side; the
deviation is the mean absolute difference of gray levels. With `--json`, the last line is one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from anatomy_vlm.training.loaders.layouts.films import film
from anatomy_vlm.training.loaders.scaled_image import read_scaled, scaled_size


SIDE = 512
TARGET_RATIO, TARGET_DEVIATION = 3.0, 1.0


def write_films(folder: Path, count: int) -> list[Path]:
    """Films with edges and the grain of a detector."""
    paths = []
    for number in range(count):
        smooth = Image.fromarray(film([number], 1272, 1528)).resize((2544, 3056), Image.Resampling.BICUBIC)
        levels = np.asarray(smooth.filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float32)
        grain = np.random.default_rng(number).normal(0, 1.5, levels.shape)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(np.clip(levels + grain, 0, 255).astype(np.uint8)).save(paths[-1], quality=95)
    return paths


def full_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(scaled_size(image.size, SIDE), Image.Resampling.BICUBIC))


def full_gray(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(scaled_size(image.size, SIDE), Image.Resampling.BICUBIC))


def ours(path: Path) -> np.ndarray:
    return read_scaled(path, SIDE).radiograph.pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=Path, metavar="DIR", help="JPEG files to use instead of synthetic films")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    methods: dict[str, Callable[[Path], np.ndarray]] = {
        "Pillow, RGB, bicubic": full_rgb,
        "Pillow, gray, bicubic": full_gray,
        "ours": ours,
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    deviations = []
    with tempfile.TemporaryDirectory() as folder:
        paths = (
            sorted(args.images.rglob("*.jpg"))[: args.films] if args.images else write_films(Path(folder), args.films)
        )
        if not paths:
            parser.error(f"{args.images}: no .jpg files")
        for path in paths:
            difference = ours(path).astype(np.float64) - full_rgb(path)[:, :, 0]
            deviations.append(float(np.abs(difference).mean()))
        size = statistics.mean(path.stat().st_size for path in paths) / 1e6
        for _ in range(args.rounds):
            for name, method in methods.items():
                begin = time.process_time()
                for path in paths:
                    method(path)
                times[name].append((time.process_time() - begin) / len(paths))
    rates = {name: 1 / statistics.median(values) for name, values in times.items()}
    ratio = rates["ours"] / rates["Pillow, RGB, bicubic"]
    print(f"{len(paths)} films of {size:.1f} MB to {SIDE} pixels, one thread")
    for name, rate in rates.items():
        print(f"{name:<24}{rate:>8.1f} films/s")
    print(f"ratio {ratio:.2f} (target {TARGET_RATIO:g}), deviation {max(deviations):.3f} gray levels (target below 1)")
    if args.json:
        ok = ratio >= TARGET_RATIO and max(deviations) < TARGET_DEVIATION
        result = {"ratio_over_pil": ratio, "deviation": max(deviations), "films_per_second": rates, "ok": ok}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
