"""Which texts a region is contrasted with: one true sub-sentence, and now and then one that is made false."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .facts import UNKNOWN, FactTable
from .phrase_book import PhraseBook
from .statements import Statement
from .truth import FALSE, truth_codes
from .vocabulary import FINDINGS, REGIONS, SEVERITIES, get_finding, get_region


PERTURBATIONS: tuple[str, ...] = ("negation", "rephrase", "side", "severity", "location", "finding")

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class ContrastiveSample:
    """The texts of one example.

    Attributes:
        positive_ids: int64 (R, K), true texts of each region as indices of the phrase book, -1 for none.
        negative_ids: int64 (R, K), false texts of each region, -1 for none.
    """

    positive_ids: Ids
    negative_ids: Ids


def perturbed_statements(statement: Statement, kind: str, findings: Sequence[str]) -> list[Statement]:
    """What a perturbation can make of a claim; whether the results are false is for the facts to say.

    Args:
        statement: a claim about a region.
        kind: "negation" (present or absent instead), "side" (the other side), "severity" (another grade), "location"
            (another plausible region), "finding" (another finding plausible in the region).
        findings: names to choose from for "finding".

    Raises:
        ValueError: another kind.
    """
    finding, region = get_finding(statement.finding), get_region(statement.region) if statement.region else None
    if kind == "negation":
        opposite = {"present": "absent", "absent": "present"}.get(statement.polarity)
        return [Statement(finding.name, opposite, statement.region)] if opposite else []  # type: ignore[arg-type]
    if kind == "side":
        return [replace(statement, region=region.mirror)] if region and region.side else []
    if kind == "severity":
        if statement.severity is None or statement.polarity != "present":
            return []
        return [replace(statement, severity=grade) for grade in SEVERITIES if grade != statement.severity]
    if kind == "location":
        taken = {region.name, region.mirror} if region else set(finding.regions)
        return [replace(statement, region=name) for name in finding.regions if name not in taken]
    if kind == "finding":
        others = [get_finding(name) for name in findings if name != finding.name]
        return [
            Statement(
                other.name, statement.polarity, statement.region, statement.severity if other.severities else None
            )
            for other in others
            if statement.region in other.regions
        ]
    raise ValueError(f"unknown perturbation {kind!r}; there are {', '.join(PERTURBATIONS)}")


class ContrastiveLabelSampler:
    """Samples the texts of each region, as the paper describes, but never a false one that might be true.

    1. A region with findings: `num_phrases` of its sub-sentences at random are its positives.
    2. With `perturbation_probability` each of them is perturbed: "rephrase" says it in other words and stays a
       positive; every other perturbation adds a negative, if one of its results is known to be false of the image.
    3. A region without findings: a negative that names a finding it does not have, or describes its visual attributes.

    Texts with visual attributes serve as rephrased positives, too, so that they are no mark of falsehood.

    Args:
        phrase_book: built from the same data (`PhraseBook.from_examples`).
        perturbation_probability: 0.2 in the paper; 0 switches perturbations off.
        perturbations: which ones, a subset of `PERTURBATIONS`; one of the applicable is taken at random.
        attribute_negatives: step 3.
        unmentioned_is_absent: in step 3, a finding that nothing hints at counts as absent, as in the paper. False
            takes only findings that are known to be absent.
        uncertain_positives: whether a sub-sentence such as "possible pneumonia" may be a positive.
        num_phrases: K, sub-sentences per region.
        seed: of all choices.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        phrase_book: PhraseBook,
        *,
        perturbation_probability: float = 0.2,
        perturbations: Iterable[str] = PERTURBATIONS,
        attribute_negatives: bool = True,
        unmentioned_is_absent: bool = False,
        uncertain_positives: bool = True,
        num_phrases: int = 1,
        seed: int = 0,
    ):
        if not 0 <= perturbation_probability <= 1:
            raise ValueError(f"perturbation_probability is {perturbation_probability}; expected 0 to 1")
        if num_phrases < 1:
            raise ValueError(f"num_phrases is {num_phrases}; expected at least 1")
        self.perturbations = tuple(perturbations)
        unknown = sorted(set(self.perturbations) - set(PERTURBATIONS))
        if unknown:
            raise ValueError(f"unknown perturbation {unknown[0]!r}; there are {', '.join(PERTURBATIONS)}")
        self.phrase_book = phrase_book
        self.perturbation_probability = perturbation_probability
        self.attribute_negatives = attribute_negatives
        self.unmentioned_is_absent = unmentioned_is_absent
        self.uncertain_positives = uncertain_positives
        self.num_phrases = num_phrases
        self.seed = seed
        self._meanings = torch.from_numpy(phrase_book.meanings).long()
        self._findings = [FINDINGS[index].name for index in np.unique(phrase_book.meanings[:, 0])]
        self._described = [self._texts_that_describe(region.name) for region in REGIONS]
        self._perturbed: dict[tuple[Statement, str], list[Ids]] = {}

    def _texts_of(self, statement: Statement) -> Ids:
        """Every text that says no more than the claim: of a present finding also how it looks."""
        looks = replace(statement, severity=None)
        return np.concatenate([self.phrase_book.ids_of(statement), self.phrase_book.ids_of(looks, attributes=True)])

    def _texts_that_describe(self, region: str) -> list[Ids]:
        """Texts of each present finding that the region could have and that has a description in the book."""
        claims = [Statement(name, "present", region) for name in self._findings]
        return [self._texts_of(claim) for claim in claims if len(self.phrase_book.ids_of(claim, attributes=True))]

    def _candidates(self, statement: Statement, kind: str) -> list[Ids]:
        """Texts of each claim that a perturbation can lead to."""
        key = statement, kind
        if key not in self._perturbed:
            claims = perturbed_statements(statement, kind, self._findings)
            self._perturbed[key] = [ids for ids in map(self.phrase_book.ids_of, claims) if len(ids)]
        return self._perturbed[key]

    def _codes(self, slots: Ids, ids: Ids, facts: FactTable) -> NDArray[np.int8]:
        """Truth codes (N,) of N texts, each seen from its slot."""
        table = torch.from_numpy(facts.facts)[None], torch.from_numpy(facts.severity)[None]
        return truth_codes(self._meanings[ids], *table)[0].numpy()[slots, np.arange(len(ids))]

    def _perturb(
        self, chosen: list[tuple[int, int]], facts: FactTable, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        """Positive and negative text after the perturbation of each (slot, positive text); -1 for no negative."""
        # The truth of all that any perturbation could say is looked up at once.
        tries = [
            (number, kind, ids)
            for number, (_, text) in enumerate(chosen)
            for kind in self.perturbations
            if kind != "rephrase"
            for ids in self._candidates(self.phrase_book.statement(text), kind)
        ]
        slots = np.array([chosen[number][0] for number, _, _ in tries], dtype=np.int64)
        codes = self._codes(slots, np.array([ids[0] for _, _, ids in tries], dtype=np.int64), facts)
        options: list[dict[str, list[Ids]]] = [{} for _ in chosen]
        for (number, kind, ids), code in zip(tries, codes, strict=True):
            if code == FALSE:
                options[number].setdefault(kind, []).append(ids)
        results = []
        for (_, text), of_text in zip(chosen, options, strict=True):
            same = self._texts_of(self.phrase_book.statement(text))
            if "rephrase" in self.perturbations and len(same) > 1:
                of_text["rephrase"] = [same[same != text]]
            if not of_text:
                results.append((text, -1))
                continue
            kind = sorted(of_text)[rng.integers(len(of_text))]
            ids = of_text[kind][rng.integers(len(of_text[kind]))]
            result = int(ids[rng.integers(len(ids))])
            results.append((result, -1) if kind == "rephrase" else (text, result))
        return results

    def phrases(self, region_findings: Iterable[Mapping[str, str]]) -> tuple[Ids, Ids]:
        """The distinct sub-sentences of an example as arrays (N,): the slot of the region, the text's index."""
        pairs = dict.fromkeys(
            (get_region(entry["region"]).index, self.phrase_book.phrase_id(entry))
            for entry in region_findings
            if entry["region"]
        )
        slots, ids = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
        return slots, ids

    def __call__(
        self,
        region_findings: Iterable[Mapping[str, str]],
        facts: FactTable,
        *,
        epoch: int,
        index: int,
        box_mask: Sequence[bool] | NDArray[Any] | None = None,
    ) -> ContrastiveSample:
        """The texts of one example; the same for the same (seed, epoch, index), in whatever process.

        Args:
            region_findings: of the example.
            facts: of the example (`example_facts`).
            epoch: number of the pass through the data.
            index: of the example in the data set.
            box_mask: bool (R,); a region that the image does not show gets no text.
        """
        return self.sample(*self.phrases(region_findings), facts, epoch=epoch, index=index, box_mask=box_mask)

    def sample(
        self,
        slots: Ids,
        ids: Ids,
        facts: FactTable,
        *,
        epoch: int,
        index: int,
        box_mask: Sequence[bool] | NDArray[Any] | None = None,
    ) -> ContrastiveSample:
        """As a call, from the arrays of `phrases` that were made before."""
        rng = np.random.default_rng([self.seed, epoch, index])
        num_regions = len(facts.facts)
        shown = np.ones(num_regions, dtype=bool) if box_mask is None else np.asarray(box_mask, dtype=bool)
        described = np.zeros(num_regions, dtype=bool)
        described[slots] = True
        # A sentence that the rest of the report contradicts is no positive.
        usable = (self._codes(slots, ids, facts) != FALSE) & shown[slots]
        if not self.uncertain_positives:
            usable &= self.phrase_book.meanings[ids, 1] != UNKNOWN
        # In a random order, stably sorted by slot, the first of each slot are a draw without replacement.
        order = rng.permutation(np.flatnonzero(usable))
        order = order[np.argsort(slots[order], kind="stable")]
        ranks = np.arange(len(order)) - np.searchsorted(slots[order], slots[order])
        taken, ranks = order[ranks < self.num_phrases], ranks[ranks < self.num_phrases]
        positive, negative = np.full((2, num_regions, self.num_phrases), -1, dtype=np.int64)
        positive[slots[taken], ranks] = ids[taken]
        perturbed = rng.random(len(taken)) < self.perturbation_probability
        if perturbed.any():
            places = slots[taken[perturbed]], ranks[perturbed]
            chosen = list(zip(places[0].tolist(), ids[taken[perturbed]].tolist(), strict=True))
            positive[places], negative[places] = np.array(self._perturb(chosen, facts, rng), dtype=np.int64).T
        if self.attribute_negatives:
            table = facts.assume_unmentioned_absent() if self.unmentioned_is_absent else facts
            self._add_attributes(negative, np.flatnonzero(shown & ~described), table, rng)
        return ContrastiveSample(positive, negative)

    def _add_attributes(self, negative: Ids, bare: Ids, facts: FactTable, rng: np.random.Generator) -> None:
        """Give each of the regions `bare`, without findings, a text on something that it does not have."""
        tries = [(slot, ids) for slot in bare.tolist() for ids in self._described[slot]]
        slots = np.array([slot for slot, _ in tries], dtype=np.int64)
        codes = self._codes(slots, np.array([ids[0] for _, ids in tries], dtype=np.int64), facts)
        false: dict[int, list[Ids]] = {}
        for (slot, ids), code in zip(tries, codes, strict=True):
            if code == FALSE:
                false.setdefault(slot, []).append(ids)
        for slot, options in false.items():
            ids = options[rng.integers(len(options))]
            negative[slot, 0] = ids[rng.integers(len(ids))]
