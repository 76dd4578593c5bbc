"""From the outputs of Anatomy-VLM to boxes in pixels of the film; shared by both image processors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers.image_processing_outputs import SemanticSegmentationPostProcessorOutput
from transformers.image_processing_utils import get_size_dict

from .letterbox_anatomy_vlm import boxes_to_image, center_to_corners, clip_boxes, fit_letterbox


class AnatomyVLMPostProcessMixin:
    """Needs the `size` and `do_pad` of an image processor: they say where the film lay on the canvas."""

    size: Any
    do_pad: bool | None

    def boxes_in_image(
        self,
        pred_boxes: torch.Tensor,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        size: dict[str, int] | int | None = None,
    ) -> torch.Tensor:
        """
        Map predicted boxes from the letter-boxed canvas to the original images.

        Args:
            pred_boxes (`torch.Tensor` of shape `(batch, regions, 4)`):
                Centre x, centre y, width, height, normalised by the canvas.
            target_sizes (`torch.Tensor` of shape `(batch, 2)` or `list[tuple[int, int]]`, *optional*):
                `(height, width)` of each original image. Without it boxes stay normalised by the canvas.
            size (`dict` or `int`, *optional*):
                The canvas, where the call that made the inputs gave another than the processor's own.

        Returns:
            `torch.Tensor` of shape `(batch, regions, 4)`: x0, y0, x1, y1, in pixels where `target_sizes` are given,
            cut at the edges of the image.

        Raises `ValueError` where there are not as many `target_sizes` as images.
        """
        boxes = center_to_corners(pred_boxes.float())
        if target_sizes is None:
            return boxes.clamp(0, 1)
        if len(target_sizes) != len(boxes):
            raise ValueError(
                f"`target_sizes` needs the (height, width) of each of the {len(boxes)} images; got {len(target_sizes)}"
            )
        canvas = get_size_dict(size) if size is not None else self.size
        height, width = int(canvas["height"]), int(canvas["width"])
        in_image = []
        for image_boxes, (image_height, image_width) in zip(boxes, target_sizes):
            image_size = int(image_height), int(image_width)
            place = fit_letterbox(image_size, (height, width), keep_aspect=bool(self.do_pad))
            pixels = image_boxes * image_boxes.new_tensor([width, height, width, height])
            in_image.append(clip_boxes(boxes_to_image(pixels, place), image_size))
        return torch.stack(in_image) if in_image else boxes

    def post_process_object_detection(
        self,
        outputs: Any,
        threshold: float = 0.5,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        size: dict[str, int] | int | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """
        Convert the raw output of [`AnatomyVLMModel`] to `(x_min, y_min, x_max, y_max)` boxes of regions in the film.

        Args:
            outputs ([`AnatomyVLMOutput`]):
                Raw outputs of the model: `pred_boxes`, and `presence_logits` or `logits`.
            threshold (`float`, *optional*, defaults to 0.5):
                Probability of presence that a region must exceed to be kept.
            target_sizes (`torch.Tensor` of shape `(batch, 2)` or `list[tuple[int, int]]`, *optional*):
                `(height, width)` of each original image. Without it boxes stay normalised by the canvas.
            size (`dict` or `int`, *optional*):
                The canvas, where the call that made the inputs gave another than the processor's own.

        Returns:
            `list[dict]`: per image, `"scores"`, `"labels"` (index of the region) and `"boxes"`.
        """
        boxes = self.boxes_in_image(outputs.pred_boxes, target_sizes, size)
        scores, labels = _presence(outputs)
        return [
            {"scores": score[score > threshold], "labels": label[score > threshold], "boxes": box[score > threshold]}
            for score, label, box in zip(scores, labels, boxes)
        ]

    def post_process_multi_label_segmentation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        threshold: float = 0.5,
        size: dict[str, int] | int | None = None,
    ) -> list[torch.Tensor]:
        """
        Masks of the structures in each film, from outputs of [`AnatomyVLMForSemanticSegmentation`]; they may overlap.

        Args:
            outputs ([`SemanticSegmenterOutput`]):
                Raw outputs of the model: `logits`, of which the first are the background's.
            target_sizes (`torch.Tensor` of shape `(batch, 2)` or `list[tuple[int, int]]`, *optional*):
                `(height, width)` of each original image. Without it masks are those of the canvas.
            threshold (`float`, *optional*, defaults to 0.5):
                Probability above which a pixel belongs to a structure.
            size (`dict` or `int`, *optional*):
                The canvas, where the call that made the inputs gave another than the processor's own.

        Returns:
            `list[torch.Tensor]`: per image `(num_labels - 1, height, width)` bool, the mask of label 1 first.
        """
        level = torch.tensor(threshold, dtype=torch.float64).logit().item()
        return [logits[1:] > level for logits in self._logits_in_image(outputs, target_sizes, size)]

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        size: dict[str, int] | int | None = None,
        return_segmentation_scores: bool = False,
    ) -> list[torch.Tensor] | list[SemanticSegmentationPostProcessorOutput]:
        """
        One label per pixel, from outputs of [`AnatomyVLMForSemanticSegmentation`]: the most probable structure, or 0,
        the background, where none has a probability above 0.5. Where structures overlap one hides the other:
        `post_process_multi_label_segmentation` gives both.

        Args:
            outputs, target_sizes, size: as there.
            return_segmentation_scores: Whether to give the logits beside the labels.

        Returns:
            `list[torch.Tensor]`: per image `(height, width)` of integers; with scores
            `list[SemanticSegmentationPostProcessorOutput]`: `segmentation` as above, and `segmentation_scores`
            `(num_labels, height, width)`.
        """
        maps, scores = [], self._logits_in_image(outputs, target_sizes, size)
        for logits in scores:
            value, label = logits[1:].max(0)
            maps.append(torch.where(value > 0, label + 1, 0))
        if not return_segmentation_scores:
            return maps
        return [
            SemanticSegmentationPostProcessorOutput({"segmentation": labels, "segmentation_scores": logits})
            for labels, logits in zip(maps, scores)
        ]

    def _logits_in_image(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None,
        size: dict[str, int] | int | None,
    ) -> list[torch.Tensor]:
        """The logits of each image without the padding of its canvas, at its own size."""
        logits = outputs.logits.float()
        if target_sizes is None:
            return list(logits)
        if len(target_sizes) != len(logits):
            raise ValueError(
                f"`target_sizes` needs the (height, width) of all {len(logits)} images; got {len(target_sizes)}"
            )
        canvas = get_size_dict(size) if size is not None else self.size
        height, width = int(canvas["height"]), int(canvas["width"])
        if logits.shape[-2:] != (height, width):
            logits = functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        resized = []
        for image_logits, (image_height, image_width) in zip(logits, target_sizes):
            image_size = int(image_height), int(image_width)
            place = fit_letterbox(image_size, (height, width), keep_aspect=bool(self.do_pad))
            inside = image_logits[None, :, place.top : place.top + place.height, place.left : place.left + place.width]
            resized.append(functional.interpolate(inside, size=image_size, mode="bilinear", align_corners=False)[0])
        return resized


def _presence(outputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability and index of the region that each query has found, both of shape `(batch, regions)`."""
    presence_logits = getattr(outputs, "presence_logits", None)
    if presence_logits is None:
        # The last class stands for "no region here".
        scores, labels = outputs.logits.float().softmax(-1)[..., :-1].max(-1)
        return scores, labels
    scores = presence_logits.float().sigmoid()
    return scores, torch.arange(scores.shape[-1], device=scores.device).expand_as(scores)


__all__ = ["AnatomyVLMPostProcessMixin"]
