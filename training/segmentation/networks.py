"""The networks that a study compares: ours with a frozen, a tuned or an untrained encoder, and a plain U-Net."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils import logging

from anatomy_vlm.modeling import AnatomyVLMForSemanticSegmentation, AnatomyVLMSegmentationConfig
from anatomy_vlm.modeling.segmentation_losses_anatomy_vlm import mask_losses, structure_masks


METHODS = {
    "frozen-linear": "frozen encoder, linear head",
    "frozen-unet": "frozen encoder, U-Net decoder",
    "tuned-unet": "fine-tuned encoder, U-Net decoder",
    "scratch-unet": "ViT from scratch, U-Net decoder",
    "unet": "plain U-Net",
}


class PlainUNet(nn.Module):
    """MONAI's residual U-Net (Kerfoot et al., 2019) with the losses and outputs of our segmentation model."""

    accepts_loss_kwargs = False

    def __init__(self, num_structures: int, num_channels: int = 3):
        super().__init__()
        try:
            from monai.networks.nets import UNet
        except ImportError as error:
            raise ImportError(
                "the plain U-Net needs MONAI: pip install 'anatomy-vlm[segmentation]', or leave out the method 'unet'"
            ) from error
        self.num_structures = num_structures
        self.network = UNet(2, num_channels, num_structures, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> SemanticSegmenterOutput:
        height, width = pixel_values.shape[-2:]
        # Its four halvings need multiples of 16.
        padded = nn.functional.pad(pixel_values, (0, -width % 16, 0, -height % 16))
        logits = self.network(padded)[..., :height, :width]
        loss = None
        if labels is not None:
            losses = mask_losses(logits, structure_masks(labels, self.num_structures))
            loss = losses["dice"] + losses["bce"]
        return SemanticSegmenterOutput(loss=loss, logits=torch.cat((-logits.amax(1, keepdim=True), logits), dim=1))


def label_names(structures: Any) -> dict[int, str]:
    """`id2label` of a segmentation model.

    >>> label_names(["left lung"])
    {0: 'background', 1: 'left lung'}
    """
    return dict(enumerate(("background", *structures)))


class Encoder:
    """A checkpoint whose tower the networks start from, read once: a study must not see it change."""

    def __init__(self, source: str | Path):
        # What is missing from the checkpoint is the decoder, which everybody expects.
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            model = AnatomyVLMForSemanticSegmentation.from_pretrained(source)
        except OSError as error:
            raise ValueError(f"{source}: no model to start from: {' '.join(str(error).split())}") from error
        finally:
            logging.set_verbosity(verbosity)
        self.tower = model.config.to_dict()
        self.weights = {name: tensor.clone() for name, tensor in model.vision_model.state_dict().items()}

    @property
    def side(self) -> int:
        """Pixels of the input's side."""
        return self.tower["image_size"]

    def build(self, method: str, structures: Any, seed: int) -> nn.Module:
        """A network of `METHODS`; what is not from the checkpoint is drawn with the seed."""
        if method not in METHODS:
            raise ValueError(f"unknown method '{method}'; choose from {', '.join(METHODS)}")
        torch.manual_seed(seed)
        names = label_names(structures)
        if method == "unet":
            return PlainUNet(len(names) - 1, self.tower["num_channels"])
        settings = {**self.tower, "id2label": names, "label2id": {name: index for index, name in names.items()}}
        settings["decoder_type"] = "linear" if method.endswith("linear") else "unet"
        settings.pop("model_type", None)
        model = AnatomyVLMForSemanticSegmentation(AnatomyVLMSegmentationConfig(**settings))
        if method != "scratch-unet":
            model.vision_model.load_state_dict(self.weights)
        if method.startswith("frozen"):
            model.freeze_encoder()
        return model
