"""Left and right in texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.vocabulary import mirror_text


_PIECES = st.sampled_from(
    ["left", "right", "Left", "RIGHT", "LEFT", "lEFT", "-sided", "ward", "wards", "bright", "copyright", "bilateral"]
    + ["atrium", "ventricle", "ventricles", "and", "or", "/", ",", ".", "'", "s", "L", "R", "L1", "L-spine", "R-spine"]
    + ["RUL", "LLL", "Rt", "lt", "levoscoliosis", "dextro", "scoliosis", "levo", "heart", "catheter", "border"]
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(_PIECES, st.sampled_from(["", " ", "-", "  ", "'"]))).map(lambda x: "".join(map("".join, x)))
)
def test_twice_is_the_identity(text):
    assert mirror_text(mirror_text(text)) == text


@settings(deadline=None)
@given(st.text())
def test_twice_is_the_identity_for_any_text(text):
    assert mirror_text(mirror_text(text)) == text


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("left lung", "right lung"),
        ("Left-sided, RIGHT and left", "Right-sided, LEFT and right"),
        ("leftward shift, rightwards", "rightward shift, leftwards"),
        ("the left's outline", "the right's outline"),
        ("LUL and RLL, RML", "RUL and LLL, LML"),
        ("R IJ line, L effusion", "L IJ line, R effusion"),
        ("levoscoliosis", "dextroscoliosis"),
        ("right heart border, left heart catheter", "left heart border, left heart catheter"),
        ("right heart catheter on the left", "right heart catheter on the right"),
    ],
)
def test_sides_are_swapped(text, mirrored):
    assert mirror_text(text) == mirrored
    assert mirror_text(mirrored) == text


@pytest.mark.parametrize(
    "text",
    [
        "bilateral bright copyright outright",
        "the right atrium and the left ventricle",
        "left and right ventricles, Right Atrial enlargement",
        "A right heart catheter. Left-heart catheterization; right and left heart cath",
        "L1 fracture, L-spine",
        "dextrose and levofloxacin",
        "",
    ],
)
def test_what_is_no_side_stays(text):
    assert mirror_text(text) == text
