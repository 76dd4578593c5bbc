"""Studies: variants under one budget, shared stages, resuming, scores, and the table with its receipts."""

import json
import math

import numpy as np
import pytest
import yaml

from anatomy_vlm.cli import main
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.result import EvaluationSettings
from anatomy_vlm.training.receipts.errors import ReceiptError
from anatomy_vlm.training.receipts.receipt import Receipt, differences, load_receipt, number
from anatomy_vlm.training.receipts.tasks import measure_again
from anatomy_vlm.training.recipe import RecipeError
from anatomy_vlm.training.studies import runner
from anatomy_vlm.training.studies import scores as scoring
from anatomy_vlm.training.studies.study import load_study, study_names
from anatomy_vlm.training.studies.summary import SeedScores, answers, collect_scores, score_table, t_interval


VARIANTS = [
    {"name": "full", "title": "the method"},
    {"name": "boxes", "title": "boxes only", "set": {"stages.1.losses": ["anatomy"], "stages.2.losses": ["anatomy"]}},
    {"name": "plain", "set": {"labels": {"perturbation_probability": 0.0, "attribute_negatives": False}}},
]


@pytest.fixture(scope="module")
def study_file(recipe_values, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("study")
    values = yaml.safe_load(yaml.safe_dump(recipe_values))
    values["training"]["num_train_epochs"] = 1
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    study = {
        "name": "small",
        "recipe": str(folder / "recipe.yaml"),
        "epochs": 3,
        "reference": "full",
        "seeds": [0, 1],
        "scoring": {"bootstrap": 50, "min_events": 2, "batch_size": 4},
        "variants": VARIANTS,
        "questions": [{"ask": "Do negatives help?", "of": "full", "without": "plain"}],
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return str(path)


@pytest.fixture(scope="module")
def finished(study_file, tmp_path_factory):
    """The folder of the study, run by the command, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "out"
    assert main(["study", study_file, "--out", str(out)]) == 0
    return out


def test_a_study_ends_with_receipts_and_a_table(finished):
    names = {path.name for path in (finished / "runs").iterdir()}
    assert names == {f"{variant['name']}-{seed}" for variant in VARIANTS for seed in (0, 1)}
    table = (finished / "small.md").read_text()
    assert "| the method |" in table and "| boxes only |" in table and "differences" in table
    assert "\\toprule" in (finished / "small.tex").read_text()
    assert "Do negatives help? " in table and "(full minus plain: box IoU " in table
    receipt = load_receipt(finished / "small.json")
    numbers = {item.name: item for item in receipt.numbers}
    of_seeds = [
        next(
            i.value
            for i in load_receipt(finished / "runs" / f"full-{seed}" / "receipt.json").numbers
            if i.name == "box IoU"
        )
        for seed in (0, 1)
    ]
    assert numbers["the method | box IoU"].value == pytest.approx(np.mean(of_seeds))
    # A head that was not trained has no number.
    assert numbers["boxes only | region AUC"].value is None
    assert numbers["the method | region AUC"].value is not None
    assert differences(receipt, measure_again(receipt)) == []


def test_the_receipt_of_a_run_holds_its_budget_and_verifies(finished):
    receipt = load_receipt(finished / "runs" / "full-0" / "receipt.json")
    assert receipt.settings["optimizer_steps"] == 12 and receipt.settings["losses"] == ["anatomy", "fine", "global"]
    steps = [
        json.loads(path.read_text())["log"][-1]["step"]
        for path in sorted((finished / "runs" / "full-0").glob("*/stage.json"))
    ]
    assert sum(steps) == receipt.settings["optimizer_steps"]
    again = measure_again(receipt, model=finished / "runs" / "full-0" / "model", progress=False)
    assert differences(receipt, again) == []
    other = measure_again(receipt, model=finished / "runs" / "full-1" / "model", progress=False)
    assert "other weights" in differences(receipt, other)[0]


def test_what_is_finished_is_not_run_again(finished, study_file, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/receipt.json")}
    (finished / "runs" / "boxes-1" / "receipt.json").unlink()

    def no_training(*args):
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr("anatomy_vlm.training.trainer.AnatomyVLMTrainer.train", no_training)
    receipts = runner.run_study(load_study(study_file), finished)
    assert len(receipts) == 6
    kept = {path: path.stat().st_mtime_ns for path in before if path.parent.name != "boxes-1"}
    assert kept == {path: time for path, time in before.items() if path in kept}


def test_stages_in_common_are_taken_over_and_equal(finished, study_file, recipe_values, tmp_path):
    """The first two stages of "plain" are those of "full"; trained by itself it ends with the same weights."""
    from safetensors.torch import load_file

    study = load_study(study_file)
    recipes = {name: study.recipe_of(study.variant(name), 0) for name in ("full", "boxes", "plain")}
    keys = {name: [runner.stage_key(recipe, n) for n in (1, 2, 3)] for name, recipe in recipes.items()}
    assert keys["full"][:2] == keys["plain"][:2] and keys["full"][2] != keys["plain"][2]
    assert keys["full"][0] == keys["boxes"][0] and keys["full"][1] != keys["boxes"][1]
    alone = runner.run_study(study, tmp_path / "alone", [0], ["plain"])
    assert len(alone) == 1
    shared, own = (
        load_file(folder / "runs" / "plain-0" / "3-fine" / "trained.safetensors")
        for folder in (finished, tmp_path / "alone")
    )
    assert all((shared[name] == own[name]).all() for name in own)


def test_the_shipped_study_has_one_budget():
    assert "ablation" in study_names()
    study = load_study("ablation")
    assert {variant.name for variant in study.variants} >= {"global", "detection", "global-detection", "full", "joint"}
    recipes = [study.recipe_of(variant, 3) for variant in study.variants]
    assert {recipe.seed for recipe in recipes} == {3}
    assert len({runner.optimizer_steps(recipe, 768) for recipe in recipes}) == 1
    assert len({json.dumps(recipe.data.arguments) for recipe in recipes}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "its stages take 3 epochs, the study's budget is 4"),
        ({"reference": "fll"}, "no variant 'fll'; did you mean 'full'"),
        ({"variants": [{"name": "a"}, {"name": "a"}], "reference": "a"}, "two variants have the same name"),
        ({"variants": []}, "at least one variant"),
        ({"varants": 1}, "unknown key 'varants'"),
        ({"set": {"stages.7.losses": ["anatomy"]}}, "there is no 'stages.7.losses' in the recipe"),
        ({"set": {"labels": {"positives": "some"}}}, "positives must be"),
        ({"questions": [{"ask": "?", "of": "full", "without": "pla"}]}, "no variant 'pla'; did you mean 'plain'"),
        ({"recipe": "nowhere"}, "nowhere: no such recipe file"),
        ({"seeds": [0, 0]}, "seeds [0, 0] are not distinct"),
    ],
)
def test_mistakes_are_one_line(study_file, tmp_path, capsys, change, message):
    with open(study_file) as file:
        values = yaml.safe_load(file)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**values, **change}))
    assert main(["study", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("anatomy-vlm: error: ") and message in error


def test_an_unknown_study_or_variant_is_named(study_file):
    with pytest.raises(RecipeError, match="the package ships ablation"):
        load_study("abl")
    with pytest.raises(RecipeError, match="no variant 'ful'"):
        runner.planned_runs(load_study(study_file), study_file, [0], ["ful"])


def test_a_table_names_the_runs_that_are_missing(finished, study_file):
    receipts = [load_receipt(finished / "runs" / f"{name}-0" / "receipt.json") for name in ("full", "boxes")]
    table = score_table(load_study(study_file), collect_scores(receipts), ["box IoU"], "t")
    assert [row.label for row in table.rows] == ["the method", "boxes only"]
    assert (
        "Not run: the method with seed 1, boxes only with seed 1, plain with seed 0, plain with seed 1." in table.notes
    )
    assert math.isnan(table.rows[0].cells[0].low)


def test_t_interval_against_scipy():
    from scipy import stats

    values = [0.71, 0.75, 0.7, 0.78]
    mean, low, high = t_interval(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(values), expected.low, expected.high))
    assert math.isnan(t_interval([0.5])[1]) and math.isnan(t_interval([])[0])


def test_answers_say_what_the_intervals_show():
    def runs(*lists: list[float]) -> dict[int, dict[str, float]]:
        return {seed: dict(zip("abc", values)) for seed, values in enumerate(zip(*lists, strict=True))}

    study = load_study("ablation")
    question = study.questions[0]
    told = SeedScores(
        {
            question.of: runs([0.8, 0.82, 0.81], [0.5, 0.7, 0.6], [0.4, 0.42, 0.41]),
            question.without: runs([0.7, 0.71, 0.72], [0.6, 0.6, 0.6], [0.5, 0.51, 0.52]),
        },
        [],
    )
    (line,) = answers(study, told, ["a", "b", "c"])
    assert line.startswith(
        f"{question.ask} It raises a and it lowers c ({question.of} minus {question.without}: a +0.10"
    )
    (line,) = answers(study, told, ["b"])
    assert " No difference is shown " in line and "b 0.000 (-0.248 to 0.248)" in line


def test_a_model_that_misses_the_no_has_a_negated_auc_below_one_half():
    """Statement and negation get the same logit, right about the words: what the stated AUC has, the negated lacks."""
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    findings, regions = ("pleural effusion", "pneumothorax"), ("left lung", "right lung")
    count = 200
    image, region, finding = np.arange(count), rng.integers(0, 2, count), rng.integers(0, 2, count)
    labels = rng.integers(0, 2, count).astype(float)
    texts = tuple(scoring._statement(r, f, p) for r in regions for f in findings for p in (1, 0))
    judged = SimpleNamespace(
        targets=SimpleNamespace(pair_image=image, pair_region=region, pair_finding=finding, pair_labels=labels),
        texts=texts,
        regions=regions,
        findings=findings,
        bootstrap=PatientBootstrap.draw([str(i) for i in range(count)], num_resamples=50),
        settings=EvaluationSettings(),
    )
    seen = np.clip(0.5 + 0.2 * (labels - 0.5) + 0.1 * rng.standard_normal(count), 0.01, 0.99)
    blind = np.repeat(np.repeat(seen[:, None, None], 2, axis=1), len(texts), axis=2)
    stated, negated, paired = scoring._statement_numbers(judged, blind)
    assert stated.value > 0.75 and negated.value == pytest.approx(1 - stated.value) and paired.value == 0.5
    denies = np.array([text.startswith("no ") for text in texts])
    stated, negated, paired = scoring._statement_numbers(judged, np.where(denies, 1 - blind, blind))
    assert negated.value == pytest.approx(stated.value) and paired.value == pytest.approx(stated.value)


def test_scores_of_other_films_or_tasks_are_not_mixed():
    def receipt(task="study-run", ids="a", seed=0):
        settings = {"variant": "full", "seed_of_training": seed}
        return Receipt(task, "", settings, None, {"test": {"ids": ids}}, (number("x", 0.5),), {}, {}, {})

    assert collect_scores([receipt(), receipt(seed=1)]).of("full", "x") == {0: 0.5, 1: 0.5}
    for wrong, message in (
        ([receipt("evaluation")], "none of a run"),
        ([receipt(), receipt()], "two receipts of full"),
        ([receipt(), receipt(ids="b", seed=1)], "different test films"),
    ):
        with pytest.raises(ReceiptError, match=message):
            collect_scores(wrong)
