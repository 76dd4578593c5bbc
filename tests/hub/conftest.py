"""A tiny untrained model, its processor with real prompts, and a folder that they were exported to."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig

from anatomy_vlm.cli import main
from anatomy_vlm.hub_cards import model_card, writer_card
from anatomy_vlm.modeling import (
    AnatomyVLMConfig,
    AnatomyVLMForMaskGeneration,
    AnatomyVLMMaskConfig,
    AnatomyVLMModel,
)
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.prompts import finding_prompts
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.recipe import load_recipe
from anatomy_vlm.training.text_encoder import word_tokenizer


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="session")
def tiny() -> tuple[AnatomyVLMModel, AnatomyVLMProcessor]:
    """Model in eval mode and processor."""
    prompts = finding_prompts(["pleural effusion", "pneumothorax"])
    texts = [text for pair in prompts.values() for side in pair.values() for text in side]
    tokenizer = word_tokenizer(texts, 32)
    torch.manual_seed(0)
    config = AnatomyVLMConfig(
        vision_config={**SIZES, "image_size": 32, "patch_size": 8},
        text_config=BertConfig(**SIZES, vocab_size=len(tokenizer), max_position_embeddings=32).to_dict(),
        projection_dim=8,
        text_pooling="mean",
    )
    processor = AnatomyVLMProcessor(
        AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer,
        anatomy_labels=list(REGION_NAMES),
        finding_prompts=prompts,
        finding_thresholds={"pneumothorax": 0.4},
    )
    return AnatomyVLMModel(config).eval(), processor


@pytest.fixture(scope="session")
def film() -> Image.Image:
    """A picture that is brighter on the image's right, taller than wide."""
    return Image.fromarray(np.linspace(0, 255, 48 * 40).reshape(40, 48).T.astype(np.uint8), mode="L")


@pytest.fixture(scope="session")
def hub_folder(tiny, film, tmp_path_factory):
    """The export, with its card and, beside it, `film.png`."""
    folder = tmp_path_factory.mktemp("hub") / "tiny-anatomy-vlm"
    card = model_card(load_recipe("phantom-tiny").to_dict(), model_id=str(folder))
    export(tiny[0], folder, tiny[1], card)
    film.save(folder.parent / "film.png")
    return folder


@pytest.fixture(scope="session")
def writer_folder(film, tmp_path_factory):
    """The export of a tiny untrained mask writer, made by the command, with its card and, beside it, `film.png`."""
    torch.manual_seed(0)
    config = AnatomyVLMMaskConfig(
        structures=["left lung", "heart"], hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, image_size=32, patch_size=8, decoder_num_layers=1, decoder_num_heads=2,
        glimpse_channels=[4, 8], codec_levels=[4, 4], codec_hidden_size=16, codec_num_layers=1,
        codec_encoder_sizes=[4, 4, 4], codec_decoder_sizes=[4, 4, 4],
    )  # fmt: skip
    model = AnatomyVLMForMaskGeneration(config).eval()
    model.presence_head.bias.data.fill_(9.0)
    scratch = tmp_path_factory.mktemp("writer")
    model.save_pretrained(scratch / "checkpoint")
    AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(scratch / "checkpoint")
    card = writer_card(config.structures, {}, model_id=str(scratch / "model"))
    (scratch / "checkpoint" / "README.md").write_text(card)
    film.save(scratch / "film.png")
    assert main(["export", str(scratch / "checkpoint"), str(scratch / "model")]) == 0
    return scratch / "model"
