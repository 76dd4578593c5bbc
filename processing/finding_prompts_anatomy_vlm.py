"""Findings asked for by prompts: which texts the model reads, and how its logits become one score per finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .score_calibration_anatomy_vlm import FindingCalibration, ScoreCalibration


@dataclass(frozen=True)
class AnatomyVLMFindingScores:
    """
    Scores of findings in 0 to 1.

    Args:
        names (`tuple[str, ...]`):
            The findings.
        image_scores (`torch.Tensor` of shape `(batch, findings)`):
            Scores in the whole image.
        image_margins (`torch.Tensor` of shape `(batch, findings)`):
            What the scores are made of: unbounded, and told apart where a sigmoid is 0 or 1 already.
        region_scores (`torch.Tensor` of shape `(batch, regions, findings)`, *optional*):
            Scores in each region.
        region_margins (`torch.Tensor` of shape `(batch, regions, findings)`, *optional*):
            Their margins.
    """

    names: tuple[str, ...]
    image_scores: torch.Tensor
    image_margins: torch.Tensor
    region_scores: torch.Tensor | None = None
    region_margins: torch.Tensor | None = None


def check_finding_prompts(prompts: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, list[str]]]:
    """
    The prompts as plain lists. Raises `ValueError` for a finding without a positive prompt or with unknown keys.

    >>> check_finding_prompts({"pneumothorax": {"positive": ["a pneumothorax"]}})
    {'pneumothorax': {'positive': ['a pneumothorax'], 'negative': []}}
    """
    checked = {}
    for name, pair in prompts.items():
        if not isinstance(pair, Mapping) or set(pair) - {"positive", "negative"}:
            raise ValueError(f'`finding_prompts["{name}"]` needs the keys "positive" and "negative"; got {pair!r}')
        sides = {"positive": pair.get("positive") or [], "negative": pair.get("negative") or []}
        for side, texts in sides.items():
            if isinstance(texts, str) or not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError(f'`finding_prompts["{name}"]["{side}"]` needs a list of texts; got {texts!r}')
        if not sides["positive"]:
            raise ValueError(f'`finding_prompts["{name}"]` needs at least one text under "positive"')
        checked[name] = {side: list(texts) for side, texts in sides.items()}
    return checked


def unique_texts(prompts: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    """The texts of all prompts, each once, in order of first use: the order in which the model has to read them."""
    return list(dict.fromkeys(text for pair in prompts.values() for side in pair.values() for text in side))


def score_findings(
    outputs: Any,
    prompts: Mapping[str, Mapping[str, Sequence[str]]],
    region_evidence: bool = False,
    calibration: ScoreCalibration | None = None,
) -> AnatomyVLMFindingScores:
    """
    Turn the logits of prompts into scores of findings. A finding's margin is `mean positive logit - mean negative
    logit`, or the mean positive logit where it has no negative prompts; its score is what the calibration makes of
    the margin, and `sigmoid(margin)` without one.

    Args:
        outputs ([`AnatomyVLMOutput`]):
            Outputs of the model for `unique_texts(prompts)`: `logits_per_image` of shape `(batch, prompts)` and, where
            there, `logits_per_region` of shape `(batch, regions, prompts)`.
        prompts:
            Per finding the texts under `"positive"` and `"negative"`.
        region_evidence (`bool`, *optional*, defaults to `False`):
            Add what the regions say to the image's own score: a film has a finding if one of its regions has it, so
            the smooth maximum (log-sum-exp) over the regions' margins is added to the margin of the image.
        calibration ([`ScoreCalibration`], *optional*):
            Maps from margins to probabilities, fitted with the same `region_evidence`.

    Raises `ValueError` where the outputs are not those of these prompts.
    """
    texts = unique_texts(prompts)
    if outputs.logits_per_image is None or outputs.logits_per_image.shape[-1] != len(texts):
        found = "none" if outputs.logits_per_image is None else outputs.logits_per_image.shape[-1]
        raise ValueError(
            f"the outputs hold logits of {found} prompts, but the processor has {len(texts)}; "
            "run the model on the texts of `processor.prompt_texts()`, in that order"
        )
    weights = _prompt_weights(prompts, texts).to(outputs.logits_per_image.device)
    region_logits = getattr(outputs, "logits_per_region", None)
    image_margins = outputs.logits_per_image.float() @ weights
    region_margins = None if region_logits is None else region_logits.float() @ weights
    if region_evidence and region_margins is not None:
        image_margins = image_margins + region_margins.logsumexp(1)
    names = tuple(prompts)
    image_maps, region_maps = (calibration.image, calibration.region) if calibration else ({}, {})
    return AnatomyVLMFindingScores(
        names=names,
        image_scores=_scores(image_margins, names, image_maps),
        image_margins=image_margins,
        region_scores=None if region_margins is None else _scores(region_margins, names, region_maps),
        region_margins=region_margins,
    )


def _scores(
    margins: torch.Tensor, names: Sequence[str], calibrations: Mapping[str, FindingCalibration]
) -> torch.Tensor:
    """Scores of margins `(..., findings)`."""
    scores = margins.sigmoid()
    for column, name in enumerate(names):
        if name in calibrations:
            values = calibrations[name].score_map(margins[..., column].detach().cpu().numpy())
            scores[..., column] = torch.from_numpy(np.asarray(values)).to(scores)
    return scores


def _prompt_weights(prompts: Mapping[str, Mapping[str, Sequence[str]]], texts: list[str]) -> torch.Tensor:
    """Matrix `(prompts, findings)` that averages the positive logits and subtracts the average of the negative."""
    place = {text: index for index, text in enumerate(texts)}
    weights = torch.zeros(len(texts), len(prompts))
    for column, pair in enumerate(prompts.values()):
        for side, sign in (("positive", 1.0), ("negative", -1.0)):
            for text in pair.get(side, ()):
                weights[place[text], column] += sign / len(pair[side])
    return weights


__all__ = ["AnatomyVLMFindingScores", "check_finding_prompts", "score_findings", "unique_texts"]
