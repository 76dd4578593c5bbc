"""A tiny writer of masks, and films with structures that it can be taught."""

import numpy as np
import pytest
import torch

from anatomy_vlm.modeling import AnatomyVLMForMaskGeneration, AnatomyVLMMaskConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.training.masks.film_shapes import FilmShapes, gather


STRUCTURES = ["right lung", "left lung", "cardiac silhouette"]
SIDE = 64


def tiny_writer(**fields) -> AnatomyVLMForMaskGeneration:
    torch.manual_seed(0)
    config = AnatomyVLMMaskConfig(
        **{
            "structures": STRUCTURES,
            "initializer_range": 0.1,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 16,
            "stem_channels": [8, 12, 16],
            "decoder_num_layers": 2,
            "decoder_num_heads": 2,
            "glimpse_channels": [8, 12],
            "codec_levels": [4, 4, 3],
            "codec_hidden_size": 16,
            "codec_num_layers": 1,
            "codec_encoder_sizes": [8, 8, 8],
            "codec_decoder_sizes": [8, 8, 8],
            **fields,
        }
    )
    return AnatomyVLMForMaskGeneration(config).eval()


@pytest.fixture
def writer() -> AnatomyVLMForMaskGeneration:
    """Says of every structure that it is there."""
    model = tiny_writer()
    model.presence_head.bias.data.fill_(20.0)
    return model


@pytest.fixture(scope="session")
def mask_processor() -> AnatomyVLMImageProcessorPil:
    return AnatomyVLMImageProcessorPil(size={"height": SIDE, "width": SIDE})


def drawn_masks(rng: np.random.Generator, size: int = 80) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A film of two dark lungs and a bright heart on the patient's left, the image's right."""
    y, x = np.mgrid[:size, :size] / size
    dy, dx = rng.uniform(-0.06, 0.06, 2)

    def ellipse(cy, cx, ry, rx):
        return ((y - cy - dy) / ry) ** 2 + ((x - cx - dx) / rx) ** 2 < 1

    masks = {
        "right lung": ellipse(0.45, 0.3, 0.3, 0.13),
        "left lung": ellipse(0.45, 0.72, 0.28, 0.11),
        "cardiac silhouette": ellipse(0.6, 0.57, 0.13, 0.15),
    }
    film = 150 - 100 * (masks["right lung"] | masks["left lung"]) + 60 * masks["cardiac silhouette"]
    return (film + rng.normal(0, 4, film.shape)).clip(0, 255).astype(np.uint8), masks


@pytest.fixture(scope="session")
def shapes() -> FilmShapes:
    """Six films; on the last there is no heart."""
    rng = np.random.default_rng(0)
    pairs = [drawn_masks(rng) for _ in range(6)]
    del pairs[-1][1]["cardiac silhouette"]
    return gather([film for film, _ in pairs], [masks for _, masks in pairs])
