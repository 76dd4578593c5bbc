"""The one prompt builder of training, zero-shot classification and evaluation."""

from collections.abc import Iterable

from .statements import Statement, render_attributes, statement_texts
from .vocabulary import FINDING_NAMES


PromptPair = dict[str, list[str]]


class PromptOptionError(ValueError):
    """An option of the prompt builder that is neither true nor false."""


def _same_words(text: str) -> str:
    return text.lower().rstrip(".")


def _check_options(**options: bool) -> None:
    for name, value in options.items():
        if not isinstance(value, bool):
            raise PromptOptionError(f"{name} must be true or false, not {value!r}")


def _prompts(finding: str, region: str | None, ensemble: bool, attributes: bool) -> PromptPair:
    pair: PromptPair = {}
    for side, statement in (
        ("positive", Statement(finding, "present", region)),
        ("negative", Statement(finding, "absent", region)),
    ):
        # An encoder that ignores case and the full stop would count such twins twice.
        distinct: dict[str, str] = {}
        for text in statement_texts(statement):
            distinct.setdefault(_same_words(text), text)
        pair[side] = list(distinct.values())[: None if ensemble else 1]
    if attributes:
        pair["positive"].append(render_attributes(Statement(finding, "present", region)))
    return pair


def finding_prompts(
    findings: Iterable[str] | None = None, *, ensemble: bool = True, attributes: bool = False
) -> dict[str, PromptPair]:
    """Positive and negative texts per finding, about the whole image.

    Args:
        findings: names of findings; all of the vocabulary by default.
        ensemble: every way of saying it, to be averaged; else one phrase ("pneumothorax", "no pneumothorax").
        attributes: add a positive text that describes what the finding looks like.

    Returns:
        `{"positive": [...], "negative": [...]}` by name of finding, in the order given.

    Raises:
        VocabularyError: unknown finding.
        PromptOptionError: an option that is neither true nor false.

    Examples:
        >>> finding_prompts(["pneumothorax"], ensemble=False)
        {'pneumothorax': {'positive': ['pneumothorax'], 'negative': ['no pneumothorax']}}
    """
    _check_options(ensemble=ensemble, attributes=attributes)
    names = FINDING_NAMES if findings is None else tuple(findings)
    return {name: _prompts(name, None, ensemble, attributes) for name in names}


def region_prompts(finding: str, region: str, *, ensemble: bool = True, attributes: bool = False) -> PromptPair:
    """Positive and negative texts for one finding in one region.

    Args:
        finding: name of the finding.
        region: name of one of the 29 regions.
        ensemble: as in `finding_prompts`.
        attributes: as in `finding_prompts`.

    Raises:
        VocabularyError: unknown finding or region.
        PromptOptionError: as in `finding_prompts`.

    Examples:
        >>> region_prompts("pleural effusion", "left lung", ensemble=False)
        {'positive': ['pleural effusion in the left lung'], 'negative': ['no pleural effusion in the left lung']}
    """
    _check_options(ensemble=ensemble, attributes=attributes)
    return _prompts(finding, region, ensemble, attributes)
