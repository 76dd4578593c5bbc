"""Segmentation transfer: films with masks, the flip, one training, and the study on folders and on datasets."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from anatomy_vlm.cli import main
from anatomy_vlm.modeling import AnatomyVLMForSemanticSegmentation, AnatomyVLMSegmentationConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.schema import flip_example
from anatomy_vlm.training.augmentation import Augmentation, augment, move_maps
from anatomy_vlm.training.evaluation.hausdorff import hausdorff_95
from anatomy_vlm.training.loaders import load_data
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.layouts import write_layout
from anatomy_vlm.training.segmentation import DatasetFilms, FolderFilms, SegmentationSettings, StudySettings
from anatomy_vlm.training.segmentation.batches import (
    CanvasFilms,
    TrainingSequence,
    collate,
    flip_films,
    mirror_structures,
)
from anatomy_vlm.training.segmentation.networks import METHODS, Encoder
from anatomy_vlm.training.segmentation.scores import outline_distance, score_masks
from anatomy_vlm.training.segmentation.study import make_folds
from anatomy_vlm.training.segmentation.table import summarise, to_latex, to_markdown
from anatomy_vlm.training.segmentation.training import SegmentationTrainer, train_network


LUNGS = ("right lung", "left lung")
STILL = Augmentation(zoom=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0, blur=0, erase=0)


def boxes(number: int) -> dict[str, tuple[slice, slice]]:
    """Where the structures of a film lie, 48 rows and 40 columns; the left lung and the heart overlap."""
    top = 6 + number % 5
    return {
        "right lung": (slice(top, 40), slice(4, 16)),
        "left lung": (slice(top, 36), slice(24, 36)),
        "cardiac silhouette": (slice(24, 40), slice(14, 30)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve films of eight patients with three structures: `films`, one folder of masks each, `patients.csv`."""
    root = tmp_path_factory.mktemp("films")
    lines = ["file_name,patient_id"]
    for number in range(12):
        film = np.random.default_rng(number).integers(90, 110, (48, 40)).astype(np.uint8)
        for name, place in boxes(number).items():
            film[place] += 60 if "lung" in name else 90
            mask = np.zeros((48, 40), np.uint8)
            mask[place] = 255
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / name / f"f{number:02d}.png")
        (root / "films").mkdir(exist_ok=True)
        Image.fromarray(film).save(root / "films" / f"f{number:02d}.png")
        lines.append(f"f{number:02d}.png,p{number % 8}")
    (root / "patients.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def films(folder):
    masks = {name: folder / name for name in boxes(0)}
    return FolderFilms(folder / "films", masks, folder / "patients.csv")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A folder with a tiny encoder and its image processor."""
    path = tmp_path_factory.mktemp("tower")
    torch.manual_seed(0)
    config = AnatomyVLMSegmentationConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        decoder_channels=[8, 8],
    )  # fmt: skip
    AnatomyVLMForSemanticSegmentation(config).save_pretrained(path)
    AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def canvas(films, side: int = 32) -> CanvasFilms:
    return CanvasFilms(films, AnatomyVLMImageProcessorPil(size={"height": side, "width": side}), side)


def test_folders_of_images_and_masks(films, folder):
    assert films.structures == (*LUNGS, "cardiac silhouette") and len(films) == 12
    image, masks = films.read(3)
    assert image.size == (40, 48) and masks.shape == (3, 48, 40) and masks.dtype == bool
    assert masks[0, 20, 10] and not masks[1, 20, 10], "the right lung lies on the image's left"
    assert (masks[1] & masks[2]).any(), "masks may overlap"
    assert films.patients[8] == films.patients[0] == "p0"
    assert FolderFilms(folder / "films", {"left lung": folder / "left lung"}).patients[8] == "f08"


def test_mistakes_in_folders_are_named(folder, tmp_path):
    with pytest.raises(DatasetError, match="no such folder; it should hold 'left lung'"):
        FolderFilms(folder / "films", {"left lung": tmp_path / "nowhere"})
    with pytest.raises(DatasetError, match=r"no mask 'left lung' for f00.png \(12 are missing\)"):
        FolderFilms(folder / "films", {"left lung": tmp_path})
    (tmp_path / "patients.csv").write_text("file_name,patient_id\nf00.png,p\n")
    masks = {"left lung": folder / "left lung"}
    with pytest.raises(DatasetError, match=r"no patient for f01.png \(11 films"):
        FolderFilms(folder / "films", masks, tmp_path / "patients.csv")
    (tmp_path / "patients.csv").write_text("name\nx\n")
    with pytest.raises(DatasetError, match="needs the columns"):
        FolderFilms(folder / "films", masks, tmp_path / "patients.csv")
    shutil.copytree(folder / "left lung", tmp_path / "masks")
    Image.new("L", (9, 9)).save(tmp_path / "masks" / "f00.png")
    with pytest.raises(DatasetError, match=r"\(9, 9\) pixels, its film \(40, 48\)"):
        FolderFilms(folder / "films", {"left lung": tmp_path / "masks"}).read(0)


def test_film_and_masks_lie_alike_on_the_canvas(films):
    pixels, masks = canvas(films, 96)[2]
    assert pixels.shape == (96, 96) and masks.shape == (3, 96, 96)
    # 48 x 40 pixels at twice the size, with bars of 8 at both sides.
    assert (pixels[:, :8] == 0).all() and (masks[..., :8] == 0).all() and (masks[..., 88:] == 0).all()
    rows, columns = boxes(2)["left lung"]
    inside = torch.zeros(96, 96)
    inside[2 * rows.start : 2 * rows.stop, 8 + 2 * columns.start : 8 + 2 * columns.stop] = 255
    assert torch.equal(masks[1].float(), inside)
    assert pixels[masks[1] > 127].float().mean() > pixels[masks.amax(0) == 0][20:].float().mean() + 30


def test_masks_move_with_the_film():
    options = Augmentation(zoom=0.3, shift=0.2, contrast=0, brightness=0, gamma=0, noise=0, blur=0, erase=0)
    images = (torch.rand(4, 24, 24) > 0.5).float()
    draws = torch.stack([options.sample(torch.Generator().manual_seed(i)) for i in range(4)])
    moved, _, _ = augment(images, torch.zeros(4, 0, 4), torch.zeros(4, 0, dtype=torch.bool), draws, options)
    torch.testing.assert_close(moved, move_maps(images[:, None], draws, options)[:, 0])
    assert not torch.allclose(moved, images)


def test_the_flip_exchanges_the_sides(films):
    mirror = mirror_structures(films.structures)
    assert mirror == [1, 0, 2]
    image, masks = films.read(1)
    pixels, targets = torch.from_numpy(np.array(image)).float()[None], torch.from_numpy(masks).float()[None]
    flipped, exchanged = flip_films(pixels, targets, torch.tensor([True]), mirror)
    assert torch.equal(flipped[0], pixels[0].flip(-1))
    columns = torch.arange(40.0)
    for side, low in (("right lung", True), ("left lung", False)):
        mask = exchanged[0, films.structures.index(side)]
        assert ((mask.sum(0) * columns).sum() / mask.sum() < 20) == low, "the patient's right on the image's left"
    twice = flip_films(flipped, exchanged, torch.tensor([True]), mirror)
    assert torch.equal(twice[0], pixels) and torch.equal(twice[1], targets)
    same = flip_films(pixels, targets, torch.tensor([False]), mirror)
    assert torch.equal(same[0], pixels) and torch.equal(same[1], targets)
    assert mirror_structures(["right_lung", "left_lung", "birthright", "lungs"]) == [1, 0, 2, 3]
    for alone in ("left lung", "rib_right_3"):
        with pytest.raises(ValueError, match=f"'{alone}' without '"):
            mirror_structures([alone, "lungs"])


def test_the_flip_is_that_of_the_schema():
    mask = np.zeros((30, 20), np.uint8)
    mask[5:20, 2:8], mask[8:22, 12:17], mask[15:25, 9:13] = 1, 2, 3
    example = {
        "image": Image.fromarray(mask * 60),
        "mask": Image.fromarray(mask),
        "boxes": np.zeros((29, 4), np.float32),
        "box_mask": np.zeros(29, bool),
        "region_findings": [],
        "report": "",
    }
    names = (*LUNGS, "cardiac silhouette")

    def as_masks(picture):
        return torch.from_numpy(np.stack([np.asarray(picture) == value for value in (1, 2, 3)])).float()[None]

    expected = flip_example(example)
    image = torch.from_numpy(mask * 60)[None].float()
    flipped, exchanged = flip_films(image, as_masks(mask), torch.tensor([True]), mirror_structures(names))
    assert torch.equal(exchanged, as_masks(expected["mask"]))
    assert torch.equal(flipped[0], torch.from_numpy(np.array(expected["image"])).float())


def test_a_sequence_takes_every_film_once_before_any_again(films):
    shared = canvas(films)
    data = TrainingSequence(shared, range(5), 12, STILL, seed=3)
    items = [data[index] for index in range(12)]
    seen = [next(i for i in range(12) if torch.equal(item["pixels"], shared[i][0])) for item in items]
    assert sorted(seen[:5]) == sorted(seen[5:10]) == list(range(5)) and seen[:5] != seen[5:10]
    again = TrainingSequence(shared, range(5), 12, STILL, seed=3)
    assert torch.equal(again[7]["pixels"], data[7]["pixels"]) and torch.equal(again[7]["draws"], data[7]["draws"])
    assert not torch.equal(data[2]["draws"], data[7]["draws"])
    batch = collate(STILL, shared.image_processor, films.structures, flip=1.0)([data[0], data[1]])
    assert batch["pixel_values"].shape == (2, 3, 32, 32) and batch["labels"].shape == (2, 3, 32, 32)
    expected = (shared[seen[0]][0].float() / 255 - 0.5) / 0.5
    torch.testing.assert_close(batch["pixel_values"][0, 0], expected.flip(-1), atol=1e-5, rtol=0)


def test_rates_of_encoder_and_decoder(films, tower, tmp_path):
    from transformers import TrainingArguments

    encoder = Encoder(tower)
    model = encoder.build("tuned-unet", films.structures, 0)
    args = TrainingArguments(output_dir=str(tmp_path), learning_rate=1e-2, report_to="none", use_cpu=True)
    optimizer = SegmentationTrainer(model=model, args=args, encoder_factor=0.1).create_optimizer()
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert rates[id(model.vision_model.layers[0].mlp.fc1.weight)][0] == pytest.approx(1e-3)
    assert rates[id(model.decoder.classifier.weight)][0] == 1e-2
    assert all(
        rates[id(p)][1] == 0 for n, p in model.named_parameters() if n.endswith(("bias", "position_embeddings"))
    )


def test_methods_start_from_what_they_say(films, tower):
    encoder = Encoder(tower)
    start = encoder.weights["layers.0.mlp.fc1.weight"]
    built = {method: encoder.build(method, films.structures, 1) for method in METHODS if method != "unet"}
    for method, model in built.items():
        same = torch.equal(model.vision_model.layers[0].mlp.fc1.weight, start)
        assert same == (method != "scratch-unet"), method
        assert model.vision_model.layers[0].mlp.fc1.weight.requires_grad != method.startswith("frozen"), method
    sizes = {m: sum(p.numel() for p in built[m].parameters()) for m in ("frozen-unet", "tuned-unet", "scratch-unet")}
    assert len(set(sizes.values())) == 1
    with pytest.raises(ValueError, match="unknown method 'unett'"):
        encoder.build("unett", films.structures, 0)
    with pytest.raises(ValueError, match="no model to start from"):
        Encoder(tower / "nowhere")


def loss_of(network, shared) -> float:
    """On the first four films, as they are."""
    items = [TrainingSequence(shared, [index], 1, STILL)[0] for index in range(4)]
    batch = collate(STILL, shared.image_processor, shared.films.structures)(items)
    with torch.no_grad():
        return float(network.eval()(**batch).loss)


@pytest.mark.parametrize("method", ["frozen-linear", "tuned-unet", "unet"])
def test_a_training_learns_and_repeats(method, films, tower, tmp_path):
    if method == "unet":
        pytest.importorskip("monai")
    shared, encoder = canvas(films), Encoder(tower)
    settings = SegmentationSettings(steps=8, batch_size=4, augmentation=STILL, use_cpu=True)
    start, weights = encoder.build(method, films.structures, 0), []
    before = loss_of(start, shared)
    for number in range(2):
        network = encoder.build(method, films.structures, 0)
        train_network(network, shared, range(8), settings, learning_rate=2e-2, folder=tmp_path / str(number), seed=5)
        weights.append(network.state_dict())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert loss_of(network, shared) < 0.97 * before
    tower_weights = [name for name in weights[0] if name.startswith("vision_model.")]
    moved = [name for name in tower_weights if not torch.equal(start.state_dict()[name], weights[0][name])]
    assert bool(moved) == (method == "tuned-unet")


def test_a_training_in_bfloat16_leaves_a_network_in_float32(films, tower, tmp_path):
    shared, encoder = canvas(films), Encoder(tower)
    network, copy = (encoder.build("tuned-unet", films.structures, 0) for _ in range(2))
    settings = SegmentationSettings(steps=1, batch_size=2, bf16=True, use_cpu=True)
    train_network(network, shared, range(4), settings, learning_rate=1e-2, folder=tmp_path)
    copy.load_state_dict(network.state_dict())
    pixel_values = torch.randn(1, 3, 32, 32)
    assert torch.equal(network.eval()(pixel_values).logits, copy.eval()(pixel_values).logits)


def test_an_interrupted_training_goes_on_exactly(films, tower, tmp_path, monkeypatch):
    from transformers import TrainerCallback

    from anatomy_vlm.training.segmentation import training

    class Watch(TrainerCallback):
        """Notes the steps, and breaks down at one."""

        steps: list[int] = []
        breaks_at = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.steps.append(state.global_step)
            if state.global_step == self.breaks_at:
                raise OSError("power cut")

    class Watched(SegmentationTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, callbacks=[Watch()], **kwargs)

    monkeypatch.setattr(training, "SegmentationTrainer", Watched)
    shared, encoder = canvas(films), Encoder(tower)
    settings = SegmentationSettings(steps=6, batch_size=2, save_steps=3, use_cpu=True)

    def train(folder):
        network = encoder.build("tuned-unet", films.structures, 0)
        train_network(network, shared, range(5), settings, learning_rate=1e-2, folder=tmp_path / folder)
        return network.state_dict()

    whole = train("whole")
    Watch.breaks_at = 5
    with pytest.raises(OSError, match="power cut"):
        train("broken")
    Watch.breaks_at, Watch.steps = 0, []
    resumed = train("broken")
    assert Watch.steps == [4, 5, 6]
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_folds_are_of_patients(films):
    folds = make_folds(films, StudySettings(folds=4))
    aside = folds[0].validation
    assert sorted([*aside, *(index for fold in folds for index in fold.test)]) == list(range(12)), "each film once"
    for fold in folds:
        parts = [{films.patients[i] for i in part} for part in (fold.train, fold.validation, fold.test)]
        assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert fold.validation == aside and len(fold.train) + len(aside) + len(fold.test) == 12
    assert make_folds(films, StudySettings(folds=4)) == folds != make_folds(films, StudySettings(folds=4, seed=1))
    with pytest.raises(ValueError, match="8 patients are too few for 5 folds"):
        make_folds(films, StudySettings(folds=5))
    with pytest.raises(ValueError, match="no films in the split 'train'"):
        make_folds(films, StudySettings(folds=0))


@pytest.mark.parametrize(
    "fields",
    [{"methods": ["vit"]}, {"folds": 1}, {"learning_rates": []}, {"learning_rates": [-1.0]}, {"train_films": [-2]}],
)
def test_impossible_settings_are_refused(fields):
    with pytest.raises(ValueError, match=r"method|folds|rates"):
        StudySettings(**fields)
    with pytest.raises(ValueError, match="steps 0"):
        SegmentationSettings(steps=0)


def test_the_distance_in_a_part_of_the_film_is_that_in_the_film():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.random((2, 30, 40)) > 0.995, rng.random((2, 30, 40)) > 0.99
        one[0, 10:20, 5:15], other[0, 0:14, 8:22] = True, True
        for a, b in zip(one, other):
            assert outline_distance(a, b) == pytest.approx(hausdorff_95(a, b), nan_ok=True)
    empty, some = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    some[3, 4] = True
    assert score_masks(empty, some) == {"dice": 0.0, "miou": pytest.approx(0.5, abs=1e-3), "hd95": 125.0}
    nothing = score_masks(empty, empty)
    assert np.isnan(nothing["dice"]) and np.isnan(nothing["hd95"]) and nothing["miou"] == 1


def study(tower, out, *arguments):
    options = ["--steps", "1", "--batch-size", "2", "--cpu", "--out", str(out), "--model", str(tower)]
    return main(["segment-transfer", *options, *map(str, arguments)])


def test_a_study_is_one_command_and_goes_on(folder, tower, tmp_path, monkeypatch, capsys):
    from anatomy_vlm.training.segmentation import study as module

    trained, train = [], module.train_network
    monkeypatch.setattr(module, "train_network", lambda *a, **k: trained.append(k["folder"].name) or train(*a, **k))
    masks = [f"{name}={folder / name}" for name in boxes(0)]
    data = ["--films", folder / "films", "--masks", *masks, "--patients", folder / "patients.csv"]
    options = ["--folds", 2, "--train-films", 2, "all", "--learning-rates", 1e-2, 1e-3]
    first, out = ["--methods", "frozen-linear", "--keep-models"], tmp_path / "out"
    assert study(tower, out, *data, *options, *first) == 0
    assert METHODS["frozen-linear"] in capsys.readouterr().out
    # Two learning rates on the first fold's films, which is the run on "all" too, and what is left of the runs.
    assert len(trained) == 2 + 1 + 2 and not list((out / "checkpoints").iterdir())
    assert "frozen-linear-all-fold1.json" in {path.name for path in (out / "runs").iterdir()}
    result = json.loads((out / "results.json").read_text())
    assert {row["films"] for row in result["scores"]} == {"2", "all"} and 6 < result["test_films"] < 12
    assert (out / "table.tex").read_text().count(r"\begin{tabular}") == 3
    model = AutoModelForSemanticSegmentation.from_pretrained(out / "models" / "frozen-linear-all-fold0")
    assert list(model.config.id2label.values()) == ["background", *boxes(0)]
    assert AutoImageProcessor.from_pretrained(out / "models" / "frozen-linear-all-fold0").size["height"] == 32

    # Nothing is done twice, a damaged result is measured again, and another seed is another study.
    table = (out / "table.md").read_text()
    trained.clear()
    assert study(tower, out, *data, *options, *first) == 0
    assert trained == [] and (out / "table.md").read_text() == table
    (out / "runs" / "frozen-linear-2-fold0.json").write_text('{"key": ')
    assert study(tower, out, *data, *options, *first) == 0
    assert [name.rpartition("-")[0] for name in trained] == ["frozen-linear-2-fold0"]
    assert (out / "table.md").read_text() == table
    assert study(tower, out, *data, *options, *first, "--seed", 1) == 0
    assert len(trained) == 1 + 5


def test_the_better_learning_rate_is_taken(films, tower, tmp_path, monkeypatch):
    from anatomy_vlm.training.segmentation import study as module

    settings = StudySettings(
        methods=["frozen-linear"], train_films=[0], folds=2, learning_rates=[1e-3, 1e-2, 1e-1],
        training=SegmentationSettings(steps=1, batch_size=2, use_cpu=True),
    )  # fmt: skip
    seen, scores = [], iter([0.3, 0.5, 0.4])
    monkeypatch.setattr(module, "canvas_dice", lambda n, c, indices: seen.append(indices) or next(scores))
    processor = AutoImageProcessor.from_pretrained(tower)
    study = module.Study(films, Encoder(tower), processor, settings, tmp_path)
    for run, result in zip(study.runs(), module.run_study(study)):
        assert result["learning_rate"] == 1e-2
        assert result["validation_dice_by_learning_rate"] == {"0.001": 0.3, "0.01": 0.5, "0.1": 0.4}
        assert not set(run.fold.validation) & (set(run.fold.test) | set(run.fold.train))
        assert [row["film"] for row in result["films"]] == [films.film_ids[index] for index in run.fold.test]
    assert seen == [study.folds[0].validation] * 3, "never the test films"


@pytest.mark.parametrize("name", ["chexmask", "siim_acr"])
def test_the_same_command_runs_on_datasets(name, tower, tmp_path, monkeypatch):
    import datasets

    pytest.importorskip("pydicom")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    arguments = write_layout(name, tmp_path / name, num_patients=16)
    root = {"root": "--root", "images": "--images"}
    data = [part for key, option in root.items() if key in arguments for part in (option, arguments[key])]
    shares = f"splits={json.dumps(arguments['splits'])}"
    options = ["--folds", 0, "--train-films", "all", "--learning-rates", 1e-2, "--methods", "frozen-unet"]
    assert study(tower, tmp_path / "out", "--dataset", name, *data, "--set", shares, *options) == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    expected = {"chexmask": "cardiac silhouette", "siim_acr": "pneumothorax"}[name]
    assert result["structures"] == [expected] and result["scores"][0]["count"] > 0


def test_masks_of_datasets_are_the_right_ones(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    arguments = write_layout("chexmask", tmp_path / "chexmask", num_patients=12)
    films = DatasetFilms(load_data("chexmask", arguments), ["cardiac silhouette"])
    assert set(films.splits) == {"train", "validation", "test"}
    split, row = films.rows[0]
    image, masks = films.read(0)
    assert masks.shape == (1, image.height, image.width)
    x0, y0, x1, _ = split[row]["boxes"][24]
    rows, columns = np.flatnonzero(masks[0].any(1)), np.flatnonzero(masks[0].any(0))
    found = [columns[0] / image.width, rows[0] / image.height, (columns[-1] + 1) / image.width]
    assert found == pytest.approx([x0, y0, x1], abs=1e-3)
    with pytest.raises(DatasetError, match="one alone, the target"):
        DatasetFilms({}, ["left lung", "clavicle"])


def test_mistakes_of_the_command_are_one_line(folder, tower, tmp_path, capsys):
    films = ["--films", folder / "films"]
    cases = {
        "--masks": films,
        "either --films": ["--dataset", "chexmask", *films],
        "with --root": ["--dataset", "chexmask"],
        "--train-films": [*films, "--masks", f"left lung={folder / 'left lung'}", "--train-films", "few"],
        "a fold has": [*films, "--masks", f"left lung={folder / 'left lung'}", "--train-films", 99, "--folds", 2],
        "without 'right lung'": [
            *films, "--masks", f"left lung={folder / 'left lung'}", "--train-films", 2, "--folds", 2, "--flip", 0.5,
        ],
    }  # fmt: skip
    for message, arguments in cases.items():
        assert study(tower, tmp_path / "out", *arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("anatomy-vlm: error:") and message in error


def test_the_table_says_what_the_runs_say():
    rng = np.random.default_rng(0)

    def run(method, fold, gain):
        rows = []
        for number in range(20):
            value = float(np.clip(0.7 + gain + rng.normal(0, 0.02), 0, 1))
            scores = {"dice": value, "miou": value, "hd95": 5.0}
            rows.append({"film": f"{fold}{number}", "patient": f"{fold}{number}", "heart": scores})
        rows[0]["heart"] = {"dice": None, "miou": 1.0, "hd95": None}
        return {
            "method": method, "fold": fold, "train_films": 10, "all_films": False, "learning_rate": 1e-3,
            "validation_dice_by_learning_rate": {}, "films": rows,
        }  # fmt: skip

    runs = [run(method, fold, gain) for method, gain in (("tuned-unet", 0.1), ("unet", 0.0)) for fold in "ab"]
    summary = summarise(runs, ["heart"])
    rows = {(row["method"], row["metric"]): row for row in summary["scores"]}
    values = [film["heart"]["dice"] for result in runs[:2] for film in result["films"] if film["heart"]["dice"]]
    tuned = rows["tuned-unet", "dice"]
    assert tuned["value"] == pytest.approx(np.mean(values)) and tuned["count"] == 38
    assert tuned["low"] < tuned["value"] < tuned["high"] < tuned["low"] + 0.03
    (difference,) = summary["differences"]
    assert difference["difference"] == pytest.approx(0.1, abs=0.02) and difference["p_holm"] < 0.05
    text = to_markdown(summary)
    assert f"| heart | {METHODS['tuned-unet']} | {tuned['value']:.3f} (" in text and ")* |" in text
    assert f"{tuned['value']:.3f}" in to_latex(summary)
