"""The vision graph in 8-bit integers: static quantisation by ONNX Runtime, calibrated on films."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.backends.graph_files import NOTES, VISION
from anatomy_vlm.processing import AnatomyVLMProcessor
from anatomy_vlm.processing.atomic_files import replacing, write_json
from anatomy_vlm.training.export_hub import ExportError, new_folder


MIN_FILMS = 8
_BATCH = 8
# What is in integers: products with weights. Attention, norms and activations stay in float.
_OPERATIONS = ("Conv", "MatMul", "Gemm")
# Where the numbers become pixels; few of all operations, and the ones that boxes hang on.
_KEPT_IN_FLOAT = ("box_head", "presence_head", "glimpse")


def draw_calibration_films(number: int = 64, image_size: int = 256, seed: int = 77) -> list[Image.Image]:
    """Synthetic films of all looks, for who has no films at hand; needs the extra `synthesis`."""
    from anatomy_vlm.synthesis import generate_patient

    return [
        generate_patient(seed * 1_000_000 + index, image_size=image_size, domain="mixed")[0]["image"]
        for index in range(number)
    ]


def quantize_vision(path: Path, processor: AnatomyVLMProcessor, films: Sequence[Image.Image]) -> dict[str, Any]:
    """
    Put a quantised graph in the place of a float one: weights by output channel, symmetric, in int8; activations in
    uint8 over the range that the films show.

    Args:
        path: `model.onnx` as exported.
        processor: Makes the pixels.
        films: At least `MIN_FILMS`, like those that will be read.

    Returns:
        How it was done, for the notes of the export.

    Raises:
        ExportError: too few films.
    """
    if len(films) < MIN_FILMS:
        raise ExportError(f"quantisation needs at least {MIN_FILMS} films to calibrate on, got {len(films)}")
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(str(path))
    kept = _nodes_within(model, _KEPT_IN_FLOAT)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    texts = next(item for item in model.graph.input if item.name == "text_embeds")
    pixels = _Pixels(processor, films, texts.type.tensor_type.shape.dim[1].dim_value)
    with replacing(path) as beside, replacing(path.with_suffix(".prepared.onnx")) as prepared:
        # The optimiser would fuse nodes that are named here; shapes are all that the quantiser needs.
        quant_pre_process(str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(beside),
            pixels,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATIONS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": False, "WeightSymmetric": True},
        )
        model = onnx.load(str(beside))
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {**metadata, "quantization": "int8, static"})
        onnx.save(model, str(beside))
        onnx.checker.check_model(str(beside), full_check=True)
    path.with_suffix(".prepared.onnx").unlink()
    return {
        "films": len(films),
        "weights": "int8 by channel",
        "activations": "uint8, range of the films",
        "in_float": list(_KEPT_IN_FLOAT),
    }


def quantized_copy(folder: str | Path, target: str | Path, films: Sequence[Image.Image]) -> Path:
    """
    A copy of a folder of `export_for_backend(format="onnx")` with its vision graph quantised.

    Raises:
        ExportError: too few films, or a folder that holds no such export.
    """
    source, target = Path(folder), Path(target)
    notes = source / NOTES
    if not notes.is_file() or not (source / f"{VISION}.onnx").is_file():
        raise ExportError(f"{source}: no export to ONNX; write one with 'anatomy-vlm export MODEL DIR --format onnx'")
    with new_folder(target) as scratch:
        for file in sorted(source.iterdir()):
            if file.is_file():
                shutil.copy(file, scratch)
        processor = AnatomyVLMProcessor.from_pretrained(source, local_files_only=True)
        done = quantize_vision(scratch / f"{VISION}.onnx", processor, films)
        write_json(scratch / NOTES, {**json.loads(notes.read_text(encoding="utf-8")), "quantization": done})
    return target


def _nodes_within(model: Any, modules: Sequence[str]) -> list[str]:
    """Names of the nodes that come from these modules, as the exporter notes them."""
    return [
        node.name
        for node in model.graph.node
        if any(
            module in entry.value
            for entry in node.metadata_props
            if entry.key.endswith("name_scopes")
            for module in modules
        )
    ]


class _Pixels:
    """The films in small batches, as the quantiser asks for them."""

    def __init__(self, processor: AnatomyVLMProcessor, films: Sequence[Image.Image], projection_dim: int) -> None:
        self._processor = processor
        self._films = films
        self._next = 0
        # What is quantised does not see the texts.
        self._texts = np.zeros((1, projection_dim), dtype=np.float32)

    def get_next(self) -> dict[str, np.ndarray] | None:
        films = list(self._films[self._next : self._next + _BATCH])
        self._next += _BATCH
        if not films:
            return None
        pixels = self._processor.image_processor(images=films, return_tensors="np")["pixel_values"]
        return {"pixel_values": np.asarray(pixels, dtype=np.float32), "text_embeds": self._texts}


__all__ = ["MIN_FILMS", "draw_calibration_films", "quantize_vision", "quantized_copy"]
