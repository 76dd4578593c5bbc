"""Contrastive labels against an oracle: random patients of whom everything is known, and reports of some of it."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.contrastive_labels import (
    ContrastiveLabelSampler,
    PhraseBook,
    similarity_labels,
    truth_labels,
    unique_text_ids,
)
from anatomy_vlm.processing.contrastive_sampler import PERTURBATIONS
from anatomy_vlm.processing.facts import ABSENT, PRESENT, default_hierarchy, example_facts
from anatomy_vlm.processing.phrase_book import encode_statement
from anatomy_vlm.processing.statements import Statement, mirror_statement, num_styles, render_statement
from anatomy_vlm.processing.vocabulary import (
    FINDING_NAMES,
    REGION_NAMES,
    REGIONS,
    containing_regions,
    get_finding,
    get_region,
    more_general_findings,
)


# Parents and children, one-sided and paired regions, with and without severity.
FINDINGS = (
    "lung opacity",
    "airspace opacity",
    "consolidation",
    "pneumonia",
    "pleural effusion",
    "hydropneumothorax",
    "pneumothorax",
    "enlarged cardiac silhouette",
    "chest tube",
)


@dataclass(frozen=True)
class World:
    """Where the findings of one image are and how severe; None for a severity that nobody knows."""

    cells: dict[tuple[str, str], str | None]

    def present(self, finding, region=None, severity=None):
        """Whether the finding (of that severity, as far as known) is in the region, or anywhere."""
        grade = self.cells.get((region, finding))
        if severity and grade:
            return grade == severity
        for (place, name), grade in self.cells.items():
            if region in (None, place, *containing_regions(place)):
                if not severity and finding in (name, *more_general_findings(name)):
                    return True
                if severity and finding == name and grade in (None, severity):
                    return True
        return False

    def allows(self, statement, region=None):
        """Whether the claim may be true of its region; one without a region of `region`, or of the image."""
        present = self.present(statement.finding, statement.region or region, statement.severity)
        return not present if statement.polarity == "absent" else present


def entry(statement, style=0):
    return {
        "region": statement.region or "",
        "finding": statement.finding,
        "polarity": statement.polarity,
        "severity": statement.severity or "",
        "phrase": render_statement(statement, style % num_styles(statement)),
    }


def example_of(*statements, **labels):
    values = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
    for name, value in labels.items():
        values[get_finding(name).index] = value
    return {"region_findings": [entry(statement, i % 3) for i, statement in enumerate(statements)], "labels": values}


@st.composite
def reports(draw):
    """A world and an example (without an image) that tells some of it, all of it true."""
    cells = {}
    for finding in draw(st.lists(st.sampled_from(FINDINGS), max_size=4)):
        region = draw(st.sampled_from(get_finding(finding).regions))
        cells[region, finding] = draw(st.sampled_from((None, *get_finding(finding).severities)))
    world = World(cells)
    told = []
    for (region, finding), grade in cells.items():
        if draw(st.booleans()):
            told.append(Statement(finding, "present", region, grade if draw(st.booleans()) else None))
    for _ in range(draw(st.integers(0, 12))):
        finding, region = draw(st.sampled_from(FINDINGS)), draw(st.sampled_from(REGION_NAMES))
        place = draw(st.sampled_from((region, region, region, None)))
        known = "present" if world.present(finding, place) else "absent"
        told.append(Statement(finding, draw(st.sampled_from((known, known, known, "uncertain"))), place))
    labels = {name: world.present(name) for name in draw(st.lists(st.sampled_from(FINDINGS), max_size=2))}
    return world, example_of(*told, **labels)


def build_book():
    told = [
        entry(Statement(finding, "present", region)) for finding in FINDINGS for region in get_finding(finding).regions
    ]
    told += [entry(Statement(finding, "present")) for finding in FINDINGS]
    for region in REGION_NAMES:
        told += [entry(Statement(finding, "uncertain", region)) for finding in FINDINGS]
        told += [entry(Statement(finding, "absent", region)) for finding in FINDINGS]
    told += [entry(Statement(finding, "uncertain")) for finding in FINDINGS]
    return PhraseBook.from_examples([told], num_styles=3)


BOOK = build_book()
MEANINGS = torch.from_numpy(BOOK.meanings)
STATEMENTS = [BOOK.statement(index) for index in range(len(BOOK))]


def tensors(*tables):
    return (
        torch.from_numpy(np.stack([table.facts for table in tables])),
        torch.from_numpy(np.stack([table.severity for table in tables])),
    )


def check_labels(world, labels, statements):
    """No text that may be true of the image is a negative of it; a positive holds for its region."""
    for column in np.flatnonzero((labels == 0).any(0)):
        assert not world.allows(statements[column]), statements[column]
    for slot, column in np.argwhere(labels == 1):
        statement = statements[column]
        assert statement.region in (None, REGION_NAMES[slot])
        assert statement.polarity == "uncertain" or world.allows(statement, REGION_NAMES[slot])


@settings(deadline=None, max_examples=40)
@given(reports())
def test_a_true_statement_is_never_false_of_an_image(report):
    world, example = report
    table = example_facts(example)
    assert table.contradictions == 0
    labels = truth_labels(MEANINGS, *tensors(table))[0].numpy()
    check_labels(world, labels, STATEMENTS)
    for told in example["region_findings"]:
        label = labels[get_region(told["region"]).index, BOOK.phrase_id(told)] if told["region"] else 1
        assert label == 1 or (np.isnan(label) and told["polarity"] != "present")
    for finding in FINDINGS:
        # Paraphrases share their labels.
        for ids in (BOOK.ids_of(Statement(finding, polarity, "left lung")) for polarity in ("present", "absent")):
            assert all(np.array_equal(labels[:, ids[0]], labels[:, i], equal_nan=True) for i in ids)


@settings(deadline=None, max_examples=40)
@given(reports(), reports(), st.integers(0, 1000), st.sampled_from(["sampled", "all_true"]), st.integers(1, 2))
def test_no_label_of_a_batch_contradicts_its_images(first, second, index, positives, num_phrases):
    sampler = ContrastiveLabelSampler(BOOK, perturbation_probability=1.0, num_phrases=num_phrases)
    worlds, examples = zip(first, second, strict=True)
    tables = [example_facts(example) for example in examples]
    samples = [sampler(e["region_findings"], t, epoch=0, index=index) for e, t in zip(examples, tables, strict=True)]
    positive, negative = (
        torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
        for name in ("positive_ids", "negative_ids")
    )
    assert positive.shape == negative.shape == (2, 29, num_phrases)
    ids = unique_text_ids(positive, negative)
    labels = similarity_labels(ids, positive, negative, MEANINGS, *tensors(*tables), positives=positives).numpy()
    for world, of_image in zip(worlds, labels, strict=True):
        check_labels(world, of_image, [STATEMENTS[i] for i in ids.tolist()])
    column = {text: i for i, text in enumerate(ids.tolist())}
    for wanted, sampled in ((1, positive), (0, negative)):
        for image, slot, k in (sampled >= 0).nonzero().tolist():
            assert labels[image, slot, column[int(sampled[image, slot, k])]] == wanted
    truth = truth_labels(MEANINGS[ids], *tensors(*tables)).numpy()
    if positives == "all_true":
        assert (labels[truth == 1] == 1).all()
    else:
        sampled = (positive[..., None] == ids).any(2).numpy()
        np.testing.assert_array_equal(labels == 1, sampled)


@settings(deadline=None, max_examples=30)
@given(reports())
def test_labels_follow_the_mirror(report):
    _, example = report
    table = example_facts(example)
    mirrored = [encode_statement(mirror_statement(statement)) for statement in STATEMENTS]
    labels = truth_labels(MEANINGS, *tensors(table))[0]
    flipped = truth_labels(torch.tensor(mirrored), *tensors(table.mirrored()))[0]
    torch.testing.assert_close(flipped, labels[torch.from_numpy(default_hierarchy().mirror)], equal_nan=True)


def test_truth_of_one_image():
    table = example_facts(
        example_of(
            Statement("pleural effusion", "present", "left costophrenic angle", "mild"),
            Statement("consolidation", "present", "right lower lung zone"),
            Statement("pneumothorax", "absent", "right lung"),
            pneumonia=0,
        )
    )

    def label(slot, *arguments):
        meaning = torch.tensor([encode_statement(Statement(*arguments))])
        return truth_labels(meaning, *tensors(table))[0, get_region(slot).index, 0].item()

    corner, lung = "left costophrenic angle", "left lung"
    assert label(corner, "pleural effusion", "present", corner) == 1
    assert label(corner, "pleural effusion", "present", corner, "mild") == 1
    assert label(corner, "pleural effusion", "present", corner, "severe") == 0
    assert label(corner, "pleural effusion", "absent", corner) == 0
    assert label("spine", "pleural effusion", "absent", corner) == 0
    assert np.isnan(label("spine", "pleural effusion", "present", corner)), "true, but of another region"
    assert label(lung, "pleural effusion", "present", lung) == 1
    assert np.isnan(label(lung, "pleural effusion", "present", lung, "severe")), "there may be more elsewhere"
    assert np.isnan(label("right lung", "pleural effusion", "present", "right lung")), "nothing was said"
    assert label("right lower lung zone", "lung opacity", "present", "right lower lung zone") == 1
    assert label("right lower lung zone", "lung opacity", "absent", "right lower lung zone") == 0
    assert label("right apical zone", "pneumothorax", "present", "right apical zone") == 0
    assert label("right lung", "pneumothorax", "absent", "right lung") == 1
    assert label(corner, "pleural effusion") == 1
    assert np.isnan(label("right lung", "pleural effusion"))
    assert label(corner, "pleural effusion", "absent") == 0
    assert label("spine", "pneumonia") == 0
    assert label("spine", "pneumonia", "absent") == 1
    assert label("spine", "pneumonia", "uncertain") == 0
    assert np.isnan(label(corner, "pleural effusion", "uncertain", corner))


REPORT = example_of(
    Statement("pleural effusion", "present", "left lung", "mild"),
    Statement("pleural effusion", "absent", "right lung"),
    Statement("pneumothorax", "absent", "left lung"),
    Statement("consolidation", "present", "right lower lung zone"),
    Statement("pneumonia", "uncertain", "right lower lung zone"),
    Statement("pleural effusion", "absent", "right lower lung zone"),
    Statement("lung opacity", "absent", "left lung"),
)


def draw(index=0, epoch=0, report=REPORT, box_mask=None, **options):
    sampler = ContrastiveLabelSampler(BOOK, **options)
    return sampler(report["region_findings"], example_facts(report), epoch=epoch, index=index, box_mask=box_mask)


def test_samples_are_determined_by_seed_epoch_and_index():
    def texts(sample):
        return sample.positive_ids.tolist(), sample.negative_ids.tolist()

    sampler = pickle.loads(pickle.dumps(ContrastiveLabelSampler(BOOK, perturbation_probability=0.5, seed=3)))
    expected = [texts(draw(i, 2, perturbation_probability=0.5, seed=3)) for i in range(6)]
    table = example_facts(REPORT)
    for index in reversed(range(6)):
        assert texts(sampler(REPORT["region_findings"], table, epoch=2, index=index)) == expected[index]
    assert len({str(found) for found in expected}) > 1
    assert expected != [texts(draw(i, 3, perturbation_probability=0.5, seed=3)) for i in range(6)]
    assert expected != [texts(draw(i, 2, perturbation_probability=0.5, seed=4)) for i in range(6)]


def test_everything_switched_off_leaves_the_phrases():
    for index in range(10):
        sample = draw(index, perturbation_probability=0, attribute_negatives=False, uncertain_positives=False)
        assert (sample.negative_ids == -1).all()
        told = {REGIONS[slot].name: BOOK.texts[i] for slot, (i,) in enumerate(sample.positive_ids) if i >= 0}
        phrases = {(e["region"], e["phrase"]) for e in REPORT["region_findings"] if e["polarity"] != "uncertain"}
        assert set(told.items()) <= phrases
        assert set(told) == {"left lung", "right lung", "right lower lung zone"}


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_each_perturbation_alone(kind):
    found = set()
    for index in range(60):
        sample = draw(index, perturbation_probability=1, perturbations=[kind], attribute_negatives=False)
        for slot in range(29):
            (positive,), (negative,) = sample.positive_ids[slot], sample.negative_ids[slot]
            if kind == "rephrase" and positive >= 0:
                found.add(BOOK.texts[positive])
                assert negative == -1
            elif negative >= 0:
                found.add((STATEMENTS[positive], STATEMENTS[negative]))
    if kind == "rephrase":
        assert found > {e["phrase"] for e in REPORT["region_findings"]} & found
        assert any(":" in text for text in found) and len(found) > 12
        return
    assert found
    for told, false in found:
        changed = [n for n in ("finding", "polarity", "region", "severity") if getattr(told, n) != getattr(false, n)]
        if kind == "negation":
            assert "polarity" in changed and told.region == false.region and told.finding == false.finding
        elif kind == "side":
            assert changed == ["region"] and false.region == get_region(told.region).mirror
        elif kind == "location":
            assert changed == ["region"] and false.region != get_region(told.region).mirror
        elif kind == "severity":
            assert changed == ["severity"]
        else:
            assert "finding" in changed and told.region == false.region and told.polarity == false.polarity


def test_perturbations_happen_as_often_as_asked():
    draws = [
        draw(i, perturbation_probability=0.2, perturbations=["negation"], attribute_negatives=False)
        for i in range(400)
    ]
    left = get_region("left lung").index
    rate = np.mean([sample.negative_ids[left, 0] >= 0 for sample in draws])
    assert 0.12 < rate < 0.28


def test_attribute_negatives_of_regions_without_findings():
    table = example_facts(REPORT)
    assumed = table.assume_unmentioned_absent()
    described = {get_region(e["region"]).index for e in REPORT["region_findings"]}
    seen = {False: set(), True: set()}
    for index in range(40):
        for switch in seen:
            sample = draw(index, perturbation_probability=0, unmentioned_is_absent=switch)
            for slot, (text,) in enumerate(sample.negative_ids):
                if text >= 0:
                    statement = STATEMENTS[text]
                    assert slot not in described
                    assert statement.polarity == "present" and statement.region == REGION_NAMES[slot]
                    known = (assumed if switch else table).facts[slot, get_finding(statement.finding).index]
                    assert known == ABSENT
                    seen[switch].add((slot, text))
    assert {slot for slot, _ in seen[False]} < {slot for slot, _ in seen[True]}
    styles = {bool(BOOK.is_attribute[text]) for _, text in seen[False]}
    assert styles == {True, False}


def test_assumed_negatives_count_only_where_they_were_sampled():
    sample = draw(0, perturbation_probability=0, unmentioned_is_absent=True)
    table = example_facts(REPORT)
    positive, negative = (torch.from_numpy(ids)[None] for ids in (sample.positive_ids, sample.negative_ids))
    ids = unique_text_ids(positive, negative)
    labels = similarity_labels(ids, positive, negative, MEANINGS, *tensors(table))[0]
    slot = get_region("cardiac silhouette").index
    text = int(negative[0, slot, 0])
    assert STATEMENTS[text].finding == "enlarged cardiac silhouette"
    column = labels[:, ids.tolist().index(text)]
    assert column[slot] == 0 and column.isnan().sum() == 28


def test_regions_without_a_box_get_no_text():
    mask = np.ones(29, dtype=bool)
    mask[[get_region("left lung").index, get_region("right apical zone").index]] = False
    for index in range(5):
        sample = draw(index, perturbation_probability=1, unmentioned_is_absent=True, box_mask=mask)
        assert (sample.positive_ids[~mask] == -1).all() and (sample.negative_ids[~mask] == -1).all()
        assert (sample.negative_ids[mask] >= 0).any()


def test_a_sentence_that_the_report_contradicts_is_no_positive():
    report = example_of(
        Statement("pleural effusion", "absent", "left lung"),
        Statement("pleural effusion", "present", "left costophrenic angle"),
    )
    table = example_facts(report)
    assert table.facts[get_region("left lung").index, get_finding("pleural effusion").index] == PRESENT
    sample = draw(0, report=report, perturbation_probability=0)
    assert (sample.positive_ids[get_region("left lung").index] == -1).all()


def test_similarity_labels_reject_ids_of_other_ranks():
    ids = torch.tensor([[[3]]]).expand(1, 29, 1)
    facts = tensors(example_facts(REPORT))
    with pytest.raises(ValueError, match="text_ids lacks ids of the batch"):
        similarity_labels(torch.tensor([1, 2]), ids, ids, MEANINGS, *facts)
    with pytest.raises(ValueError, match="positives='every'"):
        similarity_labels(torch.tensor([3]), ids, ids, MEANINGS, *facts, positives="every")
    none = torch.full((1, 29, 1), -1)
    assert similarity_labels(unique_text_ids(none, none), none, none, MEANINGS, *facts).shape == (1, 29, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perturbation_probability": 1.5}, "perturbation_probability is 1.5"),
        ({"perturbations": ["mirror"]}, "unknown perturbation 'mirror'; there are negation"),
        ({"num_phrases": 0}, "num_phrases is 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveLabelSampler(BOOK, **options)
