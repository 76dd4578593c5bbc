"""What the anatomy queries look at: their attention over the patches, against the boxes of their regions."""

from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from anatomy_vlm.processing.letterbox_anatomy_vlm import boxes_to_canvas, fit_letterbox
from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, nan_mean, weighted_mean
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs
from anatomy_vlm.training.tables.options import notes, set_title
from anatomy_vlm.training.tables.query_pictures import attention_sheet
from anatomy_vlm.training.tables.table import Cell, Row, Table


HEAD = ("layer, region", "attention in the box", "share of the box", "IoU", "IoU of other queries", "boxes")


@torch.inference_mode()
def query_attention(model: Any, pixel_values: torch.Tensor) -> FloatArray:
    """
    Attention of each anatomy query over the patches, mean over heads, normalised over the patches.

    Args:
        model: An `AnatomyVLMModel`; its attention is set to "eager", the one that tells its weights.
        pixel_values: `(batch_size, 3, height, width)`.

    Returns:
        shape (batch_size, layers, regions, rows, columns).
    """
    tower, config = model.vision_model, model.config.vision_config
    tower.set_attn_implementation("eager")
    outputs = tower(pixel_values, output_attentions=True)
    regions, patch = config.num_anatomy_queries, config.patch_size
    first_patch = 1 + regions + config.num_register_tokens
    rows, columns = pixel_values.shape[-2] // patch, pixel_values.shape[-1] // patch
    layers = torch.stack([w[:, :, 1 : 1 + regions, first_patch:].mean(1) for w in outputs.attentions], dim=1).double()
    layers = layers / layers.sum(-1, keepdim=True).clamp(min=1e-12)
    return layers.reshape(*layers.shape[:3], rows, columns).cpu().numpy()


def box_coverage(boxes: FloatArray, rows: int, columns: int) -> FloatArray:
    """
    Which share of each patch a box covers.

    Args:
        boxes: (..., 4), x0 y0 x1 y1 as fractions of the canvas.

    Returns:
        shape (..., rows, columns), 0 to 1.

    >>> box_coverage(np.array([0.0, 0.0, 0.25, 1.0]), 1, 2).tolist()
    [[0.5, 0.0]]
    """

    def along(low: FloatArray, high: FloatArray, cells: int) -> FloatArray:
        edges = np.arange(cells + 1) / cells
        inside = np.minimum(high[..., None], edges[1:]) - np.maximum(low[..., None], edges[:-1])
        return np.clip(inside, 0, None) * cells

    across, down = along(boxes[..., 0], boxes[..., 2], columns), along(boxes[..., 1], boxes[..., 3], rows)
    return down[..., :, None] * across[..., None, :]


def box_cells(coverage: FloatArray) -> BoolArray:
    """Patches that belong to a box: covered by half or more, at the least the one that is covered most."""
    flat = coverage.reshape(*coverage.shape[:-2], -1)
    most = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(most, flat.argmax(-1)[..., None], True, axis=-1)
    return ((flat >= 0.5) | most).reshape(coverage.shape)


def top_cells_iou(attention: FloatArray, cells: BoolArray) -> FloatArray:
    """
    IoU of a box's patches with as many of the most attended ones.

    Args:
        attention: (..., rows, columns).
        cells: likewise.

    >>> float(top_cells_iou(np.array([[0.6, 0.3, 0.1]]), np.array([[True, False, True]])))
    0.3333333333333333
    """
    weights = attention.reshape(*attention.shape[:-2], -1)
    wanted = cells.reshape(*cells.shape[:-2], -1)
    ranks = np.argsort(np.argsort(-weights, axis=-1, kind="stable"), axis=-1)
    size = wanted.sum(-1)
    shared = (wanted & (ranks < size[..., None])).sum(-1)
    return shared / np.maximum(2 * size - shared, 1)


def queries_table(inputs: TaskInputs) -> Outcome:
    """
    Query specialisation: per region the share of its query's attention that falls into the true box, beside the share
    of the film that the box is; and the IoU of the box with as many of the most attended patches, beside the same of
    the mean attention of the other queries. Every layer's mean, and the regions at the last layer.
    """
    model, processor = inputs.checkpoint
    model = model.to(inputs.device or "cpu").eval()
    split = inputs.split("test")
    size = int(inputs.settings["batch_size"])
    starts = tqdm(range(0, len(split), size), desc="attention", disable=not inputs.progress, leave=False)
    parts = [_measure(model, processor, split[start : start + size]) for start in starts]
    mass, share, own, others, maps, boxes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    bootstrap = PatientBootstrap.draw(
        split["patient_id"], num_resamples=int(inputs.settings["bootstrap"]), seed=int(inputs.settings["seed"])
    )

    def cells(layer: int, region: int | slice) -> list[Cell]:
        found = []
        for array in (mass[:, layer], share, own[:, layer], others[:, layer]):
            values = array[:, region].reshape(len(array), -1)
            resampled = bootstrap.resample(lambda weights, v=values: nan_mean(weighted_mean(v, weights)))
            found.append(Cell(float(nan_mean(weighted_mean(values))), *map(float, percentile_interval(resampled))))
        return found

    layers = mass.shape[1]
    known = ~np.isnan(share)
    rows = [
        Row(f"layer {layer + 1}: mean over regions", [*cells(layer, slice(None)), str(int(known.sum()))])
        for layer in range(layers)
    ]
    for index in range(mass.shape[2]):
        name = model.config.id2label[index]
        rows.append(Row(f"layer {layers}: {name}", [*cells(layers - 1, index), str(int(known[:, index].sum()))]))
    rows_, columns_ = _grid(model, processor)
    about = (
        f"Attention over {rows_} x {columns_} patches, mean over heads. IoU: of the box's patches with as many of the "
        "most attended ones; of other queries: with the mean of the other 28 maps."
    )
    table = Table(f"What the queries look at, {set_title(inputs, 'test')}", HEAD, rows, notes(inputs, about))
    names = [model.config.id2label[index] for index in range(mass.shape[2])]
    sheet = attention_sheet(nan_mean(maps, axis=0), nan_mean(boxes, axis=0), names)
    return Outcome(table.numbers, table, {"queries": sheet})


def _grid(model: Any, processor: Any) -> tuple[int, int]:
    size, patch = processor.image_processor.size, model.config.vision_config.patch_size
    return size["height"] // patch, size["width"] // patch


def _measure(model: Any, processor: Any, batch: dict[str, Any]) -> tuple[FloatArray, ...]:
    """
    Mass (b, layers, regions), share (b, regions), IoU and IoU of others (b, layers, regions), maps of the last layer
    (b, regions, rows, columns) and boxes (b, regions, 4); NaN without a box.
    """
    images = [image.convert("L") for image in batch["image"]]
    pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    attention = query_attention(model, pixels.to(model.device))
    canvas = (pixels.shape[-2], pixels.shape[-1])
    keep_aspect = bool(getattr(processor.image_processor, "do_pad", True))
    boxes = np.stack(
        [
            boxes_to_canvas(
                np.asarray(box, dtype=np.float64) * ([image.width, image.height] * 2),
                fit_letterbox((image.height, image.width), canvas, keep_aspect),
            )
            / [canvas[1], canvas[0], canvas[1], canvas[0]]
            for box, image in zip(batch["boxes"], images, strict=True)
        ]
    )
    known = np.asarray(batch["box_mask"], dtype=bool)
    coverage = box_coverage(boxes, *attention.shape[-2:])
    cells = box_cells(coverage)[:, None].repeat(attention.shape[1], axis=1)
    mass = (attention * coverage[:, None]).sum((-2, -1))
    regions = attention.shape[2]
    rest = (attention.sum(2, keepdims=True) - attention) / (regions - 1)
    own, others = top_cells_iou(attention, cells), top_cells_iou(rest, cells)
    hidden = ~known[:, None]
    share = np.where(known, coverage.mean((-2, -1)), np.nan)
    return (
        np.where(hidden, np.nan, mass),
        share,
        np.where(hidden, np.nan, own),
        np.where(hidden, np.nan, others),
        np.where(known[..., None, None], attention[:, -1], np.nan),
        np.where(known[..., None], boxes, np.nan),
    )
