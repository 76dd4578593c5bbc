"""Image/Text processor class for Anatomy-VLM."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import ProcessorMixin

from .finding_prompts_anatomy_vlm import (
    AnatomyVLMFindingScores,
    check_finding_prompts,
    score_findings,
    unique_texts,
)
from .score_calibration_anatomy_vlm import ScoreCalibration


class AnatomyVLMProcessor(ProcessorMixin):
    """
    Image processor and tokenizer of Anatomy-VLM as one, with the names of its regions and findings.

    Args:
        image_processor ([`AnatomyVLMImageProcessor`] or [`AnatomyVLMImageProcessorPil`]):
            Makes `pixel_values`.
        tokenizer ([`PreTrainedTokenizerBase`]):
            The tokenizer of the text tower.
        anatomy_labels (`list[str]`, *optional*):
            Name of each region, in the order of the anatomy queries (`config.id2label`).
        finding_prompts (`dict[str, dict[str, list[str]]]`, *optional*):
            Per finding the texts that state it under `"positive"` and those that deny it under `"negative"`.
        finding_thresholds (`dict[str, float]`, *optional*):
            Per finding the score from which it counts as present, chosen on validation data.
        region_evidence (`bool`, *optional*, defaults to `False`):
            Let the regions add to the score of a finding in the image; `False` asks the image alone, as the paper.
        score_calibration (`dict`, *optional*):
            What the scores mean, as `ScoreCalibration.to_dict` writes it: probabilities, thresholds and conformal
            cuts fitted on validation data. Without it scores are not probabilities.
    """

    text_kwargs = {"padding": True, "truncation": True}

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        anatomy_labels: Sequence[str] | None = None,
        finding_prompts: dict[str, dict[str, list[str]]] | None = None,
        finding_thresholds: dict[str, float] | None = None,
        region_evidence: bool = False,
        score_calibration: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.anatomy_labels = None if anatomy_labels is None else list(anatomy_labels)
        self.finding_prompts = None if finding_prompts is None else check_finding_prompts(finding_prompts)
        unknown = set(finding_thresholds or {}) - set(finding_prompts or {})
        if unknown:
            raise ValueError(f"`finding_thresholds` names findings without prompts: {sorted(unknown)}")
        self.finding_thresholds = None if finding_thresholds is None else dict(finding_thresholds)
        self.region_evidence = region_evidence
        if score_calibration is not None:
            ScoreCalibration.from_dict(score_calibration)
        self.score_calibration = score_calibration
        super().__init__(image_processor, tokenizer, **kwargs)

    def prompt_texts(self) -> list[str]:
        """The texts that the model has to read for `score_findings`, in order. Raises `ValueError` without prompts."""
        return unique_texts(self._prompts())

    def score_findings(self, outputs: Any) -> AnatomyVLMFindingScores:
        """
        Score of every finding in the image and in each region, from outputs of the model for `prompt_texts()`:
        `sigmoid(mean positive logit - mean negative logit)`, or the calibrated probability where there is one.
        """
        return score_findings(outputs, self._prompts(), self.region_evidence, self.calibration)

    @property
    def calibration(self) -> ScoreCalibration | None:
        """`score_calibration` as an object."""
        return None if self.score_calibration is None else ScoreCalibration.from_dict(self.score_calibration)

    def post_process_object_detection(
        self,
        outputs: Any,
        threshold: float = 0.5,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        size: dict[str, int] | int | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Delegates to [`~AnatomyVLMImageProcessor.post_process_object_detection`]."""
        return self.image_processor.post_process_object_detection(outputs, threshold, target_sizes, size)

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        size: dict[str, int] | int | None = None,
        return_segmentation_scores: bool = False,
    ) -> list[Any]:
        """Delegates to [`~AnatomyVLMImageProcessor.post_process_semantic_segmentation`]."""
        return self.image_processor.post_process_semantic_segmentation(
            outputs, target_sizes, size, return_segmentation_scores
        )

    def post_process_multi_label_segmentation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        threshold: float = 0.5,
        size: dict[str, int] | int | None = None,
    ) -> list[torch.Tensor]:
        """Delegates to [`~AnatomyVLMImageProcessor.post_process_multi_label_segmentation`]."""
        return self.image_processor.post_process_multi_label_segmentation(outputs, target_sizes, threshold, size)

    def post_process_anatomy(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        threshold: float = 0.5,
        size: dict[str, int] | int | None = None,
    ) -> list[list[dict[str, Any]]]:
        """
        The regions that the model sees in each image, by name, with their boxes and findings.

        Args:
            outputs ([`AnatomyVLMOutput`]):
                Raw outputs of the model.
            target_sizes (`torch.Tensor` of shape `(batch, 2)` or `list[tuple[int, int]]`, *optional*):
                `(height, width)` of each original image. Without it boxes stay normalised by the canvas.
            threshold (`float`, *optional*, defaults to 0.5):
                Probability of presence that a region must exceed to be named.
            size (`dict` or `int`, *optional*):
                The canvas, where the call that made the inputs gave another than the processor's own.

        Returns:
            `list[list[dict]]`: per image and region `"name"`, `"label"` (index of the region), `"score"` (probability
            of presence), `"box"` (x0, y0, x1, y1 in pixels; left is the image's, so the patient's right lung has the
            smaller x), and `"findings"`, a list of `{"name", "score"}` in the order of the prompts, empty where the
            outputs hold no `logits_per_region` or the processor no prompts.
        """
        names: tuple[str, ...] = ()
        region_scores = None
        if self.finding_prompts and getattr(outputs, "logits_per_region", None) is not None:
            scored = self.score_findings(outputs)
            names, region_scores = scored.names, scored.region_scores
        detections = self.post_process_object_detection(outputs, threshold, target_sizes, size)
        images = []
        for index, detection in enumerate(detections):
            regions = []
            for score, label, box in zip(*(detection[key].tolist() for key in ("scores", "labels", "boxes"))):
                findings = [] if region_scores is None else _named(names, region_scores[index, label])
                regions.append(
                    {"name": self._label(label), "label": label, "score": score, "box": box, "findings": findings}
                )
            images.append(regions)
        return images

    def post_process_findings(self, outputs: Any) -> list[list[dict[str, Any]]]:
        """
        The findings of each image as a whole, from outputs of the model for `prompt_texts()`.

        Returns:
            `list[list[dict]]`: per image and finding `"name"`, `"score"` and `"threshold"`, the score from which it
            counts as present (`None` where the processor knows none).
        """
        thresholds = self.finding_thresholds or {}
        scored = self.score_findings(outputs)
        return [
            [{**finding, "threshold": thresholds.get(finding["name"])} for finding in _named(scored.names, scores)]
            for scores in scored.image_scores
        ]

    def _prompts(self) -> dict[str, dict[str, list[str]]]:
        if not self.finding_prompts:
            raise ValueError("the processor has no `finding_prompts`; set them to score findings")
        return self.finding_prompts

    def _label(self, index: int) -> str:
        if self.anatomy_labels is None:
            return f"LABEL_{index}"
        if index >= len(self.anatomy_labels):
            raise ValueError(
                f"`anatomy_labels` names {len(self.anatomy_labels)} regions, the model found region {index}"
            )
        return self.anatomy_labels[index]


def _named(names: Sequence[str], scores: torch.Tensor) -> list[dict[str, Any]]:
    return [{"name": name, "score": score} for name, score in zip(names, scores.tolist())]


__all__ = ["AnatomyVLMProcessor"]
