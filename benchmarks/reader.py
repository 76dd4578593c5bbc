"""Reading films at 512 pixels for training: the trainer's reader against `datasets`' Image column in torch format.

    python benchmarks/reader.py [--films 256] [--rounds 3] [--json]

Every reader is a `datasets` dataset and gives one uint8 tensor per film, films in random order, one process:

- Image column, torch format: PNG bytes, decoded by Pillow, as `datasets` keeps images
- prepared, Image column: what the loader `prepared` gives, raw bytes behind a netpbm header, decoded by Pillow
- prepared, raw bytes: the same column without Pillow
- trainer: raw bytes of `anatomy_vlm.training.prepared`, with boxes, labels and facts of every film

With `--json`, the last line is one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.contrastive_sampler import ContrastiveLabelSampler
from anatomy_vlm.processing.phrase_book import PhraseBook
from anatomy_vlm.training.loaders import load_data
from anatomy_vlm.training.loaders.layouts.films import SHARES, film, save_film, write_table
from anatomy_vlm.training.preparation import prepare
from anatomy_vlm.training.preparation.pixel_bytes import to_pixels
from anatomy_vlm.training.prepared import prepare_dataset, unpack


SIDE = 512
TARGET_RATIO = 8.0


def write_folder(folder: Path, count: int) -> None:
    for number in range(count):
        save_film(folder / f"{number:05d}.png", film([number], SIDE, SIDE))
    rows = [(f"{number:05d}.png", number, number % 2) for number in range(count)]
    write_table(folder / "metadata.csv", ("file_name", "patient_id", "pleural effusion"), rows)


def readers(work: Path, count: int) -> dict[str, Callable[[int], torch.Tensor]]:
    write_folder(work / "films", count)
    arguments = {"path": str(work / "films"), "splits": SHARES}
    prepare("folder", arguments, work / "prepared", image_size=SIDE, progress=False)
    splits = load_data("prepared", {"path": str(work / "prepared")})
    rows = datasets.concatenate_datasets(list(splits.values()))
    encoded = datasets.Dataset.from_generator(
        lambda: ({"image": Image.fromarray(np.asarray(row["image"]))} for row in rows),
        features=datasets.Features({"image": datasets.Image(mode="L")}),
    ).with_format("torch")
    bare = rows.select_columns("image").cast_column("image", datasets.Image(decode=False))
    book = PhraseBook.from_examples(rows["region_findings"])
    trainer = prepare_dataset(
        rows,
        AnatomyVLMImageProcessorPil(size={"height": SIDE, "width": SIDE}),
        SIDE,
        ContrastiveLabelSampler(book),
        "benchmark",
    )
    pictures = rows.select_columns("image")
    return {
        "Image column, torch format": lambda i: encoded[i]["image"],
        "prepared, Image column": lambda i: torch.from_numpy(np.array(pictures[i]["image"])),
        "prepared, raw bytes": lambda i: torch.from_numpy(to_pixels(bare[i]["image"]["bytes"]).copy()),
        "trainer": lambda i: unpack(trainer[i])["pixels"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
        methods = readers(Path(folder), args.films)
        films = {name: [method(i).reshape(SIDE, SIDE) for i in range(8)] for name, method in methods.items()}
        first = next(iter(films.values()))
        for name, found in films.items():
            if not all(torch.equal(a, b) for a, b in zip(first, found)):
                raise SystemExit(f"{name} reads other pixels")
        times: dict[str, list[float]] = {name: [] for name in methods}
        for turn in range(args.rounds):
            order = np.random.default_rng(turn).permutation(args.films).tolist()
            for name, method in methods.items():
                begin = time.perf_counter()
                for index in order:
                    method(index)
                times[name].append((time.perf_counter() - begin) / len(order))
    rates = {name: 1 / statistics.median(values) for name, values in times.items()}
    base = rates["Image column, torch format"]
    print(f"{args.films} films of {SIDE} x {SIDE}, one process")
    print(f"{'':<30}{'films/s':>10}{'ratio':>8}")
    for name, rate in rates.items():
        print(f"{name:<30}{rate:>10,.0f}{rate / base:>8.1f}")
    ratio = rates["trainer"] / base
    print(f"target: the trainer's reader at least {TARGET_RATIO:g} times the Image column")
    if args.json:
        result = {"ratio_over_datasets_image": ratio, "films_per_second": rates, "ok": ratio >= TARGET_RATIO}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
