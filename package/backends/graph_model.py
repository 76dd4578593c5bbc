"""An exported folder as a model that `Reader` and `Predictor` take in the place of the PyTorch one."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from anatomy_vlm.backends.graph_files import NOTES, TEXT, VISION
from anatomy_vlm.backends.sessions import BACKENDS, OnnxSession, OpenVINOSession, Session
from anatomy_vlm.modeling import AnatomyVLMConfig
from anatomy_vlm.processing import AnatomyVLMProcessor
from anatomy_vlm.training.model_folder import CheckpointError


class GraphModel:
    """
    The part of `AnatomyVLMModel` that reading films needs, computed by a session.

    Args:
        config: Of the model.
        vision, text: The two graphs.
        notes: What `export.json` says.
    """

    def __init__(self, config: AnatomyVLMConfig, vision: Session, text: Session, notes: dict[str, Any]) -> None:
        self.config = config
        self.vision = vision
        self.text = text
        self.notes = notes
        self._logits = {name: torch.tensor(float(value)) for name, value in notes["logits"].items()}
        self._no_texts = torch.zeros(1, config.projection_dim)

    def to(self, device: Any) -> "GraphModel":
        """Stay where it is: exported graphs run on the CPU here."""
        if torch.device(device).type != "cpu":
            raise ValueError(f"device {str(device)!r}: exported models run on the CPU here; leave out --device")
        return self

    def eval(self) -> "GraphModel":
        """It always is."""
        return self

    def __call__(self, pixel_values: torch.Tensor, region_boxes: torch.Tensor | None = None) -> SimpleNamespace:
        """Boxes, presence and embeddings of images, as `AnatomyVLMOutput` has them."""
        if region_boxes is not None:
            raise ValueError("an exported model reads no boxes of yours; use --backend torch with the checkpoint")
        found = self.vision.run({"pixel_values": pixel_values.numpy(), "text_embeds": self._no_texts.numpy()})
        return SimpleNamespace(**{name: torch.from_numpy(value) for name, value in found.items()})

    def get_text_features(self, **tokens: torch.Tensor) -> SimpleNamespace:
        """Embeddings of tokenised texts as `pooler_output`."""
        inputs = {name: tokens[name].numpy() for name in self.text.input_names}
        return SimpleNamespace(pooler_output=torch.from_numpy(self.text.run(inputs)["text_embeds"]))

    def image_logits(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """As `AnatomyVLMModel.image_logits`."""
        return image_embeds @ text_embeds.t() * self._logits["logit_scale"].exp() + self._logits["logit_bias"]

    def region_logits(self, region_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """As `AnatomyVLMModel.region_logits`."""
        scale, bias = self._logits["region_logit_scale"].exp(), self._logits["region_logit_bias"]
        return region_embeds @ text_embeds.t() * scale + bias


def load_graphs(
    folder: str | Path, backend: str, threads: int | None = None
) -> tuple[GraphModel, AnatomyVLMProcessor]:
    """
    Load a folder that `anatomy-vlm export --format onnx` or `--format openvino` wrote.

    Args:
        folder: The folder; OpenVINO reads both kinds.
        backend: "onnx" or "openvino".
        threads: Of the processor; None lets the library choose.

    Raises:
        CheckpointError: no such folder, or not one of these.
        ImportError: if the backend's extra is not installed.
    """
    folder = Path(folder)
    if backend not in BACKENDS[1:]:
        raise CheckpointError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    suffixes = (".xml", ".onnx") if backend == "openvino" else (".onnx",)
    suffix = next((suffix for suffix in suffixes if (folder / f"{VISION}{suffix}").is_file()), None)
    if suffix is None:
        raise CheckpointError(
            f"{folder}: no {' or '.join(f'{VISION}{s}' for s in suffixes)} in this folder; "
            f"write one with 'anatomy-vlm export MODEL DIR --format {backend}'"
        )
    session = OnnxSession if backend == "onnx" else OpenVINOSession
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        config = AnatomyVLMConfig.from_pretrained(folder, local_files_only=True)
        processor = AnatomyVLMProcessor.from_pretrained(folder, local_files_only=True)
        graphs = [session(folder / f"{name}{suffix}", threads) for name in (VISION, TEXT)]
        model = GraphModel(config, graphs[0], graphs[1], notes)
    except ImportError:
        raise
    except Exception as error:
        # Several libraries read these files, each with its own errors, for one and the same mistake.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{folder}: cannot be loaded as an exported model: {reason}") from error
    return model, processor


__all__ = ["GraphModel", "load_graphs"]
