"""Weights for the long tail, and how they reach the losses."""

import numpy as np
import pytest
import torch

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.phrases import collect_phrases
from anatomy_vlm.training.recipe import load_recipe
from anatomy_vlm.training.run import main
from anatomy_vlm.training.setup import build_setup
from anatomy_vlm.training.tail_weights import balanced_weights, count_entries, tail_weights


ENTRIES = [
    {"region": "left lung", "finding": "pleural effusion", "polarity": "present"},
    {"region": "left lung", "finding": "pleural effusion", "polarity": "present"},
    {"region": "left lung", "finding": "pneumothorax", "polarity": "absent"},
    {"region": "", "finding": "pneumothorax", "polarity": "present"},
    {"region": "right lung", "finding": "pleural effusion", "polarity": "present"},
]


def test_balanced_weights_follow_the_formula_and_keep_the_size_of_a_loss():
    counts = torch.tensor([400.0, 100.0, 1.0, 0.0])
    weights = balanced_weights(counts)
    assert weights[1] == pytest.approx(2 * weights[0].item())
    assert weights[2] == pytest.approx(20 * weights[0].item())
    assert weights[3] == 1
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert (balanced_weights(torch.zeros(3)) == 1).all()


def test_findings_are_counted_where_present_and_regions_wherever_named():
    assert count_entries(ENTRIES, "finding", ["pneumothorax", "pleural effusion"]).tolist() == [1, 3]
    assert count_entries(ENTRIES, "region", ["left lung", "right lung", "spine"]).tolist() == [3, 1, 0]


def test_weights_by_name():
    weights = tail_weights({"spine": 3}, "region", REGION_NAMES, [])
    assert weights[REGION_NAMES.index("spine")] == 3 and weights.sum() == 31
    assert tail_weights(None, "region", REGION_NAMES, []) is None
    by_counts = tail_weights("balanced", "region", REGION_NAMES, [ENTRIES[:3], ENTRIES[3:]])
    assert by_counts[REGION_NAMES.index("right lung")] > by_counts[REGION_NAMES.index("left lung")]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"pneumothorx": 2}, "finding_weights: unknown finding 'pneumothorx'; did you mean 'pneumothorax'"),
        ({"pneumothorax": 0}, "'pneumothorax' must be a positive number, not 0"),
        ({"pneumothorax": "heavy"}, "'finding_weights' must be text or a mapping"),
        ("inverse", "finding_weights must be 'balanced' or weights by name, not 'inverse'"),
    ],
)
def test_wrong_weights_are_one_line(option, message, write_recipe, tmp_path, capsys):
    recipe = write_recipe(labels={"finding_weights": option})
    assert main(["--recipe", recipe, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_texts_weigh_as_their_findings_do(write_recipe, saved_dataset, tmp_path):
    import datasets

    train = datasets.load_from_disk(saved_dataset)["train"]
    labels = {"finding_weights": {"pneumothorax": 5.0}, "region_weights": {"left lung": 2.0}}
    texts = build_setup(load_recipe(write_recipe(labels=labels)), train, tmp_path).texts
    inputs = {
        "labels": torch.zeros(2, len(FINDING_NAMES)),
        "positive_ids": torch.tensor([[0], [7]])[:, None].expand(2, 29, 1),
        "negative_ids": torch.full((2, 29, 1), -1),
        "facts": torch.full((2, 29, len(FINDING_NAMES)), -1, dtype=torch.int8),
        "severity": torch.full((2, 29, len(FINDING_NAMES)), -1, dtype=torch.int8),
        "box_mask": torch.ones(2, 29, dtype=torch.bool),
    }
    targets = texts.targets(inputs, ["global", "fine"])
    book = collect_phrases(train).book
    ids = np.union1d(texts.prompt_ids.numpy(), [0, 7])
    expected = [5.0 if book.statement(i).finding == "pneumothorax" else 1.0 for i in ids]
    assert 5.0 in expected and 1.0 in expected
    assert targets["text_weights"].tolist() == expected
    assert targets["region_weights"][REGION_NAMES.index("left lung")] == 2
    assert "region_weights" not in texts.targets(inputs, ["global"])
