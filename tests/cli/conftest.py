"""A tiny, untrained checkpoint and a few films, for commands that only have to run."""

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, PreTrainedTokenizerFast

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.vocabulary import REGION_NAMES


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
