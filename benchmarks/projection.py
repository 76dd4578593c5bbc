"""CT projection against DiffDRR, nanodrr and ITK-RTK: time, error against closed form, memory.

    python benchmarks/projection.py [--json] [--threads 2] [--peers DIR] [--quick]

All methods of a table run interleaved in one process on the same number of threads. Peers compute the same film from
the same volume, on the CPU, forward only; DiffDRR and nanodrr are made for gradients and for GPUs. The peers pull GPU
builds of torch unless installed aside, without dependencies:

    pip install --no-deps --target DIR diffdrr==0.6.1 nanodrr==0.1.7 jaxtyping wadler-lindig roma
    pip install --target DIR itk-rtk
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import projection_peers as peers
import projection_phantoms as phantoms
import torch

from anatomy_vlm.synthesis.projection import Geometry, KeyPlanes, LabelRuns, project_labels, project_volume
from anatomy_vlm.synthesis.projection.reference import march_labels, siddon


VOLUMES = {"256": ((256, 256, 256), (1.5, 1.5, 1.5)), "512": ((300, 512, 512), (1.2, 0.75, 0.75))}
# (volume, pixels per side, patches of rays that bound the peers' memory, rounds of the slow peers)
CASES = (("256", 224, 1, 3), ("256", 512, 4, 2), ("512", 512, 16, 1))


def interleaved(methods: dict[str, Callable], rounds: dict[str, int]) -> tuple[dict[str, float], dict]:
    """Median seconds and the last result of each method; one untimed call each, then rounds in turn."""
    results = {name: call() for name, call in methods.items() if rounds[name] > 1}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(max(rounds.values())):
        for name, call in methods.items():
            # Slow methods are spread over the rounds of the fast ones.
            if turn % -(-max(rounds.values()) // rounds[name]) == 0 and len(times[name]) < rounds[name]:
                begin = time.perf_counter()
                results[name] = call()
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}, results


def errors(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Root mean square and largest error over the largest line integral."""
    difference = image.astype(np.float64) - truth
    return float(np.sqrt((difference**2).mean()) / truth.max()), float(np.abs(difference).max() / truth.max())


def available(make: Callable, *arguments, missing: set[str], name: str, **options) -> Callable | None:
    """The peer's projector, or None with a note where it is not installed."""
    try:
        return make(*arguments, **options)
    except ImportError as error:
        missing.add(f"{name}: {error}")
        return None


def image_case(volume, spacing, size, patches, slow_rounds, threads, missing) -> dict[str, dict[str, float]]:
    """One table: seconds and errors per method."""
    geometry = Geometry.pa(detector_shape=(size, size))
    ours = {"num_threads": threads}
    methods = {
        "key planes": lambda: project_volume(volume, spacing, geometry, **ours),
        "key planes, 1 slab (Joseph)": lambda: project_volume(volume, spacing, geometry, slabs_per_plane=1, **ours),
        "RTK Joseph": available(peers.rtk_joseph, volume, spacing, geometry, threads, missing=missing, name="itk-rtk"),
        "nanodrr torch": available(
            peers.nanodrr_torch, volume, spacing, geometry, patches, missing=missing, name="nanodrr"
        ),
        "DiffDRR Siddon": available(
            peers.diffdrr_siddon, volume, spacing, geometry, patches, missing=missing, name="diffdrr"
        ),
    }
    methods = {name: call for name, call in methods.items() if call is not None}
    rounds = {name: slow_rounds if name in ("nanodrr torch", "DiffDRR Siddon") else 15 for name in methods}
    seconds, images = interleaved(methods, rounds)
    truth = phantoms.ellipsoid_integrals(geometry)
    table = {}
    for name, value in seconds.items():
        rmse, largest = errors(images[name], truth)
        table[name] = {"seconds": value, "rmse": rmse, "max": largest}
    return table


def smooth_errors(threads: int) -> dict[str, float]:
    """Error over that of an exact Siddon march on smooth volumes and at poses off the upright."""
    shape, spacing = VOLUMES["256"]
    found = {}
    volume = phantoms.gaussian_volume(shape, spacing)
    geometry = Geometry.pa(detector_shape=(256, 256))
    truth = phantoms.gaussian_integrals(geometry)
    found["rmse_smooth_over_siddon"] = (
        errors(project_volume(volume, spacing, geometry, num_threads=threads), truth)[0]
        / errors(siddon(volume, spacing, geometry), truth)[0]
    )
    volume = phantoms.ellipsoid_volume(shape, spacing)
    for name, pose in (
        ("6_degrees", Geometry.pa(detector_shape=(256, 256), rotation_deg=6, tilt_deg=-6)),
        ("45_degrees", Geometry.oblique(45, detector_shape=(256, 256))),
    ):
        truth = phantoms.ellipsoid_integrals(pose)
        found[f"rmse_{name}_over_siddon"] = (
            errors(project_volume(volume, spacing, pose, num_threads=threads), truth)[0]
            / errors(siddon(volume, spacing, pose), truth)[0]
        )
    return found


def label_case(threads: int, missing: set[str]) -> dict[str, float]:
    """79 labels from 256^3 to 224^2 with everything that runs once, against DiffDRR's channels and a plain march."""
    shape, spacing = VOLUMES["256"]
    labels = phantoms.label_volume(shape, spacing, 79)
    geometry = Geometry.pa(detector_shape=(224, 224))
    runs = LabelRuns(labels, spacing, num_threads=threads)

    def dense() -> np.ndarray:
        film = project_labels(labels, spacing, geometry, num_threads=threads)
        return np.stack([film.thickness_mm(label) for label in film.labels])

    methods = {
        "label runs, built and projected": dense,
        "label runs, a further film": lambda: runs.project(geometry, num_threads=threads),
        "DiffDRR mask_to_channels": available(
            peers.diffdrr_siddon, np.ones(shape, np.float32), spacing, geometry, labels=labels, missing=missing,
            name="diffdrr",
        ),
    }  # fmt: skip
    methods = {name: call for name, call in methods.items() if call is not None}
    seconds, results = interleaved(methods, {name: 3 if "DiffDRR" in name else 15 for name in methods})
    film = project_labels(labels, spacing, geometry)
    marched = march_labels(labels, spacing, geometry)
    found = {f"seconds: {name}": value for name, value in seconds.items()}
    found["labels_unequal_to_march"] = float(sum((film.slabs(n) != marched[n]).sum() for n in film.labels))
    if "DiffDRR mask_to_channels" in seconds:
        found["ratio_labels_224"] = seconds["DiffDRR mask_to_channels"] / seconds["label runs, built and projected"]
        theirs = results["DiffDRR mask_to_channels"]
        overlaps = [
            (film.mask(n) & (theirs[n] > 0)).sum() / max((film.mask(n) | (theirs[n] > 0)).sum(), 1)
            for n in film.labels
            if n < len(theirs)
        ]
        found["labels_iou_with_diffdrr"] = float(np.median(overlaps))
    many = phantoms.label_volume(shape, spacing, 117)
    few = (many != 0) * (many % 8 + 1).astype(np.uint8)
    pair = {
        "117": lambda: project_labels(many, spacing, geometry),
        "8": lambda: project_labels(few, spacing, geometry),
    }
    seconds, _ = interleaved(pair, {"117": 15, "8": 15})
    found["time_117_over_8_labels"] = seconds["117"] / seconds["8"]
    return found


def further_pose(volume: np.ndarray, spacing: tuple[float, ...], threads: int) -> dict[str, float]:
    """What a further film of the same volume costs, upright and 6 degrees off."""
    upright = Geometry.pa()
    turned = Geometry.pa(rotation_deg=6, tilt_deg=-3)
    found = {}
    for name, pose, slabs in (("upright", upright, 4), ("6_degrees", turned, 2)):
        keys = KeyPlanes(volume, spacing, slabs_per_plane=slabs, num_threads=threads)
        pair = {
            "first": lambda pose=pose: project_volume(volume, spacing, pose, num_threads=threads),
            "further": lambda keys=keys, pose=pose: keys.project(pose, num_threads=threads),
        }
        seconds, _ = interleaved(pair, {"first": 15, "further": 15})
        found[f"further_pose_{name}"] = seconds["further"] / seconds["first"]
    return found


def peak_memory_mb(threads: int) -> float:
    """Growth of the peak resident memory by one film of the large volume, in a process of its own (Linux)."""
    code = (
        "import re, pathlib, numpy as np\n"
        "from anatomy_vlm.synthesis.projection import Geometry, project_volume\n"
        "def status(key):\n"
        "    text = pathlib.Path('/proc/self/status').read_text()\n"
        "    return int(re.search(key + r':\\s*(\\d+)', text)[1]) / 1024\n"
        "project_volume(np.zeros((8, 8, 8), np.float32), (1, 1, 1), Geometry.pa(detector_shape=(8, 8)))\n"
        "volume = np.random.default_rng(0).random((300, 512, 512), np.float32)\n"
        "pathlib.Path('/proc/self/clear_refs').write_text('5')\n"
        "before = status('VmRSS')\n"
        f"film = project_volume(volume, (1.2, 0.75, 0.75), Geometry.pa(), num_threads={threads})\n"
        "print(status('VmHWM') - before)\n"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", help="folder with the peers, if they are not installed")
    parser.add_argument("--quick", action="store_true", help="256^3 to 224^2 and labels only")
    options = parser.parse_args()
    if options.peers:
        sys.path.append(options.peers)
    torch.set_num_threads(options.threads)
    missing: set[str] = set()
    found: dict[str, float] = {"threads": options.threads}
    volumes = {}
    for name, size, patches, rounds in CASES[:1] if options.quick else CASES:
        shape, spacing = VOLUMES[name]
        if name not in volumes:
            volumes = {name: phantoms.ellipsoid_volume(shape, spacing)}
        table = image_case(volumes[name], spacing, size, patches, rounds, options.threads, missing)
        base = table["key planes"]
        print(f"\n{'x'.join(map(str, shape[::-1]))} to {size} x {size}, float32, {options.threads} threads")
        print(f"{'method':30s} {'ms':>9s} {'/ key planes':>13s} {'rmse':>8s} {'max':>7s}")
        for method, row in table.items():
            print(
                f"{method:30s} {row['seconds'] * 1e3:9.1f} {row['seconds'] / base['seconds']:13.1f} "
                f"{row['rmse']:8.5f} {row['max']:7.4f}"
            )
        key = f"{size}" if name == "256" else f"{size}_large"
        for method, short in (("DiffDRR Siddon", "diffdrr"), ("nanodrr torch", "nanodrr"), ("RTK Joseph", "rtk")):
            if method in table:
                found[f"ratio_{short}_{key}"] = table[method]["seconds"] / base["seconds"]
        if "DiffDRR Siddon" in table:
            for kind in ("rmse", "max"):
                ratio = base[kind] / table["DiffDRR Siddon"][kind]
                found[f"{kind}_over_diffdrr"] = max(found.get(f"{kind}_over_diffdrr", 0.0), ratio)
    if not options.quick:
        found.update(further_pose(volumes["512"], VOLUMES["512"][1], options.threads))
        found["memory_mb"] = peak_memory_mb(options.threads)
    found.update(smooth_errors(options.threads))
    found.update(label_case(options.threads, missing))
    print()
    for name, value in found.items():
        print(f"{name:45s} {value:12.5g}")
    for note in sorted(missing):
        print(f"not compared, {note}")
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")
    if options.json:
        print(json.dumps({**found, "missing": sorted(missing)}))


if __name__ == "__main__":
    main()
