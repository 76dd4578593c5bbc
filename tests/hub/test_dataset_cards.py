"""Dataset cards: the header that the Hub reads, and that `synthesize` writes one and leaves an edited one alone."""

import json

import pytest
from huggingface_hub import DatasetCard

from anatomy_vlm.cli import main
from anatomy_vlm.hub_cards import dataset_card


CT = {
    "request": {"generator": "ct_projection", "views": ["PA", "LATERAL"], "seed": 0, "scheme": None},
    "versions": {"numpy": "2.0.0"},
    "problems": {"a": "no labels"},
}
NOISY = {
    "request": {"generator": "phantom", "label_noise": 0.1, "splits": {"train": 1.0}, "domain": {"train": "mixed"}},
    "versions": {"numpy": "2.0.0"},
}


def test_synthesize_writes_a_card_that_the_hub_reads(tmp_path, capsys):
    pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")
    out = tmp_path / "films"
    command = ["synthesize", "phantom", "--out", str(out), "--patients", "5", "--image-size", "48", "--workers", "1"]
    assert main([*command, "--splits", "train=0.6,test=0.4"]) == 0
    card = (out / "README.md").read_text()
    data = DatasetCard(card).data
    assert data.size_categories == "n<1K" and "synthetic-data" in data.tags and data.license is None
    # The Hub's own way to find the splits reads what was written.
    files = {entry["split"]: entry["path"] for entry in data.configs[0]["data_files"]}
    assert set(files) == {"train", "test"} and all(list(out.glob(pattern)) for pattern in files.values())
    assert "| train | 3 |" in card and "| test | 2 |" in card and "No patient is in the data" in card
    assert "| image size | 48 |" in card and "{{" not in card
    (example,) = [part for part in card.split("```") if part.startswith("python\n")]
    exec(example.removeprefix("python\n").replace("path/to/this/folder", str(out)), {})
    assert capsys.readouterr().out.splitlines()[-1].startswith("(48, 48)")

    (out / "README.md").write_text("mine")
    assert main([*command, "--splits", "train=0.6,test=0.4"]) == 0
    assert (out / "README.md").read_text() == "mine"


def test_projections_say_whose_anatomy_it_is():
    card = dataset_card(CT, {"train": 1200})
    assert "anatomy is that of patients" in card and "No patient is in the data" not in card
    assert "1 scans could not be used" in card and "| views | PA, LATERAL |" in card and "| scheme | - |" in card
    assert "That of the CT volumes" in card and DatasetCard(card).data.size_categories == "1K<n<10K"


def test_label_noise_and_a_licence_are_said():
    card = dataset_card(NOISY, {"train": 3}, licence="cc0-1.0")
    assert "with a chance of 0.1 each" in card and DatasetCard(card).data.license == "cc0-1.0"
    assert "with a chance of" not in dataset_card(json.loads(json.dumps(NOISY).replace("0.1", "0.0")), {"train": 3})


@pytest.mark.parametrize(
    ("manifest", "films", "message"),
    [({"request": {"generator": "x"}, "versions": {}}, {"train": 1}, "no card for films of 'x'"), (CT, {}, "no card")],
)
def test_what_has_no_card(manifest, films, message):
    with pytest.raises(ValueError, match=message):
        dataset_card(manifest, films)
