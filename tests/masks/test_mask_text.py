"""The text protocol: round trips, and answers that no well-behaved model would write."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatomy_vlm.processing.mask_text_anatomy_vlm import (
    MaskGrammar,
    MaskTextError,
    match_structures,
    read_answer,
    read_prompt,
    write_answer,
    write_prompt,
)


NAMES = st.sampled_from(["heart", "left lung", "right lung", "rib_left_4", "Schlüsselbein"])
GRAMMARS = st.sampled_from([MaskGrammar(), MaskGrammar(1024, 4096, 20)])


@st.composite
def boxes(draw):
    y0, x0 = draw(st.integers(0, 1022)), draw(st.integers(0, 1022))
    return [y0, x0, draw(st.integers(y0 + 1, 1023)), draw(st.integers(x0 + 1, 1023))]


@given(st.data(), GRAMMARS)
def test_answers_are_read_as_they_were_written(data, grammar):
    shape = st.lists(st.integers(0, grammar.seg_size - 1), min_size=grammar.num_shape_codes, max_size=20)
    codes = st.one_of(
        st.just([]), boxes(), st.tuples(boxes(), shape).map(lambda both: both[0] + both[1][: grammar.num_shape_codes])
    )
    objects = data.draw(st.lists(st.tuples(codes, NAMES), max_size=4))
    text = write_answer(objects, grammar)
    answers = read_answer(text, grammar)
    assert [(list(answer.codes), answer.name) for answer in answers] == [(c, n) for c, n in objects if c]
    assert not any(answer.problems for answer in answers)
    for answer in answers:
        assert text[answer.start : answer.end].strip().endswith(answer.name)


PIECES = st.one_of(
    st.from_regex(r"<(loc|seg)\d{0,7}>", fullmatch=True),
    st.sampled_from(
        [";", " ; ", "<loc", ">", "<seg>", "heart", " ", "<<loc0001>", "\n", "\x00", "<loc-001>", "\uff11"]
    ),
    st.text(max_size=6),
)


@given(st.lists(PIECES, max_size=60).map("".join), GRAMMARS)
def test_whatever_is_written_is_read(text, grammar):
    for answer in read_answer(text, grammar):
        assert answer.codes or answer.problems
        assert len(answer.codes) in (0, 4, 4 + grammar.num_shape_codes)
        assert all(code < grammar.loc_size for code in answer.codes[:4])
        assert all(code < grammar.seg_size for code in answer.codes[4:])
        if answer.codes:
            y0, x0, y1, x1 = answer.codes[:4]
            assert y0 < y1 and x0 < x1
        if not answer.problems:
            assert (
                re.fullmatch(r"\s*(\s*<(loc|seg)\d+>)+.*", text[answer.start : answer.end], re.DOTALL) or answer.name
            )


@pytest.mark.parametrize(
    ("text", "problem", "kept"),
    [
        ("<loc0001><loc0002><loc0003> heart", "3 places instead of 4", 0),
        ("<loc0001><loc0002><loc0003><loc1024> heart", "place 1024 is out of range", 0),
        ("<loc0300><loc0002><loc0003><loc0100> heart", "an empty box", 0),
        ("<loc0001><loc0002><loc0003><loc0004>", "no name", 4),
        ("<loc0001><loc0002><loc0003><loc0004><seg001> heart", "1 shape tokens instead of 16", 4),
        ("<loc0001><loc0002><loc0003><loc0004>" + "<seg128>" * 16 + " heart", "shape token 128 is out of range", 4),
        ("heart", "0 places instead of 4", 0),
    ],
)
def test_problems_are_named_and_what_can_be_used_is_kept(text, problem, kept):
    (answer,) = read_answer(text)
    assert problem in answer.problems
    assert len(answer.codes) == kept


def test_prompts():
    assert read_prompt(write_prompt("segment", ["heart", "left  lung"])).structures == ("heart", "left lung")
    assert read_prompt("DETECT heart").task == "detect"
    assert read_prompt("caption <loc0001><loc0002><loc0003><loc0004>").codes == (1, 2, 3, 4)
    for text, message in (
        ("paint heart", "unknown task 'paint'"),
        ("segment ", "names of structures"),
        ("segment heart ; ", "names of structures"),
        ("caption heart", "tokens of one box"),
    ):
        with pytest.raises(MaskTextError, match=message):
            read_prompt(text)


def test_sides_are_kept_and_the_first_answer_counts():
    names = {"left lung": "lung_left", "right lung": "lung_right"}
    text = write_answer([([1, 2, 3, 4], "right lung"), ([5, 6, 7, 8], "Left Lung"), ([9, 9, 10, 10], "left lung")])
    found = match_structures(read_answer(text), names)
    assert found["lung_right"].codes == (1, 2, 3, 4)
    assert found["lung_left"].codes == (5, 6, 7, 8)
