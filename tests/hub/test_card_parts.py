"""What a model card says of origin, negation and sides, energy and receipts; and the command that makes one."""

import json

import pytest
import yaml
from huggingface_hub import ModelCard

from anatomy_vlm.cli import main
from anatomy_vlm.hub_cards import Energy, model_card
from anatomy_vlm.hub_cards.card_parts import base_models, robustness_tables
from anatomy_vlm.training.evaluation.robustness.report import RobustnessReport, Section
from anatomy_vlm.training.recipe import load_recipe


@pytest.fixture
def recipe() -> dict:
    return load_recipe("phantom-tiny").to_dict()


@pytest.fixture
def robustness() -> dict:
    sections = (
        Section(
            "negation",
            "Negation ledger",
            "What it means.",
            ({"finding": "macro", "negated_auc": 0.8581, "low": float("nan"), "high": 0.9},),
        ),
        Section("laterality", "Laterality margin", "Sides.", ({"finding": "all findings", "pairs": 7},)),
        Section("prior", "Prior", "Other.", ({"finding": "macro", "auc": 0.1234},)),
    )
    return RobustnessReport(40, 30, {}, sections, {"flips": "too few"}).to_dict()


def test_negation_and_sides_are_shown_where_they_were_measured(recipe, robustness):
    without, card = model_card(recipe), model_card(recipe, robustness=robustness)
    assert "no separate measurement" in without and "no separate measurement" not in card
    assert "Measured on 40 films of 30 patients" in card
    assert "| finding | negated auc | low | high |\n|---|---|---|---|\n| macro | 0.858 | - | 0.900 |" in card
    assert "| all findings | 7 |" in card and "Not measured: flips." in card
    assert "0.123" not in card, "only what is about sides and negation"


@pytest.mark.parametrize("report", [{}, {"sections": {}, "num_images": 1, "num_patients": 1}])
def test_another_file_is_no_report_of_robustness(report):
    with pytest.raises(ValueError, match="robustness"):
        robustness_tables(report)


def test_origin_and_licence_follow_the_weights(recipe):
    data = ModelCard(model_card(recipe)).data
    assert data.license == "apache-2.0" and data.base_model == ["sentence-transformers/all-MiniLM-L6-v2"]
    recipe["model"] |= {"backbone": {"name": "owner/tower"}, "text": {"name": "other/words"}}
    card = model_card(recipe)
    data = ModelCard(card).data
    assert data.base_model == ["owner/tower", "other/words"] == base_models(recipe)
    assert data.license == "other" and data.license_name == "that-of-the-base-models"
    assert "`owner/tower`, `other/words`" in card and "bind\nthis model" in card
    recipe["model"] |= {"backbone": {"name": "/data/private/tower"}, "text": {"scratch": {}}}
    data = ModelCard(model_card(recipe)).data
    assert data.license == "other", "nobody knows what a folder holds"
    assert data.base_model is None, "a folder is no name on the Hub"


def test_energy_is_an_estimate_with_its_assumptions(recipe):
    without = model_card(recipe)
    assert "No estimate of CO2" in without and "co2_eq_emissions" not in without
    card = model_card(recipe, energy=Energy(2.5, 400, 300, "one GPU"))
    assert ModelCard(card).data.co2_eq_emissions["emissions"] == pytest.approx(2.5 * 0.4 * 300)
    assert "2.5 hours at 400 W (one GPU)" in card and "300 g of CO2 per kWh make 0.3 kg" in card
    with pytest.raises(ValueError, match="watts must be above 0, not 0"):
        Energy(1, 0)


def test_receipts_are_listed(recipe):
    data = {"test": {"split": "test", "images": 12}}
    receipt = {"task": "evaluation", "data": data, "numbers": [{}, {}]}
    assert "| `r.json` | evaluation | test (12 films) | 2 |" in model_card(recipe, receipts={"r.json": receipt})
    assert "## Receipts" not in model_card(recipe)


def test_export_writes_a_card_with_what_was_measured(hub_folder, robustness, tmp_path, capsys):
    report, recipe = tmp_path / "robustness.json", tmp_path / "recipe.yaml"
    report.write_text(json.dumps(robustness))
    recipe.write_text(yaml.safe_dump(load_recipe("phantom-tiny").to_dict()))
    out = tmp_path / "out"
    command = ["export", str(hub_folder), str(out), "--no-code", "--recipe", str(recipe)]
    assert main([*command, "--robustness", str(report), "--hours", "1", "--watts", "50"]) == 0
    card = (out / "README.md").read_text()
    assert "| macro | 0.858 | - | 0.900 |" in card and ModelCard(card).data.co2_eq_emissions["emissions"] == 24.0
    assert main([*command, "--hours", "1"]) == 2
    assert "--hours and --watts go together" in capsys.readouterr().err
    assert main([*command, "--evaluation", str(report)]) == 2
    assert f"{report}: has no scores" in capsys.readouterr().err
