"""Every text of a run: the prompts of its findings, the phrases of its data, and what may be made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from anatomy_vlm.processing.phrase_book import PhraseBook
from anatomy_vlm.processing.prompts import PromptPair, finding_prompts
from anatomy_vlm.processing.statements import Statement, render_attributes
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.training.recipe import RecipeError


@dataclass(frozen=True)
class RunPhrases:
    """
    Args:
        book: Every text with its meaning.
        prompts: Positive and negative prompts per finding, as the processor keeps them.
        prompt_ids: Index in the book of each prompt, ascending.
    """

    book: PhraseBook
    prompts: dict[str, PromptPair]
    prompt_ids: np.ndarray


def prompted_findings(dataset: datasets.Dataset) -> list[str]:
    """The findings that are present in some images of `dataset` and absent from others, in the vocabulary's order."""
    labels = np.asarray(dataset.with_format("numpy")["labels"], dtype=np.float32)
    return [name for index, name in enumerate(FINDING_NAMES) if {0.0, 1.0} <= set(labels[:, index].tolist())]


def collect_phrases(
    dataset: datasets.Dataset,
    num_styles: int = 4,
    findings: Sequence[str] | None = None,
    *,
    ensemble: bool = True,
    attributes: bool = False,
) -> RunPhrases:
    """
    Args:
        dataset: The training examples, in the example schema.
        num_styles: In how many ways a statement is made.
        findings: Findings to prompt for; by default those that the labels of `dataset` tell apart.
        ensemble, attributes: Of the prompts, as in `finding_prompts`.

    Raises:
        RecipeError: if there is no finding to prompt for, or an unknown one, or an option is neither true nor false.
    """
    names = list(findings) if findings is not None else prompted_findings(dataset)
    if not names:
        raise RecipeError("no finding is present in some training images and absent from others: nothing to learn")
    try:
        prompts = finding_prompts(names, ensemble=ensemble, attributes=attributes)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    book = PhraseBook.from_examples(dataset["region_findings"], num_styles=num_styles, ambiguous="render")
    entries = [(text, book.statement(i), bool(book.is_attribute[i])) for i, text in enumerate(book.texts)]
    for name, pair in prompts.items():
        # Its looks are no other way of saying that a finding is there, and not drawn as one.
        looks = render_attributes(Statement(name))
        for polarity, side in (("present", "positive"), ("absent", "negative")):
            entries += [(text, Statement(name, polarity), text == looks) for text in pair[side]]
    book = PhraseBook(entries)
    texts = {text for pair in prompts.values() for side in pair.values() for text in side}
    ids = np.array([index for index, text in enumerate(book.texts) if text in texts], dtype=np.int64)
    return RunPhrases(book, prompts, ids)
