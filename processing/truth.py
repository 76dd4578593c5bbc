"""Whether a text is true of a region, false of the image, or neither is known."""

import torch

from .facts import ABSENT, PRESENT, UNKNOWN, default_hierarchy


FALSE, TRUE, OPEN = 0, 1, -1


def _graded(facts: torch.Tensor, severity: torch.Tensor, grade: torch.Tensor) -> torch.Tensor:
    """Whether "present, of this grade" holds, from facts and severities of the same shape; grade -1 is any."""
    matches = torch.where(severity < 0, OPEN, (severity == grade).to(facts.dtype))
    return torch.where((grade >= 0) & (facts == PRESENT), matches, facts)


def _claimed(present: torch.Tensor, polarity: torch.Tensor) -> torch.Tensor:
    """Whether the claim holds, given whether "present" holds. That something is possible is never known to be true."""
    absent = torch.where(present == OPEN, OPEN, 1 - present)
    possible = torch.where(present == FALSE, FALSE, OPEN).to(present.dtype)
    return torch.where(polarity == PRESENT, present, torch.where(polarity == ABSENT, absent, possible))


def _whole_image(meanings: torch.Tensor, facts: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """Codes (B, R, P) of claims without a region, seen from each region."""
    finding, polarity, _, grade = meanings.unbind(1)
    plausible = torch.from_numpy(default_hierarchy().plausible).to(facts.device)[:, finding]
    fact = facts[:, :, finding]
    here = _graded(fact, severity[:, :, finding], grade)
    ruled_out = ((here == FALSE) | (~plausible & (fact == UNKNOWN))).all(1, keepdim=True)
    # Present elsewhere only: neither true of this region nor false of the image.
    present = torch.where(here == TRUE, TRUE, torch.where(ruled_out, FALSE, OPEN)).to(facts.dtype)
    return _claimed(present, polarity)


def truth_codes(meanings: torch.Tensor, facts: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """As `truth_labels`, as int8 codes: `TRUE`, `FALSE`, or `OPEN` for unknown; `meanings` has to be int64."""
    finding, polarity, region, grade = meanings.unbind(1)
    place = region.clamp(min=0)
    claimed = _claimed(_graded(facts[:, place, finding], severity[:, place, finding], grade), polarity)
    elsewhere = torch.where(claimed == FALSE, FALSE, OPEN).to(facts.dtype)
    codes = elsewhere[:, None, :].repeat(1, facts.shape[1], 1)
    codes.scatter_(1, place[None, None, :].expand(len(facts), 1, -1), claimed[:, None, :])
    whole = (region < 0).nonzero()[:, 0]
    if len(whole):
        codes[:, :, whole] = _whole_image(meanings[whole], facts, severity)
    return codes


def truth_labels(phrase_meanings: torch.Tensor, facts: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """Truth of every text in every region of every image.

    A text about another region than the slot is 0 where it is false of the image and NaN otherwise; so a text never
    counts against an image of which it is true. A text without a region is true of the regions that bear it out.

    Args:
        phrase_meanings: integer (P, 4), finding, polarity, region, severity as in `PhraseBook.meanings`.
        facts: int8 (B, R, F), closed: 1 present, 0 absent, -1 unknown.
        severity: int8 (B, R, F), -1 unknown.

    Returns:
        float32 (B, R, P): 1 true, 0 false, NaN unknown.
    """
    codes = truth_codes(phrase_meanings.long(), facts, severity)
    return codes.float().masked_fill_(codes == OPEN, float("nan"))
