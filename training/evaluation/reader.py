"""A model and its processor as one function from pictures to numbers, with every text embedded once."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import nn

from anatomy_vlm.processing.letterbox_anatomy_vlm import boxes_to_canvas, fit_letterbox
from anatomy_vlm.training.evaluation.arrays import FloatArray


@dataclass(frozen=True)
class Readings:
    """What a model says about b images, R regions, F findings and T texts.

    Attributes:
        boxes: (b, R, 4), x0 y0 x1 y1 in pixels of each original image.
        presence: (b, R), probability that the region is in the picture.
        image_scores: (b, F) in [0, 1].
        region_scores: (b, R, F) in [0, 1].
        image_margins: (b, F), of the image scores, before calibration.
        region_margins: (b, R, F), likewise.
        text_image_scores: (b, T) in [0, 1], of free texts.
        text_region_scores: (b, R, T) in [0, 1], of free texts.
        text_image_logits: (b, T), of the scores of free texts.
        sizes: (b, 2), height and width of the original images.
    """

    boxes: FloatArray
    presence: FloatArray
    image_scores: FloatArray
    region_scores: FloatArray
    image_margins: FloatArray
    region_margins: FloatArray
    text_image_scores: FloatArray
    text_region_scores: FloatArray
    text_image_logits: FloatArray
    sizes: np.ndarray

    @property
    def relative_boxes(self) -> FloatArray:
        """(b, R, 4), boxes as fractions of the original images."""
        height, width = self.sizes[:, :1, None], self.sizes[:, 1:, None]
        return self.boxes / np.concatenate([width, height, width, height], axis=-1)

    @classmethod
    def concatenate(cls, parts: Sequence["Readings"]) -> "Readings":
        """Join batches."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__})


@dataclass(frozen=True)
class PatchMaps:
    """Maps over the h x w patches of one picture on the model's square input.

    Attributes:
        attention: (k, h, w), from the queries of k regions.
        margins: (k, F, h, w), of the findings in each patch read as the region.
    """

    attention: FloatArray
    margins: FloatArray


class Reader:
    """Reads images with a model; the texts are embedded when it is made, not with every batch.

    Args:
        model: an `AnatomyVLMModel`; it is moved to `device` and put in eval mode.
        processor: its `AnatomyVLMProcessor`, with finding prompts.
        texts: free texts to score besides the findings.
        device: of PyTorch; None takes CUDA where there is one.
        bf16: run the vision tower under bfloat16 autocast; heads and scores stay in float32.

    Raises:
        ValueError: the processor has no finding prompts, or there is no such device.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        texts: Sequence[str] = (),
        device: str | torch.device | None = None,
        bf16: bool = False,
    ) -> None:
        self.device = _available(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.processor = processor
        self.bf16 = bf16
        self._prompt_embeds = self._embed(processor.prompt_texts())
        self._text_embeds = self._embed(list(texts))

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(self.processor.finding_prompts)

    @property
    def regions(self) -> tuple[str, ...]:
        labels = self.model.config.id2label
        return tuple(labels[index] for index in range(len(labels)))

    def with_texts(self, texts: Sequence[str]) -> "Reader":
        """A reader of the same model for other free texts; the prompts of the findings are not embedded again."""
        other = copy.copy(self)
        other._text_embeds = self._embed(list(texts))
        return other

    @property
    def num_texts(self) -> int:
        """Number of free texts."""
        return len(self._text_embeds)

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image], region_boxes: ArrayLike | None = None) -> Readings:
        """Read a batch of pictures of any size.

        Args:
            images: b pictures.
            region_boxes: (b, R, 4), x0 y0 x1 y1 in pixels of each picture: where to look for the regions instead of
                where the model finds them; NaN for its own box. The boxes read stay the model's.

        Raises:
            ValueError: boxes of another shape, or a model that reads none.
        """
        inputs = self.processor.image_processor(images=list(images), return_tensors="pt")
        sizes = [(image.height, image.width) for image in images]
        pixels = inputs["pixel_values"].to(self.device)
        given = {} if region_boxes is None else {"region_boxes": self._on_canvas(region_boxes, sizes, pixels)}
        autocast = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with autocast:
            outputs = self.model(pixel_values=pixels, **given)
        boxes = self.processor.image_processor.boxes_in_image(outputs.pred_boxes, sizes)
        findings = self.processor.score_findings(self._logits(outputs, self._prompt_embeds))
        texts = self._logits(outputs, self._text_embeds)
        return Readings(
            boxes=_numpy(boxes),
            presence=_numpy(outputs.presence_logits.float().sigmoid()),
            image_scores=_numpy(findings.image_scores),
            region_scores=_numpy(findings.region_scores),
            image_margins=_numpy(findings.image_margins),
            region_margins=_numpy(findings.region_margins),
            text_image_scores=_numpy(texts.logits_per_image.sigmoid()),
            text_region_scores=_numpy(texts.logits_per_region.sigmoid()),
            text_image_logits=_numpy(texts.logits_per_image),
            sizes=np.asarray(sizes),
        )

    @torch.inference_mode()
    def embed(self, images: Sequence[Image.Image]) -> FloatArray:
        """Embeddings of the regions of a batch of pictures, (b, R, D), each of length 1."""
        pixels = self.processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return _numpy(self.model(pixel_values=pixels.to(self.device)).region_embeds)

    @torch.inference_mode()
    def patch_maps(self, image: Image.Image, regions: Sequence[int]) -> PatchMaps:
        """Which patches the queries of k regions attend to, and what each patch says when it is read as the region.

        The attention is the last layer's, the mean over its heads. The second is the margin of each finding for the
        region's embedding with the patch in the place of the patches' mean.
        """
        model, slots = self.model, list(regions)
        pixels = self.processor.image_processor(images=[image], return_tensors="pt")["pixel_values"].to(self.device)
        before = model.config.vision_config._attn_implementation
        model.vision_model.set_attn_implementation("eager")  # the others keep no weights
        try:
            outputs = model(pixel_values=pixels, output_attentions=True)
        finally:
            model.vision_model.set_attn_implementation(before)
        vision = outputs.vision_model_output
        tokens, patches, grid = model._split(pixels, vision.last_hidden_state)
        weights = vision.attentions[-1][0].float().mean(0)
        attention = weights[1 : 1 + len(self.regions), -patches.shape[1] :][slots]
        count = patches.shape[1]
        parts = [patches.expand(len(slots), -1, -1), tokens[0, slots, None].expand(-1, count, -1)]
        if model.glimpse is not None:
            reference = model.box_head.reference.sigmoid()
            glimpses = model.glimpse(pixels, outputs.pred_boxes, reference)
            parts.append(glimpses[0, slots, None].expand(-1, count, -1))
        embeds = nn.functional.normalize(model.region_enrichment.projection(torch.cat(parts, dim=-1)), dim=-1)
        per_patch = SimpleNamespace(image_embeds=outputs.image_embeds.expand(len(slots), -1), region_embeds=embeds)
        margins = self.processor.score_findings(self._logits(per_patch, self._prompt_embeds)).region_margins
        return PatchMaps(_numpy(attention).reshape(-1, *grid), _numpy(margins.transpose(1, 2).unflatten(-1, grid)))

    def _on_canvas(self, boxes: ArrayLike, sizes: Sequence[tuple[int, int]], pixels: torch.Tensor) -> torch.Tensor:
        """Boxes in pixels of the pictures as fractions of the model's input."""
        values = np.asarray(boxes, dtype=np.float64)
        if values.shape != (len(sizes), len(self.regions), 4):
            raise ValueError(f"region_boxes have to be ({len(sizes)}, {len(self.regions)}, 4), got {values.shape}")
        canvas = (pixels.shape[-2], pixels.shape[-1])
        keep_aspect = bool(self.processor.image_processor.do_pad)
        placed = [
            boxes_to_canvas(of_image, fit_letterbox(size, canvas, keep_aspect))
            for of_image, size in zip(values, sizes, strict=True)
        ]
        scale = [canvas[1], canvas[0], canvas[1], canvas[0]]
        return torch.as_tensor(np.stack(placed) / scale, dtype=torch.float32, device=pixels.device)

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> torch.Tensor:
        if not texts:
            return torch.zeros(0, self.model.config.projection_dim, device=self.device)
        tokens = self.processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self.device)
        embeds = self.model.get_text_features(**tokens).pooler_output
        return nn.functional.normalize(embeds.float(), dim=-1)

    def _logits(self, outputs: Any, text_embeds: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(
            logits_per_image=self.model.image_logits(outputs.image_embeds.float(), text_embeds),
            logits_per_region=self.model.region_logits(outputs.region_embeds.float(), text_embeds),
        )


def _available(device: str | torch.device) -> torch.device:
    """The device, if something can be put on it."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from None


def _numpy(tensor: torch.Tensor) -> FloatArray:
    return tensor.double().cpu().numpy()
