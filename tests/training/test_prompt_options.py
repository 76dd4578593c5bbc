"""Options of the prompts, from the recipe to the processor of the exported model."""

import datasets
import pytest

from anatomy_vlm.processing import AnatomyVLMProcessor
from anatomy_vlm.processing.prompts import finding_prompts
from anatomy_vlm.processing.statements import Statement, render_attributes
from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.phrases import collect_phrases
from anatomy_vlm.training.recipe import RecipeError, load_recipe
from anatomy_vlm.training.setup import build_setup


NAMES = ["pleural effusion", "pneumothorax"]


@pytest.fixture
def train(saved_dataset):
    return datasets.load_from_disk(saved_dataset)["train"]


@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("attributes", [True, False])
def test_prompts_are_those_of_the_builder(ensemble, attributes, train):
    phrases = collect_phrases(train, ensemble=ensemble, attributes=attributes)
    assert phrases.prompts == finding_prompts(NAMES, ensemble=ensemble, attributes=attributes)
    texts = {text for pair in phrases.prompts.values() for side in pair.values() for text in side}
    assert {phrases.book.texts[index] for index in phrases.prompt_ids} == texts
    assert len(phrases.prompts["pneumothorax"]["negative"]) > 1 or not ensemble


def test_what_a_finding_looks_like_is_no_way_of_saying_it(train):
    book = collect_phrases(train, attributes=True).book
    for name in NAMES:
        claim = Statement(name)
        looks = book.texts.index(render_attributes(claim))
        assert looks not in book.ids_of(claim) and book.ids_of(claim, attributes=True).tolist() == [looks]
        assert book.statement(looks) == claim


def test_the_exported_processor_has_the_prompts_of_the_recipe(train, write_recipe, tmp_path):
    recipe = load_recipe(write_recipe(labels={"ensemble": False, "attributes": True}))
    setup = build_setup(recipe, train, tmp_path / "run")
    export(setup.model, tmp_path / "model", setup.processor)
    prompts = AnatomyVLMProcessor.from_pretrained(tmp_path / "model", local_files_only=True).finding_prompts
    assert prompts == finding_prompts(NAMES, ensemble=False, attributes=True)
    assert len(prompts["pneumothorax"]["positive"]) == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"ensemble": "mean"}, "'ensemble' must be true or false, not 'mean'"),
        ({"attributes": 1}, "'attributes' must be true or false, not 1"),
        ({"findings": ["efusion"]}, "unknown finding 'efusion'"),
        ({"ensembl": True}, "unknown key 'ensembl'; did you mean 'ensemble'"),
    ],
)
def test_a_wrong_option_is_one_line(labels, message, train, write_recipe, tmp_path):
    with pytest.raises(RecipeError, match=f"^recipe small: labels: {message}") as caught:
        build_setup(load_recipe(write_recipe(labels=labels)), train, tmp_path)
    assert "\n" not in str(caught.value)
