"""Model cards: the header that the Hub reads, and what the text says and does not say."""

import math
import re

import pytest
from huggingface_hub import ModelCard

from anatomy_vlm.hub_cards import model_card
from anatomy_vlm.training.evaluation import EvaluationResult
from anatomy_vlm.training.evaluation.result import Score
from anatomy_vlm.training.evaluation.thresholds import Threshold
from anatomy_vlm.training.recipe import load_recipe


@pytest.fixture
def recipe() -> dict:
    return load_recipe("phantom-tiny").to_dict()


@pytest.fixture
def result() -> dict:
    scores = (
        Score("region boxes", "mean_iou", "mean", 0.8125, 0.79, 0.83, 0.61, 2900, 0),
        Score("image findings", "roc_auc", "macro", 0.9, math.nan, math.nan, 0.5),
        Score("image findings", "roc_auc", "pneumothorax", 0.91, 0.85, 0.96, 0.5, 30, 70),
        Score("region findings", "roc_auc", "pooled", math.nan),
    )
    thresholds = {"pneumothorax": Threshold(0.25, "validation")}
    return EvaluationResult(100, 90, scores, thresholds, {}, {}).to_dict()


def test_the_header_is_what_the_hub_reads(recipe, result):
    data = ModelCard(model_card(recipe, result)).data
    assert (data.license, data.library_name) == ("apache-2.0", "transformers")
    assert data.pipeline_tag == "zero-shot-image-classification"
    assert {"chest-x-ray", "synthetic-data"} <= set(data.tags)
    found = {score.metric_type: score for score in data.eval_results}
    assert set(found) == {"mean_iou", "roc_auc"}, "a score without a value is no result"
    assert found["mean_iou"].metric_value == 0.8125 and found["mean_iou"].task_type == "object-detection"
    assert found["mean_iou"].metric_args == {"interval_low": 0.79, "interval_high": 0.83}
    assert found["roc_auc"].metric_value == 0.9 and found["roc_auc"].metric_args is None
    assert {score.dataset_name for score in data.eval_results} == {"synthetic phantom"}
    assert {score.dataset_split for score in data.eval_results} == {"test"}


def test_the_tables_hold_values_intervals_and_baselines(recipe, result):
    card = model_card(recipe, result, sizes={"train": "70 films of 60 patients"}, versions={"torch": "2.13.0"})
    assert "| Box IoU, mean over regions | 0.812 | 0.790 to 0.830 | 0.610 |" in card
    assert "| AUC of findings in the film, macro | 0.900 | - | 0.500 |" in card
    assert "| pneumothorax | 0.910 | 0.850 to 0.960 | 0.250 | validation | 30 / 70 |" in card
    assert "| train | 70 films of 60 patients |" in card and "torch 2.13.0" in card
    assert "| fine | anatomy, global, fine |" in card


def test_every_table_is_a_table(recipe, result):
    card = model_card(recipe, result, sizes={"train": "1", "test": "2"})
    tables = re.findall(r"(?:^\|.*\|$\n?)+", card, flags=re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        rows = table.strip().splitlines()
        assert set(rows[1]) <= set("|-") and len(rows) >= 3
        assert {row.count("|") for row in rows} == {rows[0].count("|")}


def test_no_evaluation_is_said_and_no_number_shown(recipe):
    card = model_card(recipe)
    assert "Not evaluated." in card and ModelCard(card).data.eval_results is None
    assert "AUC" not in card


def test_synthetic_data_is_said_everywhere_it_matters(recipe, result):
    synthetic = model_card(recipe, result)
    assert synthetic.count("Trained on synthetic films only") == 1 and "say nothing about patients" in synthetic
    recipe |= {"description": "", "data": {**recipe["data"], "loader": "folder", "arguments": {"path": "films"}}}
    real = model_card(recipe, result)
    assert "synthetic" not in real.lower() and "Loader `folder`" in real


@pytest.mark.parametrize(
    "section",
    ["Intended use", "How to use", "Data", "Training", "Evaluation", "Left, right and no", "Limits", "Citation"],
)
def test_every_section_is_there(recipe, result, section):
    for card in (model_card(recipe), model_card(recipe, result)):
        assert card.count(f"\n## {section}\n") == 1
        assert "Not a medical device" in card and "{{" not in card and "{%" not in card


def test_a_model_that_started_from_another_says_so(recipe):
    recipe["model"] = {**recipe["model"], "pretrained": "owner/model"}
    card = model_card(recipe)
    assert "started from `owner/model`" in card and "random weights" not in card


def test_the_examples_load_what_they_are_told(recipe):
    card = model_card(recipe, model_id="owner/name")
    assert card.count('"owner/name"') == 3
    for example in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL):
        compile(example, "card", "exec")
