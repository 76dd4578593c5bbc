"""Tables: rendering, what they are made of, and the numbers of each kind on small, known input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anatomy_vlm.cli import main
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.receipts.data import DataSource
from anatomy_vlm.training.receipts.errors import ReceiptError
from anatomy_vlm.training.receipts.receipt import load_receipt
from anatomy_vlm.training.receipts.tasks import SplitSource, TaskInputs, measure
from anatomy_vlm.training.tables.catalogue import TABLES, table_inputs
from anatomy_vlm.training.tables.probing import SUBSETS, region_subset
from anatomy_vlm.training.tables.queries import box_cells, box_coverage, query_attention, top_cells_iou
from anatomy_vlm.training.tables.table import Cell, Row, Table, latex_escape

from .conftest import SMALL


SPECIAL = "\\&%$#_{}~^<>"


@pytest.fixture
def table() -> Table:
    rows = [
        Row("left_lung & heart", [Cell(0.51234, 0.4, 0.6), Cell(0.7), "3 / 4"]),
        Row("nothing known", [Cell(math.nan), Cell(-0.0001), "a|b"]),
    ]
    return Table("IoU of 100 % of the boxes", ["region", "IoU", "prior", "counts"], rows, ["Only 5 % of #1."])


def test_markdown(table):
    lines = table.to_markdown().splitlines()
    assert lines[2:6] == [
        "| region | IoU | prior | counts |",
        "|---|---|---|---|",
        "| left_lung & heart | 0.512 (0.400 to 0.600) | 0.700 | 3 / 4 |",
        "| nothing known | - | 0.000 | a\\|b |",
    ]


def test_latex(table):
    text = table.to_latex()
    assert "\\caption{IoU of 100 \\% of the boxes}" in text
    assert "left\\_lung \\& heart & $0.512$ \\scriptsize(0.400 to 0.600) & $0.700$ & 3 / 4 \\\\" in text
    assert "nothing known & - & $0.000$ & a|b \\\\" in text
    assert "\\par\\footnotesize Only 5 \\% of \\#1." in text
    assert text.count("\\begin{") == text.count("\\end{") == 2


@given(st.text(alphabet=st.sampled_from(SPECIAL + "ab 1"), max_size=20))
def test_latex_escape_leaves_no_special_character_bare_and_loses_nothing(text):
    escaped = latex_escape(text)
    plain = escaped
    for command, character in (
        ("\\textbackslash{}", "\\"),
        ("\\textasciitilde{}", "~"),
        ("\\textasciicircum{}", "^"),
        ("\\textless{}", "<"),
        ("\\textgreater{}", ">"),
    ):
        plain = plain.replace(command, f"\0{ord(character)}\0")
    for character in "&%$#_{}":
        plain = plain.replace(f"\\{character}", f"\0{ord(character)}\0")
    assert not set(plain) & set(SPECIAL)
    parts = plain.split("\0")
    assert "".join(part if index % 2 == 0 else chr(int(part)) for index, part in enumerate(parts)) == text


def test_the_numbers_of_a_table_are_those_of_its_receipt(table):
    numbers = {item.name: item for item in table.numbers}
    assert set(numbers) == {f"{row} | {c}" for row in ("left_lung & heart", "nothing known") for c in ("IoU", "prior")}
    assert numbers["left_lung & heart | IoU"].low == 0.4
    assert numbers["nothing known | IoU"].value is None


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="row 'x' has 0 cells, not 1"):
        Table("t", ["a", "b"], [Row("x", [])])


def test_coverage_and_cells_of_a_box():
    coverage = box_coverage(np.array([[0.0, 0.0, 0.5, 0.5], [0.26, 0.3, 0.27, 0.31]]), 4, 4)
    assert coverage[0].sum() == pytest.approx(4) and coverage[0][:2, :2].min() == 1
    assert coverage[1].sum() == pytest.approx(16 * 0.01 * 0.01)
    cells = box_cells(coverage)
    assert cells[0].sum() == 4 and cells[1].sum() == 1 and cells[1][1, 1]


def test_the_most_attended_patches_against_sorting_by_hand():
    rng = np.random.default_rng(0)
    attention, wanted = rng.random((20, 5, 4)), rng.random((20, 5, 4)) > 0.6
    for weights, cells, found in zip(attention, wanted, top_cells_iou(attention, wanted), strict=True):
        best = set(sorted(range(20), key=lambda i: -weights.flat[i])[: cells.sum()])
        own = set(np.flatnonzero(cells))
        assert found == pytest.approx(len(best & own) / len(best | own))


def test_attention_goes_where_the_query_looks():
    """Keys of the patches are zero but for one column that a query's own direction meets: all attention goes there."""
    from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig

    vision = AnatomyVLMVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    text = {"model_type": "bert", "vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    model = AnatomyVLMModel(AnatomyVLMConfig(vision_config=vision, text_config=text, projection_dim=8)).eval()
    attention = query_attention(model, torch.randn(3, 3, 32, 32))
    assert attention.shape == (3, 2, 29, 4, 4)
    assert attention.sum((-2, -1)) == pytest.approx(np.ones((3, 2, 29)))
    outputs = model.vision_model(torch.zeros(1, 3, 32, 32), output_attentions=True)
    rows = outputs.attentions[0][0].mean(0)[1:30, 30:]
    first = query_attention(model, torch.zeros(1, 3, 32, 32))[0, 0].reshape(29, 16)
    assert first == pytest.approx((rows / rows.sum(-1, keepdim=True)).double().detach().numpy(), abs=1e-6)


def test_groups_of_regions_are_symmetric_and_together_all_regions():
    groups = {name: region_subset(words) for name, words in SUBSETS.items()}
    assert sorted(index for slots in groups.values() for index in slots) == list(range(29))
    for name, slots in groups.items():
        names = {REGION_NAMES[index] for index in slots}
        for region in names:
            mirrored = region.replace("left", "\0").replace("right", "left").replace("\0", "right")
            assert mirrored in names or region == "right atrium", name


@pytest.mark.parametrize("name", [name for name, kind in TABLES.items() if kind.films != "runs"])
def test_every_table_is_made_of_the_small_films(name, measured, films):
    """`measured` has drawn the films; here they stand in for all sets."""
    row = load_receipt(SMALL).data["test"]
    source = DataSource(row["loader"], row["arguments"])
    sources = {"validation": SplitSource(source, "validation"), "test": SplitSource(source, "test")}
    if name == "probing":
        sources = {"train": SplitSource(source, "validation"), "default": SplitSource(source, "test")}
    template = table_inputs(name, None, settings={"bootstrap": 50, "min_events": 3})
    inputs = TaskInputs(str(reference()), sources, template.settings, films=films, device="cpu", progress=False)
    receipt, outcome = measure(TABLES[name].task, inputs)
    assert receipt.task == TABLES[name].task and receipt.numbers == outcome.table.numbers
    text = outcome.table.to_markdown()
    assert "nothing here is clinical" in text and "bootstrap over patients, 50 resamples" in text
    assert outcome.table.to_latex().count("\\\\") == 1 + len(outcome.table.rows)
    defined = [item for item in receipt.numbers if item.value is not None]
    assert len(defined) > len(receipt.numbers) / 4
    assert all(item.low is None or item.low <= item.value <= item.high for item in defined)
    if name == "queries":
        sheet = np.asarray(outcome.pictures["queries"].convert("RGB")).astype(int)
        orange = (np.abs(sheet - [240, 112, 40]).sum(-1) < 10).nonzero()[1]
        tile = sheet.shape[1] // 6
        # The right lung is the first tile, the left lung the ninth: their frames lie on the image's left and right.
        assert orange.size and (orange[orange < tile]).mean() < tile / 2
    if name == "detection":
        evaluated = {item.name: item for item in measured.numbers}
        mean = next(item for item in receipt.numbers if item.name.endswith("mean | IoU"))
        assert mean.value == pytest.approx(evaluated["region boxes | mean_iou | mean"].value)


def reference():
    from anatomy_vlm.hub_cards import REFERENCE_MODEL

    return REFERENCE_MODEL


def test_mistakes_are_one_line(tmp_path, capsys):
    for arguments, message in (
        (["ablation", "--runs", str(tmp_path)], "no receipts of a study"),
        (["ablation"], "name the folder of a study or of its receipts by --runs"),
        (["detection", "--data", "x"], "expected NAME=DIR"),
        (["detection", "--data", f"test={tmp_path}"], "'test' is a set of the table already"),
        (["detection", "--data", "x=nowhere"], "nowhere: no such folder"),
        (["queries", "--data", f"x={tmp_path}"], "is made of one test set"),
    ):
        assert main(["tables", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ReceiptError, match="unknown table 'zero'"):
        table_inputs("zero", None)
