"""What is known of every finding in every region of one image, closed over both hierarchies."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .statements import Statement
from .vocabulary import (
    FINDINGS,
    REGIONS,
    SEVERITIES,
    containing_regions,
    get_finding,
    get_region,
    more_general_findings,
)


ABSENT, PRESENT, UNKNOWN = 0, 1, -1

Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]


@dataclass(frozen=True)
class Hierarchy:
    """The relations of a vocabulary with R regions and F findings, reflexive and transitive.

    Attributes:
        contains: (R, R) bool, [i, j]: region i contains region j.
        implies: (F, F) bool, [i, j]: who has finding i has finding j.
        plausible: (R, F) bool.
        mirror: (R,) int64, slot of each region in the mirrored image.
    """

    contains: Bools
    implies: Bools
    plausible: Bools
    mirror: NDArray[np.int64]


@cache
def default_hierarchy() -> Hierarchy:
    """The relations of the 29 regions and of all findings of the vocabulary."""
    contains = np.eye(len(REGIONS), dtype=bool)
    for region in REGIONS:
        for name in containing_regions(region.name):
            contains[get_region(name).index, region.index] = True
    implies = np.eye(len(FINDINGS), dtype=bool)
    plausible = np.zeros((len(REGIONS), len(FINDINGS)), dtype=bool)
    for finding in FINDINGS:
        implies[finding.index, [get_finding(name).index for name in more_general_findings(finding.name)]] = True
        plausible[[get_region(name).index for name in finding.regions], finding.index] = True
    mirror = np.array([get_region(region.mirror).index for region in REGIONS])
    return Hierarchy(contains, implies, plausible, mirror)


@dataclass(frozen=True)
class FactTable:
    """What is known of one image.

    Attributes:
        facts: int8 (R, F), 1 present, 0 absent, -1 unknown or uncertain.
        severity: int8 (R, F), 0 mild, 1 moderate, 2 severe, -1 unknown or not present.
        unmentioned: bool (R, F), unknown and nothing that was said hints at it: it could not be the exact place or
            kind of something present or uncertain.
        contradictions: number of explicit absent statements that something present overruled.
    """

    facts: Codes
    severity: Codes
    unmentioned: Bools
    contradictions: int

    def assume_unmentioned_absent(self) -> "FactTable":
        """The table of a reader who takes every unmentioned finding for absent, as the paper does."""
        facts = np.where(self.unmentioned, np.int8(ABSENT), self.facts)
        return FactTable(facts, self.severity, np.zeros_like(self.unmentioned), self.contradictions)

    def mirrored(self, hierarchy: Hierarchy | None = None) -> "FactTable":
        """The table of the mirrored image."""
        slots = (hierarchy or default_hierarchy()).mirror
        return FactTable(self.facts[slots], self.severity[slots], self.unmentioned[slots], self.contradictions)


def _upwards(cells: Bools, hierarchy: Hierarchy) -> Bools:
    """Cells that follow from these: the containing regions, the more general findings."""
    return (hierarchy.contains.astype(np.float32) @ cells @ hierarchy.implies.astype(np.float32)) > 0


def _downwards(cells: Bools, hierarchy: Hierarchy) -> Bools:
    """Cells from which one of these would follow: the contained regions, the more special findings."""
    return (hierarchy.contains.T.astype(np.float32) @ cells @ hierarchy.implies.T.astype(np.float32)) > 0


def _unmentioned(facts: Codes, free: Bools, hierarchy: Hierarchy) -> Bools:
    """Unknown cells that are free to be taken for absent, and those that would then be excluded."""
    return (facts == UNKNOWN) & _downwards((facts == UNKNOWN) & free, hierarchy)


def close_facts(
    facts: Codes, severity: Codes | None = None, uncertain: Bools | None = None, hierarchy: Hierarchy | None = None
) -> FactTable:
    """Everything that follows from what was said.

    A finding that is present implies its parents, in its region and in every region that contains it. An absent
    finding excludes its children there and in every region within. Where these meet, present wins and the overruled
    statement is counted; uncertain wins over absent.

    Args:
        facts: int8 (R, F), what was said: 1, 0 or -1.
        severity: int8 (R, F), -1 where none was given.
        uncertain: bool (R, F), what was said to be possible.
    """
    hierarchy = hierarchy or default_hierarchy()
    severity = np.full_like(facts, UNKNOWN) if severity is None else severity
    uncertain = np.zeros(facts.shape, dtype=bool) if uncertain is None else uncertain
    present = _upwards(facts == PRESENT, hierarchy)
    possible = _upwards(uncertain, hierarchy) & ~present
    absent = _downwards(facts == ABSENT, hierarchy) & ~present & ~possible
    closed = np.full(facts.shape, UNKNOWN, dtype=np.int8)
    closed[present] = PRESENT
    closed[absent] = ABSENT
    # "An opacity in the lower zone" may be a consolidation there, and then there is one in the lung.
    hints = _downwards((facts == PRESENT) | uncertain, hierarchy)
    hinted = (hierarchy.contains.astype(np.float32) @ hints) > 0
    unmentioned = _unmentioned(closed, ~hinted & ~possible, hierarchy)
    return FactTable(
        facts=closed,
        # A region that has a finding only because a part of it has one keeps an open severity: there may be more.
        severity=np.where(facts == PRESENT, severity, UNKNOWN).astype(np.int8),
        unmentioned=unmentioned,
        contradictions=int(((facts == ABSENT) & present).sum()),
    )


def _with_findings_somewhere(table: FactTable, somewhere: list[int], hierarchy: Hierarchy) -> FactTable:
    """The table, given findings that are present in the image without a word on where.

    They and what they imply may be in any region that does not exclude them. Where every plausible region excludes
    one, the exclusions are withdrawn.
    """
    facts, free, contradictions = table.facts.copy(), table.unmentioned.copy(), table.contradictions
    for finding in somewhere:
        column = table.facts[:, finding]
        if (column == PRESENT).any():
            continue
        implied = hierarchy.implies[finding]
        free[:, implied | hierarchy.implies[:, finding]] = False
        if (column[hierarchy.plausible[:, finding]] == ABSENT).all():
            facts[:, implied] = np.where(facts[:, implied] == ABSENT, np.int8(UNKNOWN), facts[:, implied])
            contradictions += 1
    return FactTable(facts, table.severity, _unmentioned(facts, free, hierarchy), contradictions)


def example_facts(example: Mapping[str, Any], *, unmentioned_is_absent: bool = False) -> FactTable:
    """What an example's region findings and labels say of every finding in every region, closed over both hierarchies.

    Of several statements about one finding in one region present wins over uncertain, uncertain over absent, and
    two severities make none. A label of 0, or an absent finding of the whole image, holds for every region; a label
    of 1 is a fact of a region only where the finding has a single plausible region.

    Args:
        example: an example of the schema; only `region_findings` and `labels` are read.
        unmentioned_is_absent: take every finding that nothing hints at for absent, as the paper does for
            Chest ImaGenome. False leaves it unknown.
    """
    hierarchy = default_hierarchy()
    shape = hierarchy.plausible.shape
    said = {polarity: np.zeros(shape, dtype=bool) for polarity in ("present", "absent", "uncertain")}
    severity = np.full(shape, UNKNOWN, dtype=np.int8)
    disputed = np.zeros(shape, dtype=bool)
    labels = np.asarray(example["labels"], dtype=np.float32)
    said["absent"][:, labels == 0] = True
    somewhere = [int(finding) for finding in np.flatnonzero(labels == 1)]
    for entry in example["region_findings"]:
        statement = Statement.from_entry(entry)
        finding = get_finding(statement.finding).index
        if statement.region is not None:
            region = get_region(statement.region).index
            said[statement.polarity][region, finding] = True
            if statement.polarity == "present" and statement.severity:
                grade = SEVERITIES.index(statement.severity)
                disputed[region, finding] |= severity[region, finding] not in (UNKNOWN, grade)
                severity[region, finding] = grade
        elif statement.polarity == "present":
            somewhere.append(finding)
        else:
            said[statement.polarity][:, finding] = True
    severity[disputed] = UNKNOWN
    somewhere = sorted(set(somewhere))
    for finding in somewhere:
        places = hierarchy.plausible[:, finding]
        if places.sum() == 1:
            said["present"][places, finding] = True
    facts = np.where(said["absent"], np.int8(ABSENT), np.int8(UNKNOWN))
    facts[said["present"]] = PRESENT
    table = close_facts(facts, severity, said["uncertain"], hierarchy)
    overruled = int((said["absent"] & said["present"]).sum())
    table = replace(table, contradictions=table.contradictions + overruled)
    table = _with_findings_somewhere(table, somewhere, hierarchy)
    return table.assume_unmentioned_absent() if unmentioned_is_absent else table
