"""Vision-language models of every supported kind, tiny and with random weights, as folders that load without a hub."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from anatomy_vlm.modeling.mask_codec_anatomy_vlm import RasterCodec
from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
from anatomy_vlm.training.masks.vlm_batches import VLMBatcher
from anatomy_vlm.training.masks.vlm_processors import qwen_processor


KINDS = ("paligemma", "paligemma2", "florence2", "smolvlm", "smolvlm2", "qwen2_vl", "qwen2_5_vl")
# Every special token that one of the processors looks for.
SPECIAL = (
    ["<pad>", "<bos>", "<eos>", "<unk>", "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    + [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    + ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>"]
)
CHAT = (
    "{% for message in messages %}User:{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def tokenizer(bos: str = "<bos>", eos: str = "<eos>", **named: str) -> Any:
    """A tokenizer of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token=bos,
        eos_token=eos,
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[4:],
        extra_special_tokens=named or None,
    )


TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def _paligemma(text_model: str):
    words = tokenizer(image_token="<image>")
    images = transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    processor = transformers.PaliGemmaProcessor(images, words)
    text = {"model_type": text_model, "vocab_size": len(words), **TEXT}
    vision = {
        "model_type": "siglip_vision_model",
        **VISION,
        "patch_size": 14,
        "image_size": 28,
        "vision_use_head": False,
    }
    config = transformers.PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=16,
        hidden_size=16,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), processor


def _florence2():
    words = tokenizer(image_token="<image>")
    images = transformers.CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    images.image_seq_length = 5
    processor = transformers.Florence2Processor(images, words)
    text = {
        "model_type": "bart", "vocab_size": len(words), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "forced_eos_token_id": None,
    }  # fmt: skip
    vision = {
        "depths": [1, 1], "patch_size": [7, 3], "patch_stride": [8, 2], "patch_padding": [3, 1],
        "patch_prenorm": [False, True], "embed_dim": [8, 16], "num_heads": [2, 2], "num_groups": [2, 2],
        "window_size": 2, "drop_path_rate": 0.0, "projection_dim": 16,
    }  # fmt: skip
    config = transformers.Florence2Config(
        text_config=text, vision_config=vision, image_token_id=words.convert_tokens_to_ids("<image>")
    )
    return transformers.Florence2ForConditionalGeneration(config), processor


def _smolvlm(generation: int):
    words = tokenizer(eos="<end_of_utterance>", image_token="<image>")
    images = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}, do_image_splitting=True
    )
    processor = transformers.Idefics3Processor(
        images, words, image_seq_len=1, chat_template=CHAT.replace("IMAGE", "<image>")
    )
    name = "Idefics3" if generation == 1 else "SmolVLM"
    config = getattr(transformers, f"{name}Config")(
        text_config={"model_type": "llama", "vocab_size": len(words), **TEXT},
        vision_config={**VISION, "patch_size": 14, "image_size": 28},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor


def _qwen(generation: str):
    words = tokenizer(eos="<|im_end|>", image_token="<|image_pad|>", video_token="<|video_pad|>")
    images = transformers.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56}, patch_size=14, merge_size=2
    )
    chat = CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    kind = "Qwen2_5_VL" if generation == "2_5" else "Qwen2VL"
    processor = qwen_processor(f"{kind}Processor", images, words, chat)
    vision = {"depth": 1, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if generation == "2_5":
        vision |= {"hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 16, "window_size": 28}
        vision |= {"fullatt_block_indexes": [0]}
    else:
        vision |= {"embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2}
    identity = words.convert_tokens_to_ids
    config = getattr(transformers, f"{kind}Config")(
        text_config={
            "vocab_size": len(words), **TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
            "mrope_section": [1, 1, 2]},
        },
        vision_config=vision,
        image_token_id=identity("<|image_pad|>"),
        video_token_id=identity("<|video_pad|>"),
        vision_start_token_id=identity("<|vision_start|>"),
        vision_end_token_id=identity("<|vision_end|>"),
        tie_word_embeddings=generation == "2",
    )  # fmt: skip
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


BUILDERS = {
    "paligemma": lambda: _paligemma("gemma"),
    "paligemma2": lambda: _paligemma("gemma2"),
    "florence2": _florence2,
    "smolvlm": lambda: _smolvlm(1),
    "smolvlm2": lambda: _smolvlm(2),
    "qwen2_vl": lambda: _qwen("2"),
    "qwen2_5_vl": lambda: _qwen("2_5"),
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Makes the folder of a tiny model of a kind, once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            torch.manual_seed(0)
            model, processor = BUILDERS[kind]()
            for parameter in model.parameters():
                # Larger than usual, so that answers differ between images.
                parameter.data.normal_(0, 0.2)
            folder = tmp_path_factory.mktemp(kind)
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            made[kind] = folder
        return made[kind]

    return make


@pytest.fixture(scope="session")
def codec_file(tmp_path_factory) -> Path:
    """A mask codec with PaliGemma's tokens and random weights."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("codec") / "vq.safetensors"
    save_file(PaliGemmaMaskCodec((4, 4, 4, 4), 8, 4).state_dict(), path)
    return path


class CoverageCodec(RasterCodec):
    """A codec that needs no training: PaliGemma's tokens, whose shapes are the coverage of a 4 x 4 grid."""

    outward = False
    code_sizes = (1024,) * 4 + (128,) * 16
    prefixes = ("loc",) * 4 + ("seg",) * 16

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def encode_rasters(self, rasters):
        return (torch.nn.functional.avg_pool2d(rasters[:, None], 16).flatten(1) * 127).round().long()

    def decode_rasters(self, codes):
        grid = codes.float().unflatten(1, (1, 4, 4)) / 127 - 0.5
        return torch.nn.functional.interpolate(grid, scale_factor=16, mode="bilinear", align_corners=False)[:, 0]


@pytest.fixture(scope="session")
def coverage_codec() -> CoverageCodec:
    return CoverageCodec()


def rectangle(side: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


# On a film the patient's right is on the left.
MASKS = {
    "right lung": rectangle(48, 8, 6, 38, 18),
    "left lung": rectangle(48, 8, 30, 38, 42),
    "heart": rectangle(48, 22, 18, 38, 34),
    "liver": rectangle(48, 0, 0, 0, 0),
}


def film_of(masks: dict[str, np.ndarray]) -> np.ndarray:
    image = np.full((48, 48), 40, np.uint8)
    for value, mask in enumerate(masks.values()):
        image[mask] = 90 + 40 * value
    return image


@pytest.fixture(scope="session")
def cases(tmp_path_factory) -> Path:
    """CheXanatomy's folders: one case from the front and from the side, the liver off both films."""
    root = tmp_path_factory.mktemp("data")
    for view in ("PA", "LR"):
        folder = root / f"CT_projections_{view}" / "case_1"
        folder.mkdir(parents=True)
        chosen = MASKS if view == "PA" else {name: MASKS[name] for name in ("heart", "liver")}
        Image.fromarray(film_of(chosen)).save(folder / "ct.png")
        for name, mask in chosen.items():
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def logits_of():
    """Gives the logits of a model for two prompts, one of them padded."""

    @torch.no_grad()
    def logits(vlm) -> torch.Tensor:
        film = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
        batcher = VLMBatcher(vlm.processor, vlm.encoder_decoder, vlm.image_options)
        batch = batcher.prompt_batch([film, film], ["segment heart", "detect left lung ; liver"])
        if vlm.encoder_decoder:
            batch["decoder_input_ids"] = torch.tensor([[2, 1], [2, 1]])
        return vlm.model(**batch).logits

    return logits
