"""What holds for every loader: the schema, streams, laterality, patients, and that the trainer runs on it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from anatomy_vlm.processing.prompts import region_prompts
from anatomy_vlm.processing.schema import MASK_VALUES, example_facts, features, flip_example, validate_example
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGIONS, mirror_text
from anatomy_vlm.training.loaders import LOADERS, SOURCES, load_data
from anatomy_vlm.training.loaders.dataset_cards import dataset_cards
from anatomy_vlm.training.loaders.layouts import LAYOUTS
from anatomy_vlm.training.recipe import RecipeError, parse_recipe
from anatomy_vlm.training.run import train


_OTHER_SIDE = np.array([0, 2, 1, *range(3, 256)])


def test_every_dataset_has_a_card_and_a_layout():
    assert set(dataset_cards()) == set(SOURCES) == {name.partition("-")[0] for name in LAYOUTS}
    assert not set(LOADERS) & set(SOURCES)


def test_round_trip(layout_name, loaded, source):
    """Every image of the index is there once, in the schema, with its patient and split."""
    splits = loaded(layout_name)
    index = source(layout_name)
    assert {"train", "validation", "test"} <= set(splits)
    assert sum(map(len, splits.values())) == len(index.entries)
    expected = {entry.image_id: entry for entry in index.entries}
    patients: dict[str, str] = {}
    for name, split in splits.items():
        assert split.features == features(mask=index.has_mask)
        for row in split:
            validate_example(row)
            entry = expected.pop(row["image_id"])
            assert (row["patient_id"], row["source"]) == (entry.patient_id, layout_name.partition("-")[0])
            assert name == entry.split
            assert patients.setdefault(row["patient_id"], name) == name
            assert max(row["image"].size) <= 96
    assert not expected


def test_streaming_equals_map_style(layout_name, loaded, layout):
    streams = load_data(layout_name.partition("-")[0], {**layout(layout_name), "image_size": 96, "streaming": True})
    for name, split in loaded(layout_name).items():
        rows = list(streams[name])
        assert len(rows) == len(split)
        for streamed, kept in zip(rows, split):
            assert streamed.keys() == kept.keys()
            for key, value in kept.items():
                np.testing.assert_array_equal(np.asarray(streamed[key]), np.asarray(value), err_msg=key)


def test_a_second_load_comes_from_the_cache(layout, monkeypatch):
    arguments = {**layout("folder"), "image_size": 64}
    first = load_data("folder", arguments)
    monkeypatch.setattr("anatomy_vlm.training.loaders.folder.Folder.read", None)
    assert load_data("folder", arguments)["train"]["image_id"] == first["train"]["image_id"]


def test_flip(layout_name, loaded):
    """Flipping twice is the identity; after one flip every right is a left in slots, boxes, phrases and findings."""
    for split in loaded(layout_name).values():
        for row in split:
            flipped = flip_example(row)
            validate_example({**flipped, "image": flipped["image"]})
            _check_sides(row, flipped)
            again = flip_example(flipped)
            for key, value in row.items():
                if key == "boxes":
                    np.testing.assert_allclose(again[key], value, atol=1e-6)
                else:
                    np.testing.assert_array_equal(np.asarray(again[key]), np.asarray(value), err_msg=key)


def _check_sides(row, flipped):
    pixels, mirrored = np.asarray(row["image"]), np.asarray(flipped["image"])
    np.testing.assert_array_equal(mirrored, pixels[:, ::-1])
    for region in REGIONS:
        there = row["box_mask"][region.index]
        other = next(r.index for r in REGIONS if r.name == region.mirror)
        assert flipped["box_mask"][other] == there
        if there:
            x0, y0, x1, y1 = np.asarray(row["boxes"])[region.index]
            np.testing.assert_allclose(flipped["boxes"][other], [1 - x1, y0, 1 - x0, y1], atol=1e-6)
    names = {region.name: region.mirror for region in REGIONS} | {"": ""}
    for entry, turned in zip(row["region_findings"], flipped["region_findings"]):
        assert turned["region"] == names[entry["region"]]
        assert turned["phrase"] == mirror_text(entry["phrase"])
        assert (turned["finding"], turned["polarity"]) == (entry["finding"], entry["polarity"])
    np.testing.assert_array_equal(flipped["labels"], row["labels"])
    assert flipped["report"] == mirror_text(row["report"])
    # What the losses read: the facts of each region, and the prompts about it.
    expected, found = example_facts(row).mirrored(), example_facts(flipped)
    np.testing.assert_array_equal(found.facts, expected.facts)
    np.testing.assert_array_equal(found.unmentioned, expected.unmentioned)
    for entry, turned in zip(row["region_findings"], flipped["region_findings"]):
        if entry["region"]:
            prompts, others = (region_prompts(e["finding"], e["region"]) for e in (entry, turned))
            assert others == {side: [mirror_text(text) for text in texts] for side, texts in prompts.items()}
    if "mask" in row:
        mask = np.asarray(row["mask"])
        np.testing.assert_array_equal(np.asarray(flipped["mask"]), _OTHER_SIDE[mask[:, ::-1]])


def test_flip_of_masks_with_sides(layout):
    """The lungs of a projected CT have values of their own: each stays the lung of its side of the film."""
    from anatomy_vlm.synthesis.ct import ct_example

    arguments = layout("ct_projection")
    volume = sorted(Path(arguments["root"]).glob("*_a_1.nii.gz"))[0]
    labels = volume.with_name(volume.name.replace(".nii", "_labels.nii"))
    [row] = ct_example(volume, labels, arguments["scheme"], views=("PA",), image_size=96, mask=True)
    flipped = flip_example(row)
    _check_sides(row, flipped)
    for example in (row, flipped):
        mask = np.asarray(example["mask"])
        assert {1, 2, 3} <= set(np.unique(mask))
        assert np.nonzero(mask == MASK_VALUES["right lung"])[1].mean() < 48
        assert np.nonzero(mask == MASK_VALUES["left lung"])[1].mean() > 48
    heart = [np.nonzero(np.asarray(e["mask"]) == MASK_VALUES["cardiac silhouette"])[1].mean() for e in (row, flipped)]
    assert heart[0] > 48 > heart[1]


def test_no_finding_has_a_side():
    """That is why a flip leaves the labels of the image as they are."""
    assert [name for name in FINDING_NAMES if mirror_text(name) != name] == []


def test_the_right_lung_is_on_the_left_of_the_film(layout_name, loaded):
    """Where a loader has boxes of both lungs of a frontal film, the patient's right one is on the image's left."""
    for split in loaded(layout_name).values():
        for row in split:
            right, left = (next(r.index for r in REGIONS if r.name == f"{side} lung") for side in ("right", "left"))
            if row["box_mask"][right] and row["box_mask"][left] and row["view"] != "LATERAL":
                boxes = np.asarray(row["boxes"])
                assert boxes[right, [0, 2]].mean() < boxes[left, [0, 2]].mean()


def test_the_trainer_runs_a_stage(layout_name, layout, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    recipe = {
        "name": "small",
        "model": {
            "text": {"scratch": sizes, "pooling": "mean"},
            "vision": {**sizes, "image_size": 32, "patch_size": 8},
            "config": {"projection_dim": 16},
        },
        "data": {
            "loader": layout_name.partition("-")[0],
            "arguments": {**layout(layout_name), "image_size": 96},
        },
        "labels": {"findings": ["pleural effusion", "pneumothorax"]},
        "training": {
            "use_cpu": True, "per_device_train_batch_size": 4, "max_steps": 2, "disable_tqdm": True,
            "save_strategy": "no", "report_to": "none",
        },
        "stages": [{"name": "fine", "losses": ["anatomy", "global", "fine"]}],
    }  # fmt: skip
    result = train(parse_recipe(recipe), tmp_path / "run")
    weights = load_file(result.model / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": "x", "imags": "y"}, "unknown argument 'imags'; did you mean 'images'"),
        ({}, "the argument 'root' is missing"),
        ({"root": "no-such-folder", "images": "y"}, "no such folder"),
    ],
)
def test_mistakes_in_arguments_are_named(arguments, message):
    with pytest.raises(RecipeError, match=message):
        load_data("chest_imagenome", arguments)


def test_an_image_that_cannot_be_read_is_named_or_skipped(layout, tmp_path):
    import shutil

    folder = tmp_path / "films"
    shutil.copytree(layout("folder")["path"], folder)
    (folder / "films" / "004.png").write_bytes(b"\x89PNG no film")
    with pytest.raises(RecipeError, match=r"004\.png: damaged image .*on_error: skip"):
        load_data("folder", {"path": str(folder)})
    splits = load_data("folder", {"path": str(folder), "on_error": "skip"})
    kept = [name for split in splits.values() for name in split["image_id"]]
    assert len(kept) == 23 and "films/004.png" not in kept


def test_labels_are_findings_of_the_vocabulary(loaded):
    row = loaded("nih_chestxray14")["train"][0]
    assert len(row["labels"]) == len(FINDING_NAMES)
    assert isinstance(row["image"], Image.Image)
