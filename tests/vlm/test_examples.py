"""Questions about films: places and shapes that decode to the mask, sides that stay, every task, the same by seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.mask_text_anatomy_vlm import read_answer, read_prompt
from anatomy_vlm.processing.vocabulary import get_structure
from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.masks.chexanatomy_npz import CodedShape
from anatomy_vlm.training.masks.vlm_augmentation import FilmAugmentation, Placement
from anatomy_vlm.training.masks.vlm_examples import (
    TASKS,
    TURN_QUESTIONS,
    TURNS,
    VIEW_QUESTIONS,
    ExampleMaker,
    ExampleOptions,
    VLMExamples,
)
from anatomy_vlm.training.masks.vlm_films import CaseFolders, MaskFilm, PhantomFilms


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def drawn(maker, film, number=40, seed=0):
    return [maker.make(film, np.random.default_rng((seed, index))) for index in range(number)]


def test_what_is_written_is_read_back_as_the_mask_of_the_asked_structure_on_its_side(cases, coverage_codec):
    film = CaseFolders(cases)[1]
    assert film.view == "PA" and film.absent == ("liver",) and set(film.masks) == {"heart", "left lung", "right lung"}
    plain = Augmentation(zoom=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0, blur=0, erase=0)
    strong = FilmAugmentation(smallest=0.6, rotation=10, look=plain)
    # Each structure has a grey of its own, by which the film itself says where it is.
    greys = {"right lung": 90, "left lung": 130, "heart": 170}
    options = ExampleOptions(tasks={"segment": 1, "several": 1}, augmentation=strong, absent=0)
    seen = set()
    for example in drawn(ExampleMaker(coverage_codec, options), film):
        answers = read_answer(example.answer)
        asked = read_prompt(example.prompt).structures
        assert [answer.name for answer in answers] == list(asked) and not any(answer.problems for answer in answers)
        for answer, name in zip(answers, example.structures, strict=True):
            seen.add(answer.name)
            assert get_structure(answer.name).name == name
            if not example.prompt.startswith("detect"):
                mask = coverage_codec.decode([answer.codes], example.image.shape)[0]
                grey = example.image[mask.numpy()].mean()
                assert min(greys, key=lambda other, grey=grey: abs(greys[other] - grey)) == name
            # The film is symmetric but for the sides, and is never flipped: the patient's left is on the right.
            place = {get_structure(other.name).name: other.codes[1] for other in answers}
            if {"left lung", "right lung"} <= set(place):
                assert place["left lung"] > place["right lung"]
    assert len(seen) > 6, "synonyms are drawn"


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31), st.floats(0.5, 1), st.floats(0, 12), st.sampled_from(["left lung", "right lung", "heart"])
)
def test_a_placed_mask_decodes_to_the_placed_mask(coverage_codec, cases, seed, smallest, rotation, name):
    film, maker = CaseFolders(cases)[1], ExampleMaker(coverage_codec)
    side = len(film.image)
    placement = FilmAugmentation(smallest=smallest, rotation=rotation).sample(np.random.default_rng(seed), side)
    # The same way for a picture of the mask, but finer: four pixels for one.
    fine = Placement(4 * side, 4 * placement.size, 4 * placement.top, 4 * placement.left, placement.angle)
    wanted = fine.place_image(np.kron(film.masks[name], np.ones((4, 4))).astype(np.uint8) * 255) > 127
    codes = maker.codes(film, name, placement)
    assert codes is not None
    found = coverage_codec.decode([codes], wanted.shape)[0].numpy()
    assert dice(found, wanted) > (0.95 if placement.angle == 0 else 0.85)


def test_of_structures_known_as_tokens_only_the_places_change(coverage_codec):
    codes = tuple(range(16))
    film = MaskFilm(np.zeros((100, 100), np.uint8), shapes={"heart": CodedShape((0.2, 0.4, 0.6, 0.8), codes)})
    maker = ExampleMaker(coverage_codec)
    placed = maker.codes(film, "heart", Placement(100, 50, 10, 30))
    assert placed == [round(edge * 1023) for edge in (0.2, 0.5, 0.4, 0.7)] + list(codes)
    options = ExampleOptions(tasks={"segment": 1}, augmentation=FilmAugmentation(rotation=30))
    for example in drawn(ExampleMaker(coverage_codec, options), film, 10):
        assert read_answer(example.answer)[0].codes[4:] == codes


def test_every_task_is_drawn_and_what_is_absent_has_its_answer(cases, coverage_codec):
    film = CaseFolders(cases)[1]
    options = ExampleOptions(tasks=dict.fromkeys(TASKS, 1.0), absent=0.5)
    examples = drawn(ExampleMaker(coverage_codec, options), film, 80)
    by_task = {task: [example for example in examples if example.task == task] for task in TASKS}
    assert all(by_task.values())
    for example in by_task["detect"] + by_task["segment"] + by_task["several"]:
        answers = read_answer(example.answer)
        there = [name for name in example.structures if name != "liver"]
        assert len(answers) == len(there) and (example.answer == "") == (not there)
        assert {len(answer.codes) for answer in answers} <= {4, 20}
    assert any(not example.answer for example in by_task["segment"])
    for example in by_task["caption"]:
        assert len(read_prompt(example.prompt).codes) in (4, 20)
        assert get_structure(example.answer).name == example.structures[0] != "liver"
    assert {example.answer for example in by_task["view"]} == {"posteroanterior"}
    assert {example.prompt for example in by_task["view"]} <= set(VIEW_QUESTIONS)
    assert {example.prompt for example in by_task["turn"]} <= set(TURN_QUESTIONS)


def test_turned_clockwise_puts_the_top_on_the_right(coverage_codec):
    image = np.zeros((32, 32), np.uint8)
    image[:4] = 200
    film = MaskFilm(image)
    maker = ExampleMaker(coverage_codec, ExampleOptions(augmentation=None))
    edges = dict(zip(TURNS, (np.s_[0, :], np.s_[:, -1], np.s_[-1, :], np.s_[:, 0])))
    examples = drawn(maker, film, 30)
    assert {example.answer for example in examples} == set(TURNS), "nothing else can be asked of this film"
    for example in examples:
        assert all((example.image[edges[turn]].min() == 200) == (turn == example.answer) for turn in TURNS)


def test_a_film_an_epoch_by_the_seed(cases, coverage_codec):
    films = CaseFolders(cases)
    one, same = (VLMExamples(films, ExampleMaker(coverage_codec), epochs=6, seed=3) for _ in range(2))
    other = VLMExamples(films, ExampleMaker(coverage_codec), epochs=6, seed=4)
    told = [(example.prompt, example.answer) for example in map(one.__getitem__, range(len(one)))]
    assert len(one) == 6 * len(films) == 12
    # Whoever reads them in whatever order.
    for index in reversed(range(len(same))):
        example = same[index]
        assert (example.prompt, example.answer) == told[index]
        assert np.array_equal(example.image, one[index].image)
    assert told != [(other[index].prompt, other[index].answer) for index in range(12)]
    # Every epoch sees every film: the front alone has lungs, the side alone is lateral.
    views = ExampleMaker(coverage_codec, ExampleOptions(tasks={"view": 1}))
    answers = [example.answer for example in VLMExamples(films, views, 3)]
    assert all(set(answers[start : start + 2]) == {"posteroanterior", "lateral"} for start in (0, 2, 4))


def test_options_that_cannot_be_are_refused(coverage_codec):
    with pytest.raises(ValueError, match="unknown task 'paint'"):
        ExampleOptions(tasks={"paint": 1})
    with pytest.raises(ValueError, match="unknown structure 'left lnug'; did you mean 'left lung'"):
        ExampleMaker(coverage_codec, ExampleOptions(structures=["left lnug"]))
    with pytest.raises(ValueError, match="zoom and shift at 0"):
        FilmAugmentation(look=Augmentation())
    allowed = ExampleMaker(coverage_codec, ExampleOptions(structures=["lungs"], tasks={"segment": 1}))
    film = MaskFilm(np.zeros((32, 32), np.uint8), masks={"heart": np.ones((32, 32), bool)})
    assert allowed.make(film, np.random.default_rng(0)) is None
    with pytest.raises(ValueError, match="nothing can be asked"):
        VLMExamples([film], allowed)[0]


def test_phantoms_tell_masks_views_and_what_is_off_the_film():
    film = PhantomFilms(3, seed=11, image_size=96)[1]
    assert film.image.shape == (96, 96) and film.view in ("PA", "AP")
    assert {"left lung", "heart"} <= set(film.masks) and not set(film.absent) & set(film.masks)
    assert all(mask.sum() >= 24 for mask in film.masks.values()) and film.absent
