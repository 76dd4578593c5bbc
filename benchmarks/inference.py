"""Exported models beside PyTorch: parity, and what 8-bit integers and OpenVINO give in speed and cost in exactness.

    python benchmarks/inference.py [--model hub_cards/phantom-reference] [--folder exported] [--phantoms 64] [--json]

The model is exported to ONNX, quantised on 64 other synthetic films, and read by five sides: PyTorch, ONNX Runtime
and OpenVINO in float32, and both with 8-bit integers. Films are phantoms that no training has seen and, where the
folder of real data is there, the Wingspan films (`real_films.py`). Differences are from PyTorch on the same films: of
boxes in pixels of the film, of scores in [0, 1]. IoU is with the true boxes, AUC the mean over findings of which the
phantoms have at least five with and without.

Speed is of whole batches through the vision graph, sides interleaved in one process on one thread, by processor time;
the ratio is the median over rounds of PyTorch's time over the side's. With `--folder`, an export with its `int8`
folder inside is taken from there, or kept there.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from real_films import NAMES, default_data, wingspan

from anatomy_vlm.backends.graph_export import export_for_backend
from anatomy_vlm.backends.graph_files import NOTES
from anatomy_vlm.backends.graph_model import load_graphs
from anatomy_vlm.backends.quantization import draw_calibration_films, quantized_copy
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.synthesis import generate_patient
from anatomy_vlm.training.evaluation.boxes import box_iou
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.evaluation.reader import Reader, Readings
from anatomy_vlm.training.model_folder import load_checkpoint


PHANTOM_SEED, PHANTOM_SIZE = 990_000_000, 256
LEAST_CASES = 5


def phantoms(number: int) -> tuple[list[Image.Image], dict[str, np.ndarray]]:
    """Films, and their true boxes in pixels and labels."""
    examples = [
        generate_patient(PHANTOM_SEED + index, image_size=PHANTOM_SIZE, domain="mixed")[0] for index in range(number)
    ]
    truth = {
        "boxes": np.stack([np.asarray(example["boxes"]) for example in examples]) * PHANTOM_SIZE,
        "box_mask": np.stack([np.asarray(example["box_mask"], dtype=bool) for example in examples]),
        "labels": np.stack([np.asarray(example["labels"]) for example in examples]),
    }
    return [example["image"] for example in examples], truth


def read_all(reader: Reader, films: list[Image.Image]) -> Readings:
    return Readings.concatenate([reader.read(films[start : start + 8]) for start in range(0, len(films), 8)])


def macro_auc(readings: Readings, findings: tuple[str, ...], labels: np.ndarray) -> float:
    """The mean over findings with enough films of both kinds."""
    areas = []
    for column, finding in enumerate(findings):
        known = labels[:, FINDING_NAMES.index(finding)]
        positive, negative = int((known == 1).sum()), int((known == 0).sum())
        if min(positive, negative) >= LEAST_CASES:
            mask = ~np.isnan(known)
            areas.append(float(roc_auc(known[mask], readings.image_scores[mask, column])))
    return float(np.mean(areas)) if areas else float("nan")


def differences(found: Readings, expected: Readings) -> dict[str, float]:
    shift = np.abs(found.boxes - expected.boxes)
    scores = np.abs(found.image_scores - expected.image_scores)
    return {
        "box_px_mean": float(shift.mean()),
        "box_px_p95": float(np.percentile(shift, 95)),
        "box_px_max": float(shift.max()),
        "presence_max": float(np.abs(found.presence - expected.presence).max()),
        "score_mean": float(scores.mean()),
        "score_max": float(scores.max()),
        "region_score_max": float(np.abs(found.region_scores - expected.region_scores).max()),
    }


def speed(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of processor time of each side, and how many times as fast as the first it is."""
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            taken[name].append(time.process_time() - start)
    base = next(iter(taken.values()))
    return {
        name: {
            "seconds": statistics.median(times),
            "times_as_fast": statistics.median(b / t for b, t in zip(base, times, strict=True)),
        }
        for name, times in taken.items()
    }


def vision_steps(readers: dict[str, Reader], batch: int) -> dict[str, Callable[[], object]]:
    config = readers["torch"].model.config.vision_config
    shape = (batch, config.num_channels, config.image_size, config.image_size)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def step(reader: Reader) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return reader.model(pixel_values=pixels)

        return run

    return {name: step(reader) for name, reader in readers.items()}


def load_sides(model: str, folder: Path) -> tuple[dict[str, Reader], dict[str, Any]]:
    """A reader of each side, one thread each, and the notes of the export."""
    if not (folder / NOTES).is_file():
        export_for_backend(model, folder)
    quantized = folder / "int8"
    if not (quantized / NOTES).is_file():
        quantized_copy(folder, quantized, draw_calibration_films())
    readers = {"torch": Reader(*load_checkpoint(model), device="cpu")}
    for name, source in (("", folder), (" int8", quantized)):
        for backend in ("onnx", "openvino"):
            readers[backend + name] = Reader(*load_graphs(source, backend, threads=1), device="cpu")
    return readers, json.loads((folder / NOTES).read_text())


def measure(readers: dict[str, Reader], number: int, data: Path, rounds: int) -> dict[str, Any]:
    films, truth = phantoms(number)
    sets = {"phantoms": films}
    real = wingspan(data / "cxr_wingspan_ctr") if data.is_dir() else {}
    if real:
        sets["wingspan"] = [Image.open(file).convert("L") for file in real]
    regions = [readers["torch"].regions.index(name) for name in NAMES]
    true_real = np.array([[boxes[name] for name in NAMES] for boxes in real.values()])
    results: dict[str, Any] = {"sets": {}}
    for name, images in sets.items():
        readings = {side: read_all(reader, images) for side, reader in readers.items()}
        rows = {side: differences(found, readings["torch"]) for side, found in readings.items()}
        for side, found in readings.items():
            if name == "phantoms":
                rows[side]["iou"] = float(box_iou(found.boxes, truth["boxes"])[truth["box_mask"]].mean())
                rows[side]["auc"] = macro_auc(found, readers[side].findings, truth["labels"])
            else:
                rows[side]["iou"] = float(box_iou(found.boxes[:, regions], true_real).mean())
        results["sets"][name] = {"films": len(images), "sides": rows}
    results["speed"] = {f"batch {batch}": speed(vision_steps(readers, batch), rounds) for batch in (1, 8)}
    return results


def to_markdown(results: dict[str, Any]) -> str:
    lines = []
    for name, entry in results["sets"].items():
        lines += [
            f"\n{entry['films']} {name}\n",
            "| side | box, px mean | p95 | max | scores, max | region scores, max | IoU | AUC |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for side, row in entry["sides"].items():
            auc = f"{row['auc']:.4f}" if "auc" in row else "-"
            lines.append(
                f"| {side} | {row['box_px_mean']:.2g} | {row['box_px_p95']:.2g} | {row['box_px_max']:.2g} "
                f"| {row['score_max']:.1e} | {row['region_score_max']:.1e} | {row['iou']:.4f} | {auc} |"
            )
    lines += ["\n| side | batch 1, times as fast | batch 8, times as fast |", "|---|---|---|"]
    for side in results["speed"]["batch 1"]:
        one, eight = (results["speed"][f"batch {batch}"][side]["times_as_fast"] for batch in (1, 8))
        lines.append(f"| {side} | {one:.2f} | {eight:.2f} |")
    parity = ", ".join(f"{name} {value:.1e}" for name, value in results["export_parity"].items())
    lines.append(f"\nAt export, over three sizes and batches: {parity}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hub_cards/phantom-reference")
    parser.add_argument("--folder", type=Path, help="keep the exports here, or take them from here")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--phantoms", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        readers, notes = load_sides(args.model, args.folder or Path(scratch) / "exported")
        results = measure(readers, args.phantoms, args.data, args.rounds)
    results["export_parity"] = notes["parity"]
    print(to_markdown(results))
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
