"""Closure of facts over both hierarchies."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.facts import ABSENT, PRESENT, UNKNOWN, close_facts, default_hierarchy, example_facts
from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, get_finding, get_region


SHAPE = (len(REGION_NAMES), len(FINDING_NAMES))

cells = st.lists(
    st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1), st.sampled_from((ABSENT, PRESENT))),
    max_size=25,
)


def table(entries):
    facts = np.full(SHAPE, UNKNOWN, dtype=np.int8)
    for region, finding, code in entries:
        facts[region, finding] = code
    return facts


def example(*statements, labels=None):
    values = np.full(len(FINDING_NAMES), np.nan)
    for name, value in (labels or {}).items():
        values[get_finding(name).index] = value
    return {
        "region_findings": [
            {
                "region": statement.region or "",
                "finding": statement.finding,
                "polarity": statement.polarity,
                "severity": statement.severity or "",
                "phrase": render_statement(statement),
            }
            for statement in statements
        ],
        "labels": values,
    }


def fact(facts, finding, region, of="facts"):
    return getattr(facts, of)[get_region(region).index, get_finding(finding).index]


@settings(deadline=None)
@given(cells)
def test_closure_is_idempotent_and_complete(entries):
    said = table(entries)
    closed = close_facts(said)
    again = close_facts(closed.facts)
    assert (again.facts == closed.facts).all() and again.contradictions == 0
    hierarchy = default_hierarchy()
    for region, finding in np.argwhere(closed.facts == PRESENT):
        assert (closed.facts[np.ix_(hierarchy.contains[:, region], hierarchy.implies[finding])] == PRESENT).all()
    for region, finding in np.argwhere(closed.facts == ABSENT):
        assert (closed.facts[np.ix_(hierarchy.contains[region], hierarchy.implies[:, finding])] == ABSENT).all()
    assert (closed.facts[said == PRESENT] == PRESENT).all()
    assert closed.contradictions == int(((said == ABSENT) & (closed.facts == PRESENT)).sum())


@settings(deadline=None)
@given(cells, cells)
def test_closure_is_monotone(some, more):
    less, all_of_it = close_facts(table(some)), close_facts(table(more + some))
    assert (all_of_it.facts[less.facts == PRESENT] == PRESENT).all() or set(map(tuple, more)) & set(map(tuple, some))
    told_present = [entry for entry in more if entry[2] == PRESENT]
    with_present = close_facts(table(some + told_present))
    assert (with_present.facts[(less.facts == PRESENT)] == PRESENT).all()
    told_absent = [entry for entry in more if table(some)[entry[0], entry[1]] == UNKNOWN and entry[2] == ABSENT]
    with_absent = close_facts(table(some + told_absent))
    assert (with_absent.facts[less.facts != UNKNOWN] == less.facts[less.facts != UNKNOWN]).all()


@settings(deadline=None)
@given(cells)
def test_closure_commutes_with_the_mirror(entries):
    mirror = default_hierarchy().mirror
    mirrored = close_facts(table(entries)[mirror])
    expected = close_facts(table(entries)).mirrored()
    for name in ("facts", "severity", "unmentioned"):
        assert (getattr(mirrored, name) == getattr(expected, name)).all()


def test_a_child_in_a_part_makes_its_parent_present_in_the_whole():
    facts = example_facts(example(Statement("consolidation", "present", "left lower lung zone", "severe")))
    assert fact(facts, "lung opacity", "left lung") == PRESENT
    assert fact(facts, "consolidation", "left lung") == PRESENT
    assert fact(facts, "consolidation", "left costophrenic angle") == UNKNOWN
    assert fact(facts, "consolidation", "right lung") == UNKNOWN
    assert fact(facts, "consolidation", "left lower lung zone", "severity") == 2
    assert fact(facts, "consolidation", "left lung", "severity") == UNKNOWN


def test_an_absent_parent_excludes_its_children_in_the_parts():
    facts = example_facts(example(Statement("lung opacity", "absent", "left lung")))
    assert fact(facts, "consolidation", "left costophrenic angle") == ABSENT
    assert fact(facts, "pneumothorax", "left lung") == UNKNOWN


def test_present_wins_and_is_counted():
    claims = (
        Statement("lung opacity", "absent", "left lung"),
        Statement("atelectasis", "present", "left lower lung zone"),
    )
    facts = example_facts(example(*claims))
    assert fact(facts, "lung opacity", "left lung") == PRESENT
    assert fact(facts, "lung opacity", "left upper lung zone") == ABSENT
    assert facts.contradictions == 1
    same = Statement("pneumonia", "absent", "left lung"), Statement("pneumonia", "present", "left lung")
    assert fact(example_facts(example(*same)), "pneumonia", "left lung") == PRESENT
    assert example_facts(example(*same)).contradictions == 1


def test_uncertain_wins_over_absent():
    claims = (
        Statement("lung opacity", "absent", "left lung"),
        Statement("pneumonia", "uncertain", "left lower lung zone"),
    )
    facts = example_facts(example(*claims))
    assert fact(facts, "pneumonia", "left lower lung zone") == UNKNOWN
    assert fact(facts, "lung opacity", "left lung") == UNKNOWN
    assert fact(facts, "pneumonia", "left upper lung zone") == ABSENT


def test_two_severities_make_none():
    claims = (Statement("pneumothorax", "present", "left lung", grade) for grade in ("mild", "severe", "mild"))
    assert fact(example_facts(example(*claims)), "pneumothorax", "left lung", "severity") == UNKNOWN


def test_labels():
    facts = example_facts(example(labels={"pneumothorax": 0, "scoliosis": 1, "consolidation": 1}))
    assert (facts.facts[:, get_finding("pneumothorax").index] == ABSENT).all()
    assert (facts.facts[:, get_finding("hydropneumothorax").index] == ABSENT).all()
    assert fact(facts, "scoliosis", "spine") == PRESENT
    assert (facts.facts[:, get_finding("consolidation").index] == UNKNOWN).all()


def test_a_label_that_every_region_denies_withdraws_the_denials():
    facts = example_facts(example(labels={"consolidation": 1, "lung opacity": 0}))
    for name in ("consolidation", "airspace opacity", "lung opacity"):
        assert (facts.facts[:, get_finding(name).index] == UNKNOWN).all()
    assert fact(facts, "atelectasis", "left lung") == ABSENT
    assert facts.contradictions == 1


def test_what_nothing_hints_at_may_be_taken_for_absent():
    claims = (
        Statement("lung opacity", "present", "left lung"),
        Statement("pneumonia", "uncertain", "right lower lung zone"),
        Statement("pleural effusion", "present"),
    )
    facts = example_facts(example(*claims), unmentioned_is_absent=True)
    assert fact(facts, "pneumothorax", "left lung") == ABSENT
    assert fact(facts, "scoliosis", "spine") == ABSENT
    assert fact(facts, "consolidation", "left lung") == UNKNOWN, "the opacity may be a consolidation"
    assert fact(facts, "lung opacity", "left upper lung zone") == UNKNOWN, "the opacity may be there"
    assert fact(facts, "pneumonia", "right lung") == UNKNOWN
    assert fact(facts, "consolidation", "right upper lung zone") == ABSENT
    assert (facts.facts[:, get_finding("pleural effusion").index] == UNKNOWN).all(), "somewhere is somewhere"
    assert fact(facts, "hydropneumothorax", "left lung") == ABSENT, "there is no pneumothorax"
    hierarchy = default_hierarchy()
    for region, finding in np.argwhere(facts.facts == ABSENT):
        assert (facts.facts[np.ix_(hierarchy.contains[region], hierarchy.implies[:, finding])] == ABSENT).all()
    assert not facts.unmentioned.any()
    open_table = example_facts(example(*claims))
    assert (open_table.facts[open_table.unmentioned] == UNKNOWN).all()
    assert (facts.facts[~open_table.unmentioned] == open_table.facts[~open_table.unmentioned]).all()
