"""Statements and their sentences."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.statements import (
    POLARITIES,
    Statement,
    StatementError,
    mirror_statement,
    num_styles,
    render_attributes,
    render_sentence,
    render_statement,
    statement_texts,
)
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, SEVERITIES, VocabularyError, mirror_text


def every_statement():
    for finding, region, polarity in itertools.product(FINDING_NAMES, (None, *REGION_NAMES), POLARITIES):
        for severity in (None,) if polarity == "absent" else (None, *SEVERITIES):
            yield Statement(finding, polarity, region, severity)


def test_no_text_has_two_meanings_and_every_mirror_agrees():
    meaning = {}
    for statement in every_statement():
        texts = statement_texts(statement)
        assert len(texts) >= 2
        mirrored = statement_texts(mirror_statement(statement))
        assert tuple(map(mirror_text, texts)) == mirrored, statement
        if statement.polarity == "present":
            texts += (render_attributes(statement),)
        for text in texts:
            # Many encoders read lower case only.
            assert meaning.setdefault(text.lower().rstrip("."), statement) == statement, text


statements = st.builds(
    lambda finding, polarity, region, severity: Statement(
        finding, polarity, region, None if polarity == "absent" else severity
    ),
    st.sampled_from(FINDING_NAMES),
    st.sampled_from(POLARITIES),
    st.sampled_from((None, *REGION_NAMES)),
    st.sampled_from((None, *SEVERITIES)),
)


@settings(deadline=None)
@given(statements, st.integers(0, 10_000))
def test_sentences(statement, style):
    assert mirror_statement(mirror_statement(statement)) == statement
    assert render_statement(mirror_statement(statement), style) == mirror_text(render_statement(statement, style))
    assert render_statement(statement, style) == render_statement(statement, style + num_styles(statement))
    phrase, sentence = render_statement(statement, 0), render_sentence(statement, style)
    assert not phrase.endswith(".") and sentence.endswith(".")
    assert sentence[0] == sentence[0].upper() and "  " not in sentence and "{" not in sentence and " ." not in sentence


@pytest.mark.parametrize(
    ("statement", "texts"),
    [
        (
            Statement("pleural effusion", "present", "left lung", "moderate"),
            {
                "moderate pleural effusion in the left lung",
                "There is a moderate pleural effusion in the left lung.",
                "There is a moderate left-sided pleural effusion.",
            },
        ),
        (
            Statement("pneumothorax", "absent", "right lung"),
            {"no pneumothorax in the right lung", "No evidence of pneumothorax in the right lung."},
        ),
        (
            Statement("elevated hemidiaphragm", "present", "right hemidiaphragm", "mild"),
            {"mild elevation of the right hemidiaphragm", "The right hemidiaphragm is mildly elevated."},
        ),
        (
            Statement("enlarged cardiac silhouette", "absent"),
            {"no cardiomegaly", "The heart is normal in size."},
        ),
        (
            Statement("endotracheal tube", "present", "trachea"),
            {"There is an endotracheal tube in the trachea."},
        ),
        (Statement("picc", "present", "svc"), {"There is a PICC in the superior vena cava."}),
        (Statement("sternotomy wires", "present"), {"There are sternotomy wires."}),
        (
            Statement("pneumonia", "uncertain", "left lower lung zone"),
            {"Possible pneumonia in the left lower lung zone.", "There may be pneumonia in the left lower lung zone."},
        ),
    ],
)
def test_known_sentences(statement, texts):
    assert texts <= set(statement_texts(statement))


def test_articles_fit():
    for statement in every_statement():
        for text in statement_texts(statement)[:8]:
            words = text.split()
            for article, word in itertools.pairwise(words):
                if article.lower() in ("a", "an"):
                    assert (article.lower() == "an") == (word[0].lower() in "aeiou"), text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("pneumonja",), VocabularyError, "unknown finding 'pneumonja'; did you mean 'pneumonia'"),
        (("pneumonia", "present", "left lungs"), VocabularyError, "unknown region 'left lungs'"),
        (("pneumonia", "present", "descending aorta"), VocabularyError, "not one of the 29 regions"),
        (("pneumonia", "maybe"), StatementError, "polarity 'maybe' of 'pneumonia'"),
        (("pneumonia", "present", None, "huge"), StatementError, "severity 'huge' of 'pneumonia'"),
        (("pneumonia", "absent", None, "mild"), StatementError, "an absent finding has no severity"),
    ],
)
def test_contradictions_are_rejected(arguments, error, message):
    with pytest.raises(error, match=message):
        Statement(*arguments)


def test_only_present_findings_have_attributes():
    with pytest.raises(StatementError, match="only a present finding has visual attributes"):
        render_attributes(Statement("pneumonia", "absent"))
