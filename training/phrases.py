"""Every text of a run: the prompts of its findings, the phrases of its data, and what may be made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from anatomy_vlm.processing.phrase_book import PhraseBook
from anatomy_vlm.processing.prompts import PromptPair, finding_prompts
from anatomy_vlm.processing.statements import Statement
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
    dataset: datasets.Dataset, num_styles: int = 4, findings: Sequence[str] | None = None
) -> RunPhrases:
    """
    Args:
        dataset: The training examples, in the example schema.
        num_styles: In how many ways a statement is made.
        findings: Findings to prompt for; by default those that the labels of `dataset` tell apart.

    Raises:
        RecipeError: if there is no finding to prompt for.
    """
    names = list(findings) if findings is not None else prompted_findings(dataset)
    if not names:
        raise RecipeError("no finding is present in some training images and absent from others: nothing to learn")
    prompts = finding_prompts(names)
    book = PhraseBook.from_examples(dataset["region_findings"], num_styles=num_styles, ambiguous="render")
    entries = [(text, book.statement(i), bool(book.is_attribute[i])) for i, text in enumerate(book.texts)]
    for name, pair in prompts.items():
        for polarity, side in (("present", "positive"), ("absent", "negative")):
            entries += [(text, Statement(name, polarity), False) for text in pair[side]]
    book = PhraseBook(entries)
    texts = {text for pair in prompts.values() for side in pair.values() for text in side}
    ids = np.array([index for index, text in enumerate(book.texts) if text in texts], dtype=np.int64)
    return RunPhrases(book, prompts, ids)
