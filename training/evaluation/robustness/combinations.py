"""Region x finding combinations that training never stated: does a model put two known things together?"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from anatomy_vlm.training.evaluation.arrays import BoolArray
from anatomy_vlm.training.evaluation.targets import Targets


@dataclass(frozen=True)
class Combination:
    """A finding in a region, by name."""

    region: str
    finding: str


def stated_combinations(targets: Targets, num_regions: int, num_findings: int) -> BoolArray:
    """(R, F) bool: whether any image of a split states the finding to be present in the region."""
    stated = np.zeros((num_regions, num_findings), dtype=bool)
    present = targets.pair_labels == 1
    stated[targets.pair_region[present], targets.pair_finding[present]] = True
    return stated


def held_out(
    names: Iterable[Combination], regions: tuple[str, ...], findings: tuple[str, ...], seen: BoolArray | None = None
) -> BoolArray:
    """(R, F) bool: combinations that training has not seen, those named and those not in `seen`.

    Raises:
        ValueError: a region or finding that the model does not know.
    """
    unseen = np.zeros((len(regions), len(findings)), dtype=bool) if seen is None else ~seen
    for combination in names:
        for kind, name, known in (("region", combination.region, regions), ("finding", combination.finding, findings)):
            if name not in known:
                raise ValueError(f"held-out {kind} {name!r} is unknown; known are: {', '.join(known)}")
        unseen[regions.index(combination.region), findings.index(combination.finding)] = True
    return unseen
