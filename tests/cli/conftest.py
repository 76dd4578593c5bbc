"""A tiny, untrained checkpoint and a few films, for commands that only have to run."""

import datasets
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, PreTrainedTokenizerFast

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.schema import features
from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES


PROMPTS = {
    "pneumothorax": {"positive": ["a pneumothorax"], "negative": ["no pneumothorax"]},
    "enlarged cardiac silhouette": {"positive": ["a large heart"], "negative": ["a normal heart"]},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    text = BertConfig(vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    vision = AnatomyVLMVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    model = AnatomyVLMModel(AnatomyVLMConfig(vision_config=vision, text_config=text, projection_dim=8))
    words = ["[UNK]", "[PAD]", "a", "no", "pneumothorax", "large", "normal", "heart", "film"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "attention_mask"],
    )
    processor = AnatomyVLMProcessor(
        AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer,
        anatomy_labels=list(REGION_NAMES),
        finding_prompts=PROMPTS,
        finding_thresholds={"pneumothorax": 0.25},
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def films(tmp_path):
    """Two readable films in nested folders, a truncated one, a text file called .dcm and a note."""
    folder = tmp_path / "films"
    (folder / "ward").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (300, 260)), ("ward/b.jpg", (240, 320))):
        Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8), mode="L").save(folder / name)
    (folder / "truncated.png").write_bytes((folder / "a.png").read_bytes()[:2000])
    (folder / "text.dcm").write_text("not a film")
    (folder / "notes.txt").write_text("not for reading")
    return folder


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    """A saved dataset of noise with boxes and a finding that shows as brightness; three splits."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    rng = np.random.default_rng(0)

    def example(index):
        positive = bool(index % 2)
        low = np.linspace(0.1, 0.4, 58).reshape(29, 2) + rng.random((29, 2)) * 0.02
        labels = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
        labels[FINDING_NAMES.index("pneumothorax")] = positive
        side = ("left", "right")[index % 4 // 2]
        statement = Statement("pneumothorax", "present" if positive else "absent", f"{side} lung")
        return {
            "image": Image.fromarray(rng.integers(0, 256 if positive else 60, (40, 40), dtype=np.uint8)),
            "boxes": np.concatenate([low, low + 0.4], axis=1).astype(np.float32),
            "box_mask": np.ones(29, dtype=bool),
            "region_findings": [
                {"region": statement.region, "finding": statement.finding, "polarity": statement.polarity,
                 "severity": "", "phrase": render_statement(statement)}
            ],
            "labels": labels,
            "report": "",
            "patient_id": f"p{index}",
            "study_id": f"s{index}",
            "image_id": f"i{index}",
            "view": "PA",
            "source": "test",
        }  # fmt: skip

    rows = {"train": range(32), "validation": range(32, 56), "test": range(56, 96)}
    splits = {
        name: datasets.Dataset.from_list([example(index) for index in indices], features=features())
        for name, indices in rows.items()
    }
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory, dataset_folder):
    """A recipe that trains three stages of a few steps on the dataset of noise."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe = {
        "name": "tiny",
        "model": {
            "text": {
                "scratch": {
                    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32
                }
            },
            "vision": {
                "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                "image_size": 32, "patch_size": 8,
            },
            "config": {"projection_dim": 8},
        },
        "data": {"loader": "saved", "arguments": {"path": str(dataset_folder)}},
        "training": {"per_device_train_batch_size": 8, "num_train_epochs": 1, "logging_steps": 1, "use_cpu": True},
        "stages": [
            {"name": "detection", "losses": ["anatomy"]},
            {"name": "global", "losses": ["anatomy", "global"]},
            {"name": "fine", "losses": ["anatomy", "global", "fine"]},
        ],
        "evaluation": {"min_events": 5},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(recipe))
    return path
