"""Demo, training and evaluation commands on a tiny dataset: what they write, and how they go on where they stopped."""

import json

import pytest

from anatomy_vlm import demo_report
from anatomy_vlm.cli import main
from anatomy_vlm.demo import demo
from anatomy_vlm.training.model_folder import load_checkpoint


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory, tiny_recipe, dataset_folder):
    out = tmp_path_factory.mktemp("demo")
    demo(out, recipe=str(tiny_recipe), bootstrap=20)
    return out


def test_the_demo_writes_model_numbers_report_and_overlays(demo_folder):
    results = json.loads((demo_folder / "results.json").read_text())
    assert results["num_images"] == 40
    assert "| region boxes | box IoU, mean |" in (demo_folder / "results.md").read_text()
    report = (demo_folder / "report.html").read_text()
    assert report.count("data:image/jpeg;base64,") == 8 and "boxes, GIoU" in report and "AUC, macro" in report
    assert len(list((demo_folder / "overlays").glob("test-*.png"))) == 8
    _, processor = load_checkpoint(demo_folder / "model")
    stated = results["thresholds"]["pneumothorax"]
    assert stated["source"] == "validation"
    assert processor.finding_thresholds["pneumothorax"] == stated["value"]
    assert "| validation | 24 films of 24 patients |" in (demo_folder / "model" / "README.md").read_text()


def test_a_second_demo_trains_nothing_again(demo_folder, tiny_recipe):
    weights = demo_folder / "training" / "3-fine" / "trained.safetensors"
    before, results = weights.stat().st_mtime_ns, (demo_folder / "results.json").read_text()
    demo(demo_folder, recipe=str(tiny_recipe), bootstrap=20)
    assert weights.stat().st_mtime_ns == before
    assert (demo_folder / "results.json").read_text() == results


def test_a_demo_of_another_recipe_does_not_mix_in(demo_folder, tiny_recipe, capsys):
    status = main(["demo", "--out", str(demo_folder), "--recipe", str(tiny_recipe), "--set", "seed=5"])
    assert status == 2 and "another recipe" in capsys.readouterr().err


def test_real_films_get_a_gallery_and_unreadable_ones_a_name(demo_folder, films):
    from anatomy_vlm.input_files import find_images
    from anatomy_vlm.prediction import Predictor

    predictor = Predictor.load(demo_folder / "model", device="cpu")
    gallery = demo_report.read_real_films(predictor, find_images([films]), demo_folder / "overlays")
    assert len(gallery.pictures) == 2
    assert "truncated.png" in gallery.caption and "text.dcm" in gallery.caption
    assert sorted(path.name for path in (demo_folder / "overlays").glob("real-*.png")) == [
        "real-1-a.png",
        "real-4-b.png",
    ]


def test_the_evaluate_command_prints_and_writes_the_same_numbers(demo_folder, dataset_folder, tmp_path, capsys):
    arguments = ["--json", str(tmp_path / "e.json"), "--bootstrap", "20", "--min-events", "5", "--device", "cpu"]
    assert main(["evaluate", str(demo_folder / "model"), str(dataset_folder), *arguments]) == 0
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["scores"] == json.loads((demo_folder / "results.json").read_text())["scores"]
    assert "### Regions" in capsys.readouterr().out
    status = main(["evaluate", str(demo_folder / "model"), str(dataset_folder), "--split", "tset"])
    assert status == 2 and "no split 'tset'; it has train, validation, test" in capsys.readouterr().err


def test_the_train_and_export_commands_leave_a_model(tiny_recipe, tmp_path, capsys):
    assert main(["train", str(tiny_recipe), "--output", str(tmp_path / "run"), "--set", "name=again"]) == 0
    assert main(["export", str(tmp_path / "run" / "model"), str(tmp_path / "exported")]) == 0
    load_checkpoint(tmp_path / "exported")
    capsys.readouterr()
    assert main(["train", "no-such-recipe"]) == 2
    assert "anatomy-vlm: error: no-such-recipe: no such recipe file" in capsys.readouterr().err


def test_truth_names_the_special_finding_in_the_smallest_region():
    entries = [
        {"finding": finding, "region": region, "polarity": polarity}
        for finding, region, polarity in [
            ("lung opacity", "left lung", "present"),
            ("consolidation", "left lung", "present"),
            ("consolidation", "left lower lung zone", "present"),
            ("pneumothorax", "left lung", "absent"),
        ]
    ]
    assert demo_report._true_findings({"region_findings": entries}) == "consolidation (left lower lung zone)"
    assert demo_report._true_findings({"region_findings": entries[-1:]}) == "no finding"
