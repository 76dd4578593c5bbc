"""Examples at training size: decoded, letter-boxed and turned into numbers once, before the first step."""

import hashlib
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import torch

from anatomy_vlm.processing.contrastive_sampler import ContrastiveLabelSampler
from anatomy_vlm.processing.facts import example_facts
from anatomy_vlm.processing.letterbox_anatomy_vlm import boxes_to_canvas, clip_boxes, fit_letterbox
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES


NUM_REGIONS, NUM_FINDINGS = len(REGION_NAMES), len(FINDING_NAMES)
# Raw bytes in an Arrow column are read an order of magnitude faster than encoded images or nested lists.
PREPARED_FEATURES = datasets.Features(
    {
        "pixels": datasets.Value("binary"),
        "boxes": datasets.Value("binary"),
        "box_mask": datasets.Value("binary"),
        "labels": datasets.Value("binary"),
        "facts": datasets.Value("binary"),
        "severity": datasets.Value("binary"),
        "unmentioned": datasets.Value("binary"),
        "phrase_regions": datasets.Value("binary"),
        "phrase_ids": datasets.Value("binary"),
    }
)
DTYPES = {
    "pixels": np.uint8,
    "boxes": np.float32,
    "box_mask": np.bool_,
    "labels": np.float32,
    "facts": np.int8,
    "severity": np.int8,
    "unmentioned": np.bool_,
    "phrase_regions": np.int64,
    "phrase_ids": np.int64,
}


def prepare_example(
    example: dict[str, Any], image_processor: Any, side: int, sampler: ContrastiveLabelSampler
) -> dict:
    """
    One example of the schema as raw bytes: `pixels` `(side, side)`, `boxes` `(29, 4)` of the letter-boxed image,
    `box_mask` `(29,)`, `labels` `(findings,)`, `facts`, `severity` and `unmentioned` `(29, findings)`, and the
    sub-sentences of the report as pairs of `phrase_regions` and `phrase_ids`.
    """
    try:
        image = example["image"]
    except Exception as error:  # each format has errors of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"image '{example['image_id']}' cannot be decoded: {reason}; replace the file, or take it out of the data"
        ) from error
    canvas = image_processor.preprocess(
        image, size={"height": side, "width": side}, do_rescale=False, do_normalize=False, return_tensors="np"
    )
    pixels = np.asarray(canvas["pixel_values"][0][0])
    letterbox = fit_letterbox((image.height, image.width), (side, side), bool(image_processor.do_pad))
    extent = np.array([image.width, image.height] * 2, dtype=np.float64)
    boxes = boxes_to_canvas(np.asarray(example["boxes"], dtype=np.float64) * extent, letterbox)
    boxes = clip_boxes(boxes, (side, side)) / side
    table = example_facts(example)
    regions, ids = sampler.phrases(example["region_findings"])
    arrays = {
        "pixels": np.clip(np.rint(pixels), 0, 255),
        "boxes": boxes,
        "box_mask": example["box_mask"],
        "labels": example["labels"],
        "facts": table.facts,
        "severity": table.severity,
        "unmentioned": table.unmentioned,
        "phrase_regions": regions,
        "phrase_ids": ids,
    }
    return {name: np.ascontiguousarray(array, dtype=DTYPES[name]).tobytes() for name, array in arrays.items()}


def prepare_dataset(
    dataset: datasets.Dataset,
    image_processor: Any,
    side: int,
    sampler: ContrastiveLabelSampler,
    fingerprint: str,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """
    A dataset of `prepare_example`, kept in the cache of `datasets`.

    Args:
        dataset: Examples of the schema.
        image_processor: The model's image processor.
        side: Side of the model's square input in pixels.
        sampler: Knows every phrase of the run.
        fingerprint: Stands for the phrases, whose hash is known, in the name of the cache.
        num_proc: Processes that work.
    """
    settings = hashlib.sha256(
        f"{dataset._fingerprint} {image_processor.to_json_string()} {side} {fingerprint}".encode()
    ).hexdigest()[:16]
    return dataset.map(
        prepare_example,
        fn_kwargs={"image_processor": image_processor, "side": side, "sampler": sampler},
        remove_columns=dataset.column_names,
        features=PREPARED_FEATURES,
        num_proc=num_proc,
        new_fingerprint=settings,
        desc=f"Preparing {side} px",
    )


def unpack(row: dict[str, bytes], names: Sequence[str] = tuple(DTYPES)) -> dict[str, torch.Tensor]:
    """Tensors of a prepared row, in the shapes that `prepare_example` documents."""
    arrays: dict[str, np.ndarray] = {name: np.frombuffer(row[name], dtype=DTYPES[name]).copy() for name in names}
    side = int(len(row["pixels"]) ** 0.5)
    shapes = {
        "pixels": (side, side),
        "boxes": (NUM_REGIONS, 4),
        "facts": (NUM_REGIONS, NUM_FINDINGS),
        "severity": (NUM_REGIONS, NUM_FINDINGS),
        "unmentioned": (NUM_REGIONS, NUM_FINDINGS),
    }
    return {name: torch.from_numpy(array.reshape(shapes.get(name, -1))) for name, array in arrays.items()}
