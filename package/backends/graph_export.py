"""Write a folder with a checkpoint as graphs: vision, text, processor, and where it all came from."""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from anatomy_vlm.backends.graph_files import NOTES, TEXT, VISION
from anatomy_vlm.backends.graphs import VISION_OUTPUTS, TextGraph, VisionGraph, positions_of_any_size
from anatomy_vlm.backends.sessions import BACKENDS, OnnxSession, OpenVINOSession, Session, openvino_module
from anatomy_vlm.exports.film_source import RESEARCH_ONLY
from anatomy_vlm.modeling import AnatomyVLMModel
from anatomy_vlm.processing import AnatomyVLMProcessor
from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.export_hub import ExportError, new_folder
from anatomy_vlm.training.model_folder import load_checkpoint


OPSET = 18
PARITY = 1e-4
# ONNX is a protocol buffer, of at most 2 GiB.
_INLINE_LIMIT = 1.8e9
_VERSIONS = ("anatomy-vlm", "torch", "transformers", "onnx", "onnxscript", "onnxruntime")
_EXTRA = 'pip install "anatomy-vlm[onnx]"'


def export_for_backend(
    source: AnatomyVLMModel | str | Path,
    folder: str | Path,
    processor: AnatomyVLMProcessor | None = None,
    *,
    format: str = "onnx",
    calibration: Sequence[Image.Image] | None = None,
) -> Path:
    """
    Write `model` (vision tower and heads, with the embedded texts as an input) and `text_model`, as `.onnx` or as
    OpenVINO's `.xml` and `.bin`, with processor and configuration. Batch, number of texts, height and width are free.

    The graphs are checked before they take their place: by `onnx.checker`, and by running them beside the model.

    Args:
        source: The model, or a checkpoint to load with its processor.
        folder: Where to write; what was there before stays until the new one is complete.
        processor: With a model that is not a checkpoint.
        format: "onnx" or "openvino".
        calibration: Films to quantise by: the vision graph is then of 8-bit integers (`quantize_vision`).

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ExportError: if `folder` holds something else, or the exported graphs do not give what the model gives.
        ImportError: if the extra of the format is not installed.
    """
    if format not in BACKENDS[1:]:
        raise ExportError(f"unknown format {format!r}; choose one of {', '.join(BACKENDS[1:])}")
    require_onnx()
    if format == "openvino":
        openvino_module()
    name = "unknown"
    if isinstance(source, str | Path):
        name = Path(source).name
        source, processor = load_checkpoint(source)
    if processor is None:
        raise ExportError("export needs the processor of the model")
    model = source.float().cpu().eval()
    folder = Path(folder)
    notes = provenance(model, processor, name)
    with new_folder(folder) as scratch:
        export_graphs(model, processor, scratch, notes)
        graphs = [scratch / f"{name}.onnx" for name in (VISION, TEXT)]
        session = OnnxSession if format == "onnx" else OpenVINOSession
        notes["parity"] = check_parity(model, processor, session(graphs[0]), session(graphs[1]))
        if calibration is not None:
            from anatomy_vlm.backends.quantization import quantize_vision

            notes["quantization"] = quantize_vision(graphs[0], processor, calibration)
        if format == "openvino":
            for graph in graphs:
                _convert(graph)
        model.config.save_pretrained(scratch)
        processor.save_pretrained(scratch)
        write_json(scratch / NOTES, notes)
    return folder


def _convert(path: Path) -> None:
    """An ONNX file as OpenVINO's own, in float32: OpenVINO would halve it silently."""
    openvino = openvino_module()
    openvino.save_model(openvino.Core().read_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def require_onnx() -> None:
    """Raise an `ImportError` that names the extra if a library is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"exporting to ONNX needs {error.name}: {_EXTRA}") from None


def provenance(model: AnatomyVLMModel, processor: AnatomyVLMProcessor, name: str) -> dict[str, Any]:
    """What an exported model says of itself."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    labels = model.config.id2label
    return {
        "model": name,
        "weights_sha256": digest.hexdigest(),
        "versions": {name: version(name) for name in _VERSIONS},
        "opset": OPSET,
        "regions": [labels[index] for index in range(len(labels))],
        "findings": list(processor.finding_prompts or {}),
        "logits": {
            key: float(getattr(model, key).detach())
            for key in ("logit_scale", "logit_bias", "region_logit_scale", "region_logit_bias")
        },
        "tokens": list(text_inputs(model, processor)),
        "note": RESEARCH_ONLY,
    }


def text_inputs(model: AnatomyVLMModel, processor: AnatomyVLMProcessor) -> dict[str, torch.Tensor]:
    """Two tokenised texts of different lengths, in the order of `TextGraph`."""
    texts = list(processor.prompt_texts())[:1] + ["no pleural effusion in the left lung"]
    tokens = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    names: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    if model.config.text_length is not None:
        names = ("input_ids",)  # the padding is read as well: there is no mask
    return {name: tokens[name] for name in names if name in tokens}


def export_graphs(model: AnatomyVLMModel, processor: AnatomyVLMProcessor, folder: Path, notes: dict[str, Any]) -> None:
    """Trace both graphs and save them, checked by `onnx.checker`."""
    dynamic = torch.export.Dim.DYNAMIC
    vision, patch = model.config.vision_config, model.config.vision_config.patch_size
    # Unequal sides and batches, none of them 1: no two of them, and no constant, are taken for each other.
    example = torch.zeros(3, vision.num_channels, vision.image_size + 2 * patch, vision.image_size)
    texts = torch.zeros(2, model.config.projection_dim)
    tokens = text_inputs(model, processor)
    with positions_of_any_size():
        _save(
            VisionGraph(model),
            {"pixel_values": example, "text_embeds": texts},
            {"pixel_values": {0: dynamic, 2: dynamic, 3: dynamic}, "text_embeds": {0: dynamic}},
            VISION_OUTPUTS,
            folder / f"{VISION}.onnx",
            notes,
        )
    _save(
        TextGraph(model),
        tokens,
        {name: {0: dynamic, 1: dynamic} for name in tokens},
        ("text_embeds",),
        folder / f"{TEXT}.onnx",
        notes,
    )


def _save(
    graph: nn.Module,
    inputs: dict[str, torch.Tensor],
    shapes: dict[str, Any],
    outputs: Sequence[str],
    path: Path,
    notes: dict[str, Any],
) -> None:
    import onnx

    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.eval(),
                kwargs=inputs,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        # The exporter raises errors of its own for what it cannot trace, over pages.
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{path.stem}: this model cannot be traced to ONNX: {reason}") from error
    assert program is not None
    for key, value in notes.items():
        program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    size = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    program.save(path, external_data=size > _INLINE_LIMIT)
    onnx.checker.check_model(str(path), full_check=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's advice on libraries that nobody here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_parity(
    model: AnatomyVLMModel, processor: AnatomyVLMProcessor, vision: Session, text: Session
) -> dict[str, float]:
    """
    The largest difference of each output from the model's, over three sizes of input; logits as scores in [0, 1].

    Raises:
        ExportError: if one is above `PARITY`.
    """
    generator = torch.Generator().manual_seed(0)
    config = model.config.vision_config
    side, patch = config.image_size, config.patch_size
    tokens = text_inputs(model, processor)
    with torch.inference_mode():
        embeds = TextGraph(model)(**tokens)
    found = {"text_embeds": _difference(text.run(_arrays(tokens))["text_embeds"], embeds)}
    for batch, height, width in ((1, side, side), (2, side + patch, side + 3 * patch), (3, side - 1, side)):
        # Smooth, as films are: no box may lie on the very edge of a patch by chance.
        small = torch.rand(batch, config.num_channels, 8, 8, generator=generator) * 2 - 1
        pixels = nn.functional.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)
        with torch.inference_mode():
            expected = dict(zip(VISION_OUTPUTS, VisionGraph(model)(pixels, embeds), strict=True))
        outputs = vision.run(_arrays({"pixel_values": pixels, "text_embeds": embeds}))
        for name, value in expected.items():
            found[name] = max(found.get(name, 0.0), _difference(outputs[name], value, scores="logits" in name))
    wrong = {name: value for name, value in found.items() if not value <= PARITY}
    if wrong:
        listed = ", ".join(f"{name} by {value:.1e}" for name, value in wrong.items())
        raise ExportError(f"the exported graph differs from the model: {listed}; not written")
    return found


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _difference(found: np.ndarray, expected: torch.Tensor, scores: bool = False) -> float:
    values = torch.from_numpy(np.asarray(found))
    if scores:
        values, expected = values.sigmoid(), expected.sigmoid()
    return float((values - expected).abs().max())


__all__ = ["OPSET", "PARITY", "check_parity", "export_for_backend"]
