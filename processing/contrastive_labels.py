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


def _columns(text_ids: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Column of each id in `text_ids`; padding gets the column behind the last."""
    columns = torch.searchsorted(text_ids, ids.contiguous())
    known = torch.isin(ids, text_ids)
    if ((ids >= 0) & ~known).any():
        raise ValueError("text_ids lacks ids of the batch; take unique_text_ids of the gathered ids of all ranks")
    return torch.where(known, columns, len(text_ids))


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
    last = len(text_ids)
    # One more column takes what is not to be written.
    padded = torch.full((*codes.shape[:2], last + 1), float("nan"), device=facts.device)
    labels = padded[..., :last]
    labels.masked_fill_(codes == FALSE, 0.0)
    if positives == "all_true":
        labels.masked_fill_(codes == TRUE, 1.0)
    for ids, label in ((negative_ids, 0.0), (positive_ids, 1.0)):
        columns = _columns(text_ids, ids)
        if last:
            there = codes.gather(2, columns.clamp(max=last - 1))
            fits = there == OPEN if label == 0 else there != FALSE
            padded.scatter_(2, torch.where(fits, columns, last), label)
    return labels
