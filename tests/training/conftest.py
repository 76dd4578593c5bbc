"""A small dataset in the example schema, and a recipe that trains on it in seconds."""

import numpy as np
import pytest
import yaml
from PIL import Image

from anatomy_vlm.processing.schema import features
from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES


FINDINGS = ("pleural effusion", "pneumothorax", "enlarged cardiac silhouette")


def small_example(index: int, split: str) -> dict:
    """A picture of noise whose brightness and labels depend on the index; every third image lacks some boxes."""
    rng = np.random.default_rng([index, len(split)])
    present = {"pleural effusion": index % 2 == 0, "pneumothorax": index % 3 == 0}
    corners = np.sort(rng.random((29, 2, 2)), axis=1)
    corners[:, 1] += 0.01
    labels = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
    entries = []
    for name, there in present.items():
        labels[FINDING_NAMES.index(name)] = there
        for side in ("left", "right"):
            region = f"{side} lung"
            here = there and side == "left"
            severity = ("mild", "moderate", "severe")[index % 3] if here else None
            statement = Statement(name, "present" if here else "absent", region, severity)
            phrase = render_statement(statement, index)
            entries.append(
                {
                    "region": region,
                    "finding": name,
                    "polarity": statement.polarity,
                    "severity": severity or "",
                    "phrase": phrase,
                }
            )
    mask = np.ones(29, dtype=bool) if index % 3 else rng.random(29) > 0.3
    grey = rng.integers(0, 255, (40, 32)) * (0.5 + 0.5 * present["pleural effusion"])
    return {
        "image": Image.fromarray(grey.astype(np.uint8)),
        "boxes": np.clip(corners.reshape(29, 4), 0, 1).astype(np.float32),
        "box_mask": mask,
        "region_findings": entries,
        "labels": labels,
        "report": " ".join(entry["phrase"] for entry in entries),
        "patient_id": f"{split}-{index}",
        "study_id": f"{split}-{index}",
        "image_id": f"{split}-{index}",
        "view": "PA",
        "source": "test",
    }


@pytest.fixture(scope="session")
def saved_dataset(tmp_path_factory) -> str:
    """Folder of a saved `DatasetDict` with 16 training images and a few of the other splits."""
    import datasets

    sizes = {"train": 16, "validation": 6, "test": 6}
    splits = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_list([small_example(i, split) for i in range(size)], features=features())
            for split, size in sizes.items()
        }
    )
    folder = tmp_path_factory.mktemp("data") / "small"
    splits.save_to_disk(folder)
    return str(folder)


@pytest.fixture(scope="session")
def recipe_values(saved_dataset) -> dict:
    """The values of a recipe with the paper's three stages on `saved_dataset`."""
    assert len(REGION_NAMES) == 29
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return {
        "name": "small",
        "model": {
            "text": {"scratch": {**sizes, "hidden_dropout_prob": 0.1}, "pooling": "mean"},
            "vision": {**sizes, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
            "config": {"projection_dim": 16},
        },
        "data": {"loader": "saved", "arguments": {"path": saved_dataset}},
        "training": {
            "use_cpu": True,
            "per_device_train_batch_size": 4,
            "num_train_epochs": 2,
            "learning_rate": 0.003,
            "disable_tqdm": True,
            "logging_steps": 1,
        },
        "stages": [
            {"name": "detection", "losses": ["anatomy"]},
            {"name": "global", "losses": ["anatomy", "global"]},
            {"name": "fine", "losses": ["anatomy", "global", "fine"]},
        ],
    }


@pytest.fixture
def write_recipe(recipe_values, tmp_path):
    """Write the recipe with changes at dotted paths, and return the file."""

    def write(**changes) -> str:
        values = yaml.safe_load(yaml.safe_dump(recipe_values))
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = values
            for key in parents:
                target = target[int(key)] if isinstance(target, list) else target[key]
            target[last] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write
