"""What statements say: polarity cues, places, ellipsis, sides, cues of time; mirror images of reports."""

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.report_reading import read_report
from anatomy_vlm.processing.report_reading.lexicon import frames_table, tokenize
from anatomy_vlm.processing.report_reading.spelling import corrected
from anatomy_vlm.processing.statements import POLARITIES, Statement, statement_texts
from anatomy_vlm.processing.vocabulary import FINDINGS, get_finding, get_region, mirror_text


def said(text):
    """(finding, polarity, region or "") of everything that is read."""
    return {(e["finding"], e["polarity"], e["region"]) for e in read_report(text).to_region_findings()}


def both(finding, polarity, region="lung"):
    return {(finding, polarity, f"{side} {region}") for side in ("left", "right")}


def polarity(text, finding="pleural effusion"):
    return {entry[1] for entry in said(text) if entry[0] == finding}


@pytest.mark.parametrize(
    "cue",
    [
        "No {}",
        "Without {}.",
        "{} is not seen.",
        "No evidence of {}",
        "Negative for {}",
        "{}: none.",
        "{} has resolved.",
        "Resolution of the {}",
        "There is no longer a {}.",
        "Neither {} nor edema is seen.",
        "No new {}.",
        "No large {}.",
        "Absence of {}",
    ],
)
def test_absent(cue):
    assert polarity(cue.format("effusion")) == {"absent"}


@pytest.mark.parametrize(
    "cue",
    [
        "Possible {}",
        "{} cannot be excluded.",
        "May represent {}.",
        "{} versus edema",
        "{} or edema",
        "?{}",
        "Likely {}",
        "Suspected {}.",
        "Findings concerning for {}.",
        "{} is not excluded.",
        "Cannot rule out {}",
        "{} should be considered.",
        "Edema vs. {}",
    ],
)
def test_uncertain(cue):
    assert polarity(cue.format("effusion")) == {"uncertain"}


@pytest.mark.parametrize(
    "cue",
    [
        "{}",
        "No change in the {}.",
        "Not only {} but edema.",
        "Without change in the {}.",
        "{} has not changed.",
        "No increase in {}.",
        "No significant interval change in {}.",
        "No pneumothorax, but {}.",
        "No edema; {}.",
        "Near-complete resolution of the {}",
        "There is {} but no edema.",
    ],
)
def test_present(cue):
    assert polarity(cue.format("effusion")) == {"present"}


@pytest.mark.parametrize(
    "cue",
    [
        "Evaluate for {}.",
        "History of {}.",
        "Rule out {}.",
        "Recommend CT to exclude {}.",
        "Should not be mistaken for {}.",
    ],
)
def test_nothing_is_said_of_the_image(cue):
    assert polarity(cue.format("effusion")) == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Opacity at the left base.", {("lung opacity", "present", "left lower lung zone")}),
        (
            "The right lung is clear. Left is not.",
            {("lung opacity", "absent", "right lung"), ("lung opacity", "present", "left lung")},
        ),
        ("The lungs are clear.", both("lung opacity", "absent")),
        (
            "Small left effusion. None on the right.",
            {("pleural effusion", "present", "left lung"), ("pleural effusion", "absent", "right lung")},
        ),
        ("Bilateral effusions, left greater than right.", both("pleural effusion", "present")),
        (
            "No effusion, consolidation or pneumothorax.",
            {("pleural effusion", "absent", ""), ("consolidation", "absent", ""), ("pneumothorax", "absent", "")},
        ),
        ("Heart size is normal.", {("enlarged cardiac silhouette", "absent", "cardiac silhouette")}),
        (
            "Nodule at the apex of the left lung.",
            {("mass/nodule (not otherwise specified)", "present", "left apical zone")},
        ),
        (
            "Opacities in the left upper and right lower lobes.",
            {
                ("lung opacity", "present", "left upper lung zone"),
                ("lung opacity", "present", "right lower lung zone"),
            },
        ),
        (
            "Opacity in the right lung and left effusion.",
            {("lung opacity", "present", "right lung"), ("pleural effusion", "present", "left lung")},
        ),
        ("Right IJ line ends in the SVC.", {("ij line", "present", "svc")}),
        (
            "ET tube tip 4 cm above the carina.",
            {("endotracheal tube", "present", "trachea"), ("endotracheal tube", "present", "carina")},
        ),
        ("NG tube tip below the diaphragm.", {("enteric tube", "present", "abdomen")}),
        (
            "No pneumothorax. Tiny right apical pneumothorax.",
            {("pneumothorax", "absent", ""), ("pneumothorax", "present", "right apical zone")},
        ),
        ("Fracture of the left clavicle.", {("clavicle fracture", "present", "left clavicle")}),
        ("L1 compression fracture.", {("spinal fracture", "present", "spine")}),
        (
            "The right hemidiaphragm is elevated, but the left is normal.",
            {
                ("elevated hemidiaphragm", "present", "right hemidiaphragm"),
                ("elevated hemidiaphragm", "absent", "left hemidiaphragm"),
            },
        ),
        (
            "Left chest tube with a small apical pneumothorax.",
            {("chest tube", "present", "left lung"), ("pneumothorax", "present", "left apical zone")},
        ),
        ("No apical pneumothorax.", both("pneumothorax", "absent", "apical zone")),
        (
            "Moderate right and small left effusions with overlying atelectasis.",
            both("pleural effusion", "present") | both("atelectasis", "present"),
        ),
        ("NG tube courses below the diaphragm and out of view.", {("enteric tube", "present", "abdomen")}),
    ],
)
def test_places(text, expected):
    assert said(text) == expected


def test_a_sweeping_normal_gives_way_to_what_is_named():
    report = "The lungs are clear. Left lower lobe pneumonia. No acute cardiopulmonary process."
    assert ("lung opacity", "absent", "right lung") in said(report)
    assert ("lung opacity", "absent", "left lung") not in said(report)
    assert ("pneumonia", "absent", "") not in said(report) and ("pneumothorax", "absent", "") in said(report)


def test_cues_of_severity_time_and_comparison():
    first, second = read_report("Small chronic left effusion is unchanged. New moderate right effusion.").statements
    assert (first.severity, first.temporal, first.comparison) == ("mild", "chronic", "no change")
    assert (second.severity, second.temporal, second.comparison) == ("moderate", None, "worsened")
    resolved = read_report("The left pneumothorax has resolved.").statements[0]
    assert (resolved.polarity, resolved.comparison, resolved.severity) == ("absent", "improved", None)


def test_how_much_has_changed_is_not_how_much_there_is():
    first, second = read_report("The large left effusion has slightly decreased. Minimal new edema.").statements
    assert (first.severity, first.comparison) == ("severe", "improved")
    assert (second.severity, second.comparison) == ("mild", "worsened")


@pytest.mark.parametrize(
    ("text", "said_of"),
    [("w/o effusion", "absent"), ("opacity c/w effusion", "present"), ("r/o effusion", None), ("h/o effusion", None)],
)
def test_abbreviations_with_a_slash(text, said_of):
    assert polarity(text) == ({said_of} if said_of else set())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("pnuemothorax", "pneumothorax"),
        ("cardiomegally", "cardiomegaly"),
        ("consolidaton", "consolidation"),
        ("opacitiy", "opacity"),
        ("injection", "injection"),
        ("displayed", "displayed"),
        ("hypoinflation", "hypoinflation"),
        ("effusoin", "effusion"),
        ("tubes", "tubes"),
    ],
)
def test_slips_of_spelling(wrong, right):
    assert corrected(wrong) == right


def test_words_of_the_vocabulary_are_no_slips():
    words = {word for finding in FINDINGS for name in finding.synonyms for word in tokenize(name)}
    assert [word for word in words if corrected(word) != word] == []


def test_region_findings_have_the_schema_and_no_repeats():
    entries = read_report("Bilateral effusions. Bilateral pleural effusions.").to_region_findings()
    assert [entry["region"] for entry in entries] == ["right lung", "left lung"]
    for entry in entries:
        assert set(entry) == {"region", "finding", "polarity", "severity", "phrase"}
        assert Statement.from_entry(entry).finding == "pleural effusion"
        assert entry["phrase"] == "Bilateral effusions."


_SPREAD = frames_table()["default_regions"] | frames_table()["always_regions"]


def all_statements():
    for finding in FINDINGS:
        for region in (None, *finding.regions):
            for polarity in POLARITIES:
                for severity in (None, *(finding.severities if polarity != "absent" else ())):
                    yield Statement(finding.name, polarity, region, severity)


def test_what_the_vocabulary_says_is_read_back():
    """A twentieth of all texts of all statements: finding, polarity, severity and region come back, nothing else."""
    rng = random.Random(0)
    texts = [(s, text) for s in all_statements() for text in statement_texts(s) if rng.random() < 0.05]
    assert len(texts) > 2500
    for statement, text in texts:
        read = read_report(text).to_region_findings()
        claims = {(e["finding"], e["polarity"], e["severity"]) for e in read}
        assert claims == {(statement.finding, statement.polarity, statement.severity or "")}, text
        regions = {e["region"] for e in read}
        usual = set(_SPREAD.get(statement.finding, ()))
        if statement.region:
            assert regions - usual <= {statement.region} <= regions, text
        else:
            # Without a region there is none, or the one that the finding's own name tells.
            assert regions <= {"", *usual, *get_finding(statement.finding).regions}, text


def mirrored(text):
    """What is read, with every side exchanged."""
    return {
        (e["finding"], e["polarity"], e["severity"], get_region(e["region"]).mirror if e["region"] else "")
        for e in read_report(text).to_region_findings()
    }


def read(text):
    return {(e["finding"], e["polarity"], e["severity"], e["region"]) for e in read_report(text).to_region_findings()}


def labelled_texts():
    names = ("labelled_sentences", "held_out_sentences", "unseen_sentences", "report_style_sentences")
    for name in names:
        for item in yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")):
            # These two are on the left by what they are, in words that a mirror leaves alone.
            if not any(word in item["text"].lower() for word in ("lingul", "retrocardiac")):
                yield item["text"]


@pytest.mark.parametrize("text", list(labelled_texts()))
def test_the_mirrored_report_gives_the_mirrored_statements(text):
    assert read(mirror_text(text)) == mirrored(text)


_WORDS = st.sampled_from(" ".join(labelled_texts()).split())


@settings(max_examples=300, deadline=None)
@given(st.lists(_WORDS, max_size=40).map(" ".join))
def test_any_words_mirror(text):
    assert read(mirror_text(text)) == mirrored(text)
