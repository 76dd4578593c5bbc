"""Names of structures: complete for what makes masks, each of one structure alone, and never of the other side."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.vocabulary import (
    STRUCTURE_NAMES,
    STRUCTURES,
    VocabularyError,
    find_structures,
    get_structure,
    mirror_text,
    structure_keys,
)


def test_every_structure_of_phantoms_and_of_chexanatomys_layout_has_a_name():
    from anatomy_vlm.synthesis.ct.names import structure_parts
    from anatomy_vlm.synthesis.phantom.masks import structure_masks
    from anatomy_vlm.synthesis.phantom.patient import draw_study, sample_parameters

    drawn = structure_masks(draw_study(sample_parameters(3, image_size=96)))
    assert len(drawn) > 40 and set(drawn) <= set(STRUCTURE_NAMES)
    assert set(structure_parts("chexanatomy")) <= set(STRUCTURE_NAMES)
    assert len(set(STRUCTURE_NAMES)) == len(STRUCTURE_NAMES)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.name)
def test_sides(structure):
    """A structure's names say its side, no other, and mirrored are those of the structure on the other side."""
    for phrase in structure.phrases:
        words = re.findall("[a-z]+", phrase.lower())
        assert get_structure(phrase) is structure and not set(phrase) & set(",;<>")
        if structure.side:
            other = {"left": "right", "right": "left"}[structure.side]
            assert structure.side in words and other not in words
        if structure.side and structure.mirror:
            assert get_structure(mirror_text(phrase)).name == structure.mirror
            assert get_structure(structure.mirror).mirror == structure.name
    assert structure.mirror in (structure.name, None) or structure.side


def test_heart_is_not_the_cardiac_silhouette_and_the_whole_lung_not_what_a_reader_outlines():
    assert [get_structure(name).name for name in ("heart", "cardiac shadow", "heart shadow")] == [
        "heart",
        "cardiac silhouette",
        "cardiac silhouette",
    ]
    assert get_structure("left lung").name == "left lung" and get_structure("LUNG_LEFT").name == "lung_left"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STRUCTURES), st.data())
def test_spellings_do_not_count(structure, data):
    phrase = data.draw(st.sampled_from((structure.name, *structure.phrases)))
    gaps = st.sampled_from([" ", "_", "-", "  ", " \t"])
    spelled = "".join(data.draw(gaps) if letter in " _" else letter for letter in phrase)
    cased = data.draw(st.sampled_from([str.upper, str.lower, str.title]))(spelled)
    assert get_structure(f" {cased} ") is structure


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([s for s in STRUCTURES if s.side]), st.randoms(use_true_random=False))
def test_a_misspelled_name_is_never_taken_for_one_of_the_other_side(structure, random):
    side, other = structure.side, {"left": "right", "right": "left"}[structure.side]
    place = random.randrange(len(structure.phrase))
    wrong = structure.phrase[:place] + "q" + structure.phrase[place + 1 :]
    if side not in re.findall("[a-z]+", wrong):
        return
    with pytest.raises(VocabularyError) as caught:
        get_structure(wrong)
    assert other not in re.findall("[a-z]+", str(caught.value).partition(";")[2])


def test_errors_name_the_nearest_ones_that_can_be_had():
    with pytest.raises(VocabularyError, match="unknown structure 'left lng'; did you mean 'left lung'"):
        get_structure("left lng")
    with pytest.raises(VocabularyError, match="'clavicula_right' or 'clavicula_left'"):
        get_structure("clavicle")
    with pytest.raises(VocabularyError, match="'vertebrae_T4' or 'vertebral_body_T4'"):
        get_structure("T4")
    with pytest.raises(VocabularyError, match=r"'liver' .* is not among .*; there are heart, left lung$"):
        get_structure("liver", ("heart", "left lung"))
    with pytest.raises(VocabularyError, match="no structures were named"):
        find_structures(" , ")


def test_lists_and_groups_keep_to_what_can_be_had():
    among = ("left lung", "right lung", "heart", "rib_left_3", "rib_right_3", "my nodule")
    names = [structure.name for structure in find_structures("heart; left ribs, lungs,heart, My Nodule", among)]
    assert names == ["heart", "rib_left_3", "right lung", "left lung", "my nodule"]
    assert len(find_structures("ribs")) == 24 and len(find_structures(["left ribs"])) == 12


def test_answers_are_read_back_by_their_names():
    keys = structure_keys()
    assert all(keys[phrase.lower()] == s.name for s in STRUCTURES for phrase in s.phrases)
    assert "liver" not in structure_keys(("heart",)) and structure_keys(("my nodule",))["my nodule"] == "my nodule"
