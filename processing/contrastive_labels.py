"""Labels that say of every region and every text of a batch whether the text is true there.

The paper's "Anatomy-Level Similarity Label Generation" (Anatomy-VLM, arXiv 2511.08402), with one rule on top: a text
is a negative only where it is known to be false of the image. All functions are pure and run on any device, so that
every rank can compute the labels of the whole batch from gathered ids and facts.
"""

from typing import Literal

import torch

from .contrastive_sampler import ContrastiveLabelSampler, ContrastiveSample
from .phrase_book import PhraseBook
from .truth import FALSE, OPEN, TRUE, truth_codes, truth_labels


__all__ = [
    "ContrastiveLabelSampler",
    "ContrastiveSample",
    "PhraseBook",
    "similarity_labels",
    "truth_labels",
    "unique_text_ids",
]


def unique_text_ids(*ids: torch.Tensor) -> torch.Tensor:
    """The distinct text ids (U,) of some id tensors, ascending; -1 is padding."""
    found = torch.cat([tensor.flatten() for tensor in ids]).unique()
    return found[found >= 0]


def _sampled(text_ids: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """bool (B, R, U): which of the texts each region has among its ids (B, R, K)."""
    columns = torch.searchsorted(text_ids, ids.contiguous()).clamp(max=max(len(text_ids) - 1, 0))
    if ((ids >= 0) & (text_ids[columns] != ids)).any() if len(text_ids) else (ids >= 0).any():
        raise ValueError("text_ids lacks ids of the batch; take unique_text_ids of the gathered ids of all ranks")
    # Padding lands in a column of its own.
    found = torch.zeros(*ids.shape[:2], len(text_ids) + 1, dtype=torch.bool, device=ids.device)
    return found.scatter_(2, torch.where(ids >= 0, columns, len(text_ids)), True)[..., :-1]


def similarity_labels(
    text_ids: torch.Tensor,
    positive_ids: torch.Tensor,
    negative_ids: torch.Tensor,
    phrase_meanings: torch.Tensor,
    facts: torch.Tensor,
    severity: torch.Tensor,
    *,
    positives: Literal["sampled", "all_true"] = "sampled",
) -> torch.Tensor:
    """The labels of the anatomy-level contrast over the distinct texts of a batch.

    One column per distinct text synchronises equal texts over the batch and over ranks.

    Args:
        text_ids: int64 (U,), ascending distinct ids, `unique_text_ids` of the ids of all ranks.
        positive_ids: int64 (B, R, K), the sampled true texts of each region, padded with -1.
        negative_ids: int64 (B, R, K), the sampled false texts of each region, padded with -1.
        phrase_meanings: integer (P, 4), of all texts of the phrase book.
        facts: int8 (B, R, F), as for `truth_labels`.
        severity: int8 (B, R, F).
        positives: "sampled", a region's positives are the texts it sampled and other true texts are left out;
            "all_true", every text that is known to be true of the region is a positive.

    Returns:
        float32 (B, R, U): 1 positive, 0 negative, NaN left out.

    Raises:
        ValueError: ids of the batch are missing in `text_ids`, or an unknown `positives`.
    """
    if positives not in ("sampled", "all_true"):
        raise ValueError(f"positives={positives!r}; expected 'sampled' or 'all_true'")
    codes = truth_codes(phrase_meanings[text_ids].long(), facts, severity)
    own, refuted = _sampled(text_ids, positive_ids), _sampled(text_ids, negative_ids)
    positive = own & (codes != FALSE)
    if positives == "all_true":
        positive |= codes == TRUE
    negative = (codes == FALSE) | (refuted & (codes == OPEN) & ~positive)
    labels = torch.full(codes.shape, float("nan"), device=facts.device)
    return labels.masked_fill_(negative, 0.0).masked_fill_(positive, 1.0)
