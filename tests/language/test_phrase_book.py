"""The phrase book."""

import numpy as np
import pytest

from anatomy_vlm.processing.phrase_book import PhraseBook, PhraseBookError, decode_statement, encode_statement
from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import get_finding, get_region


SMALL_LEFT = Statement("pleural effusion", "present", "left lung", "mild")


def entry(statement, phrase=None):
    return {
        "region": statement.region or "",
        "finding": statement.finding,
        "polarity": statement.polarity,
        "severity": statement.severity or "",
        "phrase": phrase or render_statement(statement),
    }


@pytest.mark.parametrize(
    "statement", [SMALL_LEFT, Statement("pneumonia", "uncertain"), Statement("picc", "absent", "svc")]
)
def test_meanings_are_codes_of_statements(statement):
    assert decode_statement(encode_statement(statement)) == statement


def test_codes():
    finding, region = get_finding("pleural effusion").index, get_region("left lung").index
    assert encode_statement(SMALL_LEFT) == (finding, 1, region, 0)
    assert encode_statement(Statement("pleural effusion", "absent")) == (finding, 0, -1, -1)


def test_equal_texts_are_one_entry_and_two_meanings_an_error():
    right = Statement("pleural effusion", "present", "right lung")
    book = PhraseBook([("a", SMALL_LEFT, False), ("b", right, False), ("a", SMALL_LEFT, False)])
    assert book.texts == ("a", "b") and len(book) == 2 and book.meanings.shape == (2, 4)
    with pytest.raises(PhraseBookError, match="the phrase 'a' claims two things"):
        PhraseBook([("a", SMALL_LEFT, False), ("a", right, False)])


def test_book_of_a_data_set_has_what_perturbations_need():
    phrases = [
        [entry(SMALL_LEFT, "Tiny bit of fluid on the left.")],
        [entry(Statement("pneumothorax", "absent", "right lung"))],
    ]
    book = PhraseBook.from_examples(phrases)
    assert book.phrase_id(phrases[0][0]) == book.texts.index("Tiny bit of fluid on the left.")
    for statement in (
        Statement("pleural effusion", "absent", "left lung"),
        Statement("pleural effusion", "present", "right lung", "mild"),
        Statement("pleural effusion", "present", "left costophrenic angle", "severe"),
        Statement("pneumothorax", "present", "left lung"),
    ):
        assert len(book.ids_of(statement)) == 4
        assert render_statement(statement) in book.texts
    for index, text in enumerate(book.texts):
        assert index in book.ids_of(book.statement(index), attributes=bool(book.is_attribute[index])), text
    described = book.ids_of(Statement("pneumothorax", "present", "left lung"), attributes=True)
    assert [book.texts[i].partition(":")[0] for i in described] == ["pneumothorax in the left lung"]
    assert PhraseBook.from_examples(phrases).texts == book.texts
    assert not PhraseBook.from_examples(phrases, attributes=False).is_attribute.any()
    np.testing.assert_array_equal(np.diff(book.meanings.shape), [4 - len(book)])


def test_a_sentence_on_both_lungs():
    text = "No pneumothorax on either side."
    both = [[entry(Statement("pneumothorax", "absent", f"{side} lung"), text) for side in ("left", "right")]]
    with pytest.raises(PhraseBookError, match="ambiguous='render'"):
        PhraseBook.from_examples(both)
    book = PhraseBook.from_examples(both, ambiguous="render")
    assert text not in book.texts
    assert [book.texts[book.phrase_id(e)] for e in both[0]] == [
        "no pneumothorax in the left lung",
        "no pneumothorax in the right lung",
    ]


def test_mirrored_phrases_on_request():
    phrases = [[entry(SMALL_LEFT, "Fluid, left.")]]
    mirrored = entry(Statement("pleural effusion", "present", "right lung", "mild"), "Fluid, right.")
    assert "Fluid, right." not in PhraseBook.from_examples(phrases).texts
    book = PhraseBook.from_examples(phrases, mirrored=True)
    assert book.texts[book.phrase_id(mirrored)] == "Fluid, right."


def test_a_claim_that_the_book_does_not_have():
    book = PhraseBook.from_examples([[entry(SMALL_LEFT)]])
    with pytest.raises(PhraseBookError, match=r"no text for 'picc'.*build it from the same data"):
        book.phrase_id(entry(Statement("picc"), "picc"))
