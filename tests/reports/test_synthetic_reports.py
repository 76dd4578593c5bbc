"""Reports of synthetic chests, whose truth is known."""

import time
from itertools import pairwise

import numpy as np
import pytest

from anatomy_vlm.processing.report_reading import read_report
from anatomy_vlm.processing.schema import example_facts
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, get_finding
from anatomy_vlm.synthesis import generate_patient
from anatomy_vlm.synthesis.phantom import report as report_writer


NUM_REPORTS = 120


@pytest.fixture(scope="module")
def corpus():
    """Examples with the statements that their reports were written from."""
    with pytest.MonkeyPatch.context() as patch:
        said, write = [], report_writer.say
        patch.setattr(report_writer, "say", lambda rng, statement: (said.append(statement), write(rng, statement))[1])
        examples = []
        for seed in range(NUM_REPORTS):
            said.clear()
            example = generate_patient(seed, image_size=64)[0]
            examples.append((example, list(said)))
    return examples


def is_true(entry, example, table):
    """Whether a statement follows from the example's region findings and labels; unknown is not true."""
    finding = FINDING_NAMES.index(entry["finding"])
    stated = {
        (e["region"], e["polarity"], e["severity"])
        for e in example["region_findings"]
        if e["finding"] == entry["finding"]
    }
    if entry["region"]:
        places = [REGION_NAMES.index(entry["region"])]
    else:
        places = [REGION_NAMES.index(name) for name in get_finding(entry["finding"]).regions]
    facts, label = table.facts[places, finding], example["labels"][finding]
    if entry["polarity"] == "present":
        graded = not entry["severity"] or any(
            (p, s) == ("present", entry["severity"]) and entry["region"] in ("", region) for region, p, s in stated
        )
        return bool((facts == 1).any()) and graded
    if entry["polarity"] == "absent":
        return bool((facts == 0).all()) or (not entry["region"] and label == 0)
    return (entry["region"], "uncertain", entry["severity"]) in stated


def test_everything_read_is_true_and_everything_said_is_read(corpus):
    true, recovered = [], []
    for example, said in corpus:
        entries = read_report(example["report"]).to_region_findings()
        table = example_facts(example)
        true += [is_true(entry, example, table) for entry in entries]
        read = {(e["finding"], e["polarity"], e["severity"], e["region"]) for e in entries}
        for statement in said:
            claim = (statement.finding, statement.polarity, statement.severity or "")
            # A statement without a region may be read with the region that its words name ("no mediastinal widening").
            regions = (statement.region,) if statement.region else ("", *get_finding(statement.finding).regions)
            recovered.append(any((*claim, region) in read for region in regions))
    assert len(true) > 5 * NUM_REPORTS and len(recovered) > 5 * NUM_REPORTS
    assert np.mean(true) >= 0.99
    assert np.mean(recovered) >= 0.99


def test_the_truth_of_another_patient_does_not_fit(corpus):
    """The measure itself can fail."""
    true = []
    for (example, _), (other, _) in pairwise(corpus):
        table = example_facts(other)
        true += [is_true(e, other, table) for e in read_report(example["report"]).to_region_findings()]
    assert np.mean(true) < 0.9


def test_speed(corpus):
    """Half of the target of 1,000 reports per second, as the machine of a test may be busy."""
    texts = [example["report"] for example, _ in corpus]
    read_report(texts[0])
    start = time.process_time()
    for text in texts:
        read_report(text)
    assert len(texts) / (time.process_time() - start) > 500
